"""The replica: many engines, one journal, one voice.

A sans-I/O machine: frames, proposals and the time go in, a turn's records and frames come out
(`qbft.replica.turn`). It decides all that a node may say; the driver and the server only connect it
to a clock, sockets and disks, and the simulator to their pretended kin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from qbft.core import Decide, Definition, InstanceId, Message
from qbft.crypto.certificate import canonical_certificate
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.diagnosis.account import InstanceAccount, InstanceState
from qbft.errors import (
    BelowLowWaterMark,
    Busy,
    InvariantViolation,
    JournalError,
    QbftError,
    TooManyTopics,
    UnauthorisedProposal,
)
from qbft.replica.aftermath import Aftermath
from qbft.replica.answers import Answers
from qbft.replica.arrivals import Arrivals, Instances
from qbft.replica.asking import Asking
from qbft.replica.authenticator import Authenticator
from qbft.replica.authority import Authority
from qbft.replica.bounds import Bites, Bound
from qbft.replica.catch_up import CatchUp
from qbft.replica.conclusions import Conclusions, as_seen_by
from qbft.replica.deadlines import Deadlines
from qbft.replica.driver import now_ms
from qbft.replica.epoch import Epoch
from qbft.replica.held import HeldVotes
from qbft.replica.inputs import Inputs
from qbft.replica.inspection import account_of
from qbft.replica.intake import Intake, Load
from qbft.replica.lateness import Lateness
from qbft.replica.let_go import LetGo
from qbft.replica.limits import ReplicaLimits
from qbft.replica.lost_votes import LostVotes
from qbft.replica.misconduct import Misconduct
from qbft.replica.narrow import as_digest, as_instance
from qbft.replica.observer import Observer
from qbft.replica.open_instance import OpenInstance
from qbft.replica.openings import TOGETHER, Asked, Openings
from qbft.replica.outbox import Outbox
from qbft.replica.own_votes import CastVote
from qbft.replica.peer import Peer
from qbft.replica.policy import Policies, open_to_all
from qbft.replica.protocols import (
    Application,
    DecisionRecord,
    DecisionStore,
    Journal,
    OwnInput,
    ProposalRecord,
    QuarantineRecord,
    Standing,
    ValueSource,
    highest_decided,
)
from qbft.replica.questions import Questions
from qbft.replica.recollection import Recollection
from qbft.replica.recovery import Recovered, read_journal
from qbft.replica.relay import Relay
from qbft.replica.resend import Resender
from qbft.replica.sealing import TOO_LOW, Sealing
from qbft.replica.tally import Depths, PeerDepths, Tally
from qbft.replica.topics import Topics
from qbft.replica.turn import Turn
from qbft.replica.voice import Voice
from qbft.replica.witness import Witness
from qbft.timers import TimerPolicy
from qbft.transport import Frame

Tell = Callable[[str], None]
"""Is told what an operator must know."""

Reject = Callable[[str, int], None]
"""Counts a refusal: its reason, and the peer whose frame it was in."""

NOT_VOTING = "this node has stopped voting: its journal failed"


def _count_nothing(reason: str, peer: int) -> None:
    """Count nothing: the default."""


def _tell_nobody(what: str) -> None:
    """Tell nobody: the default."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a replica says of itself.

    `peers_heard` is when each peer's last frame came, `behind` whether a peer has told of decisions
    that are not here yet, `why_not_voting` is empty where it votes, `kept_out` in how many
    undecided instances it never does; `oldest_open_ms` is when the oldest open one was opened, or
    resumed.
    """

    open_instances: int
    topics: int
    held_votes: int
    voting: bool
    standing: Standing
    peers_heard: dict[int, int]
    behind: bool = False
    why_not_voting: str = ""
    kept_out: int = 0
    oldest_open_ms: int | None = None


class Replica:
    """One validator's part in every instance. See `qbft.replica.turn.Machine` for its rhythm.

    `instance_type` is what it opens instances as; a simulation may look on from within. `tally`
    counts what it does, `bites` its bounds that bite.
    """

    instance_type: ClassVar[type[OpenInstance]] = OpenInstance

    def __init__(
        self,
        *,
        definition: Definition,
        validator: int,
        authenticator: Authenticator,
        journal: Journal,
        store: DecisionStore,
        timers: TimerPolicy,
        policies: Policies = open_to_all,
        epoch: Epoch | None = None,
        application: Application | None = None,
        source: ValueSource | None = None,
        own_input: OwnInput | None = None,
        limits: ReplicaLimits | None = None,
        reject: Reject = _count_nothing,
        tell: Tell = _tell_nobody,
        observer: Observer | None = None,
    ) -> None:
        if definition.compares:
            raise InvariantViolation("the comparison must be off wherever votes are journaled")
        self._definition = definition
        self._validator = validator
        self._authenticator = authenticator
        self._journal = journal
        self._store = store
        self._lateness = Lateness(timers)
        self._policies = policies
        self._limits = limits = limits or ReplicaLimits()
        self._reject = reject
        self._observer = observer
        self.bites = bites = Bites()
        self._peers = {
            index: Peer(index, limits, bites)
            for index in range(definition.nodes)
            if index != validator
        }
        self.tally = Tally(self._peers)
        self._accounts = {index: peer.account for index, peer in self._peers.items()}
        self._open: dict[InstanceId, OpenInstance] = {}
        self._openings = Openings(validator, self._peers, limits, bites)
        self._quarantined: set[InstanceId] = set()
        self._given_up: set[InstanceId] = set()
        self._outbox = Outbox()
        self._voice = Voice(authenticator, journal, limits)
        self.misconduct = Misconduct(
            definition.nodes, limits.evidence_per_validator_max, self._voice.record, bites
        )
        self._held = HeldVotes(definition.quorum, limits, bites)
        self._resender = Resender(limits, self._outbox)
        self._conclusions = Conclusions(self._peers, limits)
        self._aftermath = Aftermath(self._peers, store, limits, self._outbox, bites)
        self._answers = Answers(self._open, store, definition.nodes, limits, self._outbox)
        self._catch_up = CatchUp(
            self._peers, store, self._is_concluded, limits, self._outbox, bites=bites
        )
        self._topics = Topics(policies, definition.nodes)
        self._touched: dict[InstanceId, OpenInstance] = {}
        self._asking = Asking(
            self._peers,
            self._open,
            self._held,
            self._conclusions,
            limits=limits,
            outbox=self._outbox,
            reject=reject,
            touch=self._touch,
            bites=bites,
        )
        self._sealing = Sealing(
            epoch or Epoch(),
            used=self._used,
            open_instances=lambda: self._open,
            voice=self._voice,
            close=self._close_elsewhere,
            abandon=self._abandon_elsewhere,
        )
        self._authority = Authority(policies, authenticator, self._sealing.guard.read)
        self._inputs = Inputs(
            validator=validator,
            leader=definition.leader,
            policies=policies,
            authority=self._authority,
            sealing=self._sealing,
            conclusions=self._conclusions,
            voice=self._voice,
            own_input=own_input,
            reject=reject,
            touch=self._touch,
            clock=lambda: self._now_ms,
        )
        self._let_go = LetGo(self._peers, definition.quorum, limits)
        self._witness = Witness(self._open, self._held, store, limits, self._outbox)
        self._lost_votes = LostVotes(
            validator,
            self._peers,
            journal=journal,
            store=store,
            authenticator=authenticator,
            recollection=Recollection(
                self._peers,
                validator=validator,
                faulty=definition.faulty,
                limits=limits,
                outbox=self._outbox,
                is_genuine=authenticator.is_genuine,
                is_authorised=self._authority.admits,
                authorising_work=self._authority.work_of,
                has_read=self._catch_up.has_read,
                read_to=self._catch_up.read_to,
            ),
            voice=self._voice,
            limits=limits,
            stop=self._stop,
            go_on=self._go_on,
            keep_out=self._keep_out,
            is_kept_out=self._is_kept_out,
            tell=tell,
            reject=reject,
        )
        self._recovered = Recovered()
        self._relay = Relay(validator, self._peers, limits, self._outbox, bites)
        self._deadlines = Deadlines(self._open)
        self._questions = Questions(
            validator=validator,
            application=application,
            source=source,
            limits=limits,
            judged=self._judged,
            provided=self._provided,
            reject=reject,
            bites=bites,
        )
        self._intake = Intake(
            limits.turn_work_max,
            Load(limits.waiting_work_per_peer_max, limits.waiting_bytes_per_peer_max),
            waste_max=limits.waste_work_max,
            waste_per_ms=limits.waste_work_per_ms,
            bites=bites,
        )
        self._arrivals = Arrivals(
            validator=validator,
            faulty=definition.faulty,
            leader=definition.leader,
            peers=self._peers,
            opens=self._open,
            openings=self._openings,
            instances=Instances(
                open_instance=self._open_instance,
                learn=self._inputs.learn,
                touch=self._touch,
                is_authorised=self._authority.admits,
                authorising_work=self._authority.work_of,
                is_below_mark=self._is_below_mark,
                is_kept_out=self._is_kept_out,
                is_concluded=self._is_concluded,
            ),
            authenticator=authenticator,
            store=store,
            topics=self._topics,
            intake=self._intake,
            held=self._held,
            conclusions=self._conclusions,
            aftermath=self._aftermath,
            asking=self._asking,
            answers=self._answers,
            catch_up=self._catch_up,
            let_go=self._let_go,
            lost_votes=self._lost_votes,
            misconduct=self.misconduct,
            resender=self._resender,
            voice=self._voice,
            witness=self._witness,
            limits=limits,
            clock=lambda: self._now_ms,
            reject=reject,
            observer=observer,
            bites=bites,
            tally=self.tally,
        )
        self._heard: dict[int, int] = {}
        self._now_ms = self._next_tick_ms = self._resumed_ms = 0
        self._voting = True

    # --- what the node asks -----------------------------------------------------------------------

    def recover(self, now_ms: int) -> None:
        """Take up the journal; once, before the driver runs (W5).

        Undecided instances go on at once, or when this node may vote (W7).
        """
        self._now_ms = self._resumed_ms = now_ms
        self._recovered = read_journal(self._journal.recover(), now_ms)
        self._quarantined = set(self._recovered.quarantined)
        self._given_up = set(self._recovered.given_up)
        for instance in sorted(self._quarantined - self._given_up):
            self._asking.leave(instance)
        self.misconduct.recover(self._recovered.evidence)
        for topic in (*self._store.topics(), *self._recovered.topics()):
            self._topics.add(topic)
        if self._journal.standing in (Standing.LOST, Standing.SHARED):
            self._quarantined.update(self._recovered.votes)
        self._sealing.recover(self._recovered, self._store)
        self._lost_votes.recover(self._recovered)

    def _resume(
        self,
        instance: InstanceId,
        votes: Sequence[CastVote],
        proposals: Sequence[ProposalRecord],
    ) -> None:
        voted = {cast.own.vote.value for cast in votes}
        authorised = {r.proposal.digest for r in proposals if self._authority.admits(r.proposal)}
        if not voted and not authorised:
            return  # the topic is guarded by now: there is nothing that this node may say here
        opened = self._make(instance)
        given = None
        for record in proposals:
            digest = record.proposal.digest
            if digest not in authorised and digest not in voted:
                continue
            opened.proposals[digest] = record.proposal
            opened.journaled.add(digest)
            if digest not in authorised:
                continue  # its votes stand, and others may need the bytes; it is no input any more
            if record.is_input:
                given = record.proposal
            if record.is_own:
                self._conclusions.remember_own(record.proposal)
                self._openings.resumed(instance)
        if instance == self._sealing.instance:
            self._sealing.inform(opened, self._now_ms)
        opened.resume(votes, given, self._now_ms)
        self._resender.update(opened)
        self._touch(opened)

    def propose(self, proposal: Proposal, now_ms: int) -> asyncio.Future[Decision]:
        """Take a proposal of an own client; the future gives the decision, whosever value it is.

        Raises:
            BelowLowWaterMark: the instance is not kept any more, and never voted on again, here or
                at so many peers that the others are no quorum.
            Busy: too many instances are open, or a seal is being decided that claims this one.
            JournalError: this node has stopped voting.
            OtherEpoch: another cluster decides this instance.
            ProposalConflict: own clients proposed another value for it before (SCENARIOS G4).
            QbftError: it is a seal, and this node has voted on what it gives away.
            TooManyTopics: it would be a new topic, and its prefix has as many as it may.
            UnauthorisedProposal: the topic's policy does not let this proposer propose.
        """
        self._now_ms = now_ms
        instance = proposal.instance
        if not self._authority.admits(proposal):
            raise UnauthorisedProposal
        decided = self._store.get(instance)
        if decided is not None:
            return _done(as_seen_by(decided, proposal.digest))
        if not self._sealing.guard.may_vote(instance):
            raise self._sealing.guard.refusal(instance)
        self._check_kept(instance)
        self._check_voting(instance)
        self._check_topic(instance.topic)
        opened = self._open.get(instance)
        concluding = instance in self._conclusions
        if opened is None and not concluding and not self._openings.has_own_place():
            raise Busy("too many undecided instances are open", self._limits.resend_ms)
        is_seal = instance == self._sealing.instance
        if is_seal and not self._sealing.accepts(proposal):
            raise QbftError(TOO_LOW)
        is_first = is_seal or self._conclusions.remember_own(proposal)
        future = self._conclusions.wait(proposal)
        if not concluding:
            opened = opened or self._open_instance(instance, self._validator)
            self._inputs.propose(opened, proposal, is_first=is_first)
        return future

    def _check_kept(self, instance: InstanceId) -> None:
        """Refuse what is kept no more, here or at so many peers that no quorum is left."""
        if self._is_below_mark(instance):
            raise BelowLowWaterMark(instance, self._store.low_water_mark(instance.topic))
        is_given_up = instance in self._given_up or self._let_go.has(instance)
        if is_given_up and not self.is_open(instance):
            mark = max(instance.height + 1, self._let_go.mark_of(instance.topic))
            raise BelowLowWaterMark(instance, mark)

    def _check_voting(self, instance: InstanceId) -> None:
        """Refuse where this replica does not vote."""
        if not self._voting:
            raise JournalError(NOT_VOTING)
        if self._lost_votes.why_not is not None:
            raise JournalError(self._lost_votes.why_not)
        if self._is_kept_out(instance):
            raise JournalError(f"this node does not vote in {instance}")

    def _check_topic(self, topic: str) -> None:
        """Refuse own clients a new topic where the prefix has as many as it may."""
        if self._topics.has_room_for_clients(topic):
            return
        self.bites.note(Bound.TOPICS_MAX)
        self._reject("topic_budget", self._validator)
        policy = self._policies(topic)
        raise TooManyTopics(topic, policy.prefix, policy.topics_max)

    def is_open(self, instance: InstanceId) -> bool:
        """Whether the instance is undecided here and known."""
        return instance in self._open or instance in self._conclusions

    @property
    def resumed_of_clients(self) -> int:
        """How many instances are open that own clients proposed for before a restart."""
        return self._openings.resumed_count

    def has_input(self, instance: InstanceId) -> bool:
        """Whether it is open here and has a value to propose, which may be another's."""
        opened = self._open.get(instance)
        return opened is not None and opened.input is not None

    def undecided(self) -> Iterator[InstanceId]:
        """The instances that are open or not durably decided: no low-water mark passes them."""
        yield from self._open
        yield from self._conclusions.bare
        yield from self._conclusions.settling

    @property
    def is_voting(self) -> bool:
        """Whether it votes: its journal works, and holds every vote that it has cast."""
        return self._voting and self._lost_votes.why_not is None

    def status(self) -> ReplicaStatus:
        """Give what a node reports of its replica."""
        return ReplicaStatus(
            len(self._open),
            len(self._topics),
            len(self._held),
            self.is_voting,
            self._lost_votes.standing,
            dict(self._heard),
            self._catch_up.is_behind(),
            self._lost_votes.why_not_in_full or ("" if self._voting else NOT_VOTING),
            self._asking.left,
            self._oldest_open_ms(),
        )

    def _oldest_open_ms(self) -> int | None:
        """When the oldest open instance was opened; may be asked for from another thread."""
        opened = list(self._open.values())
        if not opened:
            return None
        opened_ms = opened[0].opened_ms
        return self._resumed_ms if opened_ms is None else opened_ms

    def depths(self) -> Depths:
        """Measure what waits here, for metrics; may be asked for from another thread."""
        by_peer = {}
        for index, peer in self._peers.items():
            waiting = self._intake.waiting(index)
            read, feed_end = self._catch_up.progress(index)
            by_peer[index] = PeerDepths(
                held_votes=self._held.count_of(index),
                kept_bytes=peer.account.spent,
                opened_instances=self._openings.count_of(index),
                waiting_work=waiting.work,
                waiting_bytes=waiting.size,
                feed_position=read,
                feed_end=feed_end,
            )
        bare, settling = self._conclusions.bare, self._conclusions.settling
        return Depths(len(bare), len(settling), by_peer)

    def inspect(self, instance: InstanceId, now_ms: int) -> InstanceAccount:
        """Give this node's account of an instance (`qbft.diagnosis`)."""
        opened = self._open.get(instance)
        if opened is not None:
            policy = self._policies(instance.topic)
            return account_of(opened, self._definition, policy, now_ms)
        state, round_ = self._standing_in(instance)
        return InstanceAccount(
            instance,
            state,
            round=round_,
            held_of=self._held.sources(instance),
            waits_for_place_of=self._openings.waiting_for(instance),
            leader=self._definition.leader(instance, 1),
            next_leader=self._definition.leader(instance, 2),
        )

    def _standing_in(self, instance: InstanceId) -> tuple[InstanceState, int]:
        """How it stands in an instance that is not open, and the round of a decision."""
        known = self._conclusions.known(instance)
        if known is not None:
            is_bare = instance in self._conclusions.bare
            return InstanceState.BARE if is_bare else InstanceState.DECIDED, known.round
        decision = self._store.get(instance)
        if decision is not None:
            return InstanceState.DECIDED, decision.certificate.round
        if self._is_below_mark(instance):
            return InstanceState.BELOW_MARK, 0
        if instance in self._given_up or self._let_go.has(instance):
            return InstanceState.LET_GO, 0
        if self._is_kept_out(instance):
            return InstanceState.QUARANTINED, 0
        return (InstanceState.HELD if instance in self._held else InstanceState.UNKNOWN), 0

    def stop_voting(self) -> None:
        """Say from now on that this node does not vote: its journal is gone (SCENARIOS K23)."""
        self._voting = False
        self._conclusions.fail(JournalError(NOT_VOTING))

    # --- what arrives -----------------------------------------------------------------------------

    def receive(self, peer: int, frame: Frame, now_ms: int) -> None:
        """Take a frame: certificates first, so that what they decide opens nothing.

        What is more than one turn may take waits for the next ones (DESIGN, async).
        """
        sender = self._peers.get(peer)
        if sender is None:
            return
        self._now_ms = self._heard[peer] = now_ms
        if not self._intake.add(peer, frame, self._arrivals.parts(sender, frame)):
            self._reject("overloaded", peer)

    def takes_from(self, peer: int, now_ms: int) -> bool:
        """Whether to read on what a peer sends; else it should wait unread, where it costs nothing.

        It has wasted too much, or too much of it waits already (HARDENING U7).
        """
        return self._intake.takes_from(peer, now_ms)

    def note_waste(self, peer: int, work: int, now_ms: int) -> None:
        """Hold against a peer what reading cost that had to be refused, in signature checks."""
        self._intake.note_waste(peer, work, now_ms)

    @property
    def is_saturated(self) -> bool:
        """Whether this turn has taken in enough."""
        return self._intake.is_saturated

    @property
    def linger_ms(self) -> int:
        """Wait a moment when many instances are open: they share commit, signature and frames."""
        limits, count = self._limits, len(self._open)
        if count < limits.linger_instances:
            return 0
        return min(limits.linger_ms_max, count // limits.linger_instances)

    def link_up(self, peer: int, now_ms: int) -> None:
        """Begin anew with a peer that may have missed anything: votes, decisions, its feed."""
        sender = self._peers[peer]
        self._now_ms = now_ms
        self._held.forget_missed(peer)
        self._resender.begin(sender, now_ms, self._voice.last_sequence)
        sender.is_being_told = False
        self._lost_votes.link_up(peer)
        self._asking.begin(sender)
        self._relay.link_up(sender)
        self._catch_up.begin(peer, now_ms)

    # --- where nothing is opened ------------------------------------------------------------------

    def _is_below_mark(self, instance: InstanceId) -> bool:
        """Whether it is not kept any more, nor voted on again; nothing open is (retention)."""
        return instance.height < self._store.low_water_mark(instance.topic)

    def _is_kept_out(self, instance: InstanceId) -> bool:
        """Whether this node never votes there, and takes only what others' COMMITs decide."""
        return (
            instance in self._quarantined
            or self._lost_votes.is_below_floor(instance)
            or not self._sealing.guard.may_vote(instance)
            or self._may_have_sealed()
        )

    # --- the end of the epoch ---------------------------------------------------------------------

    def _may_have_sealed(self) -> bool:
        """Whether this node may have voted for a seal that it does not know of, still undecided.

        Its lost votes may be there: then it may vote nowhere, until it learns what was decided.
        """
        return self._sealing.instance in self._quarantined and self._sealing.guard.sealed is None

    def _used(self) -> Iterator[InstanceId]:
        """Where this node has voted, or may have, and what is decided; of each topic the highest.

        Below a mark or a floor nothing else is known than that something may have been.
        """
        yield from self._used_beside_decided()
        yield from highest_decided(self._store)

    def _used_beside_decided(self) -> Iterator[InstanceId]:
        yield from (opened.instance for opened in self._open.values() if opened.votes.current)
        yield from self._recovered.votes
        yield from self._sealing.voted_aside()
        yield from self._quarantined
        yield from self._conclusions.bare
        yield from self._conclusions.settling
        for bounds in (self._store.low_water_marks(), self._lost_votes.floors):
            for topic, height in bounds.items():
                if height:
                    yield InstanceId(topic, height - 1)

    def highest_beside_decided(self) -> dict[str, int]:
        """By topic, the highest height that this node has used and the store knows nothing of."""
        highest: dict[str, int] = {}
        for instance in self._used_beside_decided():
            highest[instance.topic] = max(instance.height, highest.get(instance.topic, 0))
        return highest

    def _close_elsewhere(self, instance: InstanceId, error: QbftError) -> None:
        """Close an engine of what may be another epoch's."""
        self._touched.pop(instance, None)
        opened = self._open.get(instance)
        if opened is not None:
            self._close(opened)
        self._conclusions.give_up(instance, error)

    def _abandon_elsewhere(self, instance: InstanceId, error: QbftError) -> None:
        """Give up what the next epoch decides, so that a low-water mark may pass it."""
        self._close_elsewhere(instance, error)
        self._leave(instance, "the next epoch decides it", abandoned=True)

    def _is_concluded(self, instance: InstanceId) -> bool:
        """Whether it is decided here, durably or nearly so, or not kept any more."""
        return (
            self._aftermath.is_recent(instance)
            or instance in self._conclusions
            or self._is_below_mark(instance)
            or (instance not in self._open and self._store.digest(instance) is not None)
        )

    # --- a node without its votes (W7) ------------------------------------------------------------

    def hear_hello(
        self, peer: int, store_id: bytes, acknowledged: int, remembered: Message | None, now_ms: int
    ) -> None:
        """Take what a peer says when a stream begins: what it has, and what it remembers of us."""
        self._now_ms = now_ms
        sender = self._peers[peer]
        if sender.store_id != store_id:
            if sender.store_id is not None:
                self._catch_up.begin_anew(peer, now_ms)
            sender.store_id, sender.received = store_id, 0
        sender.told = acknowledged
        if remembered is not None:
            self._lost_votes.hear(peer, remembered)

    def known_of(self, peer: int) -> tuple[int, Message | None]:
        """What to tell a peer: up to which of its votes nothing is missing here, and its newest."""
        sender = self._peers[peer]
        return sender.received, sender.last_vote

    def _stop(self, why: JournalError) -> None:
        """Close every engine: this node may have voted on what it does not know of."""
        for opened in list(self._open.values()):
            self._quarantined.add(opened.instance)
            self._close(opened)
        self._touched.clear()
        self._conclusions.fail(why)

    def _go_on(self, listed: Iterable[InstanceId]) -> None:
        """Vote, but not in these instances, nor where it had voted when votes were lost."""
        recovered, self._recovered = self._recovered, Recovered()
        for instance in sorted({*listed, *(self._quarantined - recovered.quarantined)}):
            if not self._is_concluded(instance):
                self._leave(instance, "votes here may be lost")
        for instance in recovered.instances():
            self._sealing.pass_over(instance, voted=instance in recovered.votes)
            if not self._is_kept_out(instance) and not self._is_concluded(instance):
                self._resume(
                    instance,
                    recovered.votes.get(instance, ()),
                    recovered.proposals.get(instance, ()),
                )
        self._held.miss_all()

    def _keep_out(self, instance: InstanceId) -> None:
        """Never vote, or vote no more, where a lost vote has turned up."""
        if self._is_kept_out(instance) or self._is_concluded(instance):
            return
        self._touched.pop(instance, None)
        self._leave(instance, "a lost vote was here")
        if instance == self._sealing.instance:
            for other in list(self._open):
                self._touched.pop(other, None)
                self._leave(other, "a seal may have been voted for that claims it")

    # --- what the application answers -------------------------------------------------------------

    def _ask(self, opened: OpenInstance) -> None:
        """Ask the application what there is to be asked; seals are none of its affair."""
        if opened.instance != self._sealing.instance:
            self._questions.ask(opened)

    def _judged(self, opened: OpenInstance, proposal: Proposal, valid: bool | None) -> None:
        """Take its answer about a value; None: it gave none."""
        if self._open.get(opened.instance) is opened:
            self._now_ms = now_ms()
            self._inputs.judged(opened, proposal, valid)

    def _provided(self, opened: OpenInstance, proposal: Proposal) -> None:
        """Take a value that it gave, be it too late."""
        is_sound = self._inputs.may_be_provided(opened, proposal)
        if is_sound and self._open.get(opened.instance) is opened:
            self._now_ms = now_ms()
            self._inputs.provided(opened, proposal)

    # --- opening ----------------------------------------------------------------------------------

    def _make(self, instance: InstanceId) -> OpenInstance:
        opened = self.instance_type(
            instance,
            self._definition,
            self._validator,
            self._lateness.timer(self._now_ms),
            limits=self._limits,
            accounts=self._accounts,
            observer=self._observer,
            bites=self.bites,
        )
        is_seal = instance == self._sealing.instance
        opened.checks.enabled = is_seal or self._questions.application is not None
        self._open[instance] = opened
        self._topics.add(instance.topic)
        return opened

    def _open_instance(
        self, instance: InstanceId, opener: int, asked: Asked | None = None
    ) -> OpenInstance:
        """Open: start the engine, adopt the proposal, and take the votes that were held for it."""
        opened = self._make(instance)
        is_alone = asked is not None or opener == self._validator
        self._openings.opened(instance, opener if is_alone else TOGETHER, asked, self._now_ms)
        if self._observer is not None:
            self._observer.opened(instance, opener, self._now_ms)
        self.tally.opened += 1
        opened.start(self._now_ms)
        if asked is not None:
            self._inputs.learn(opened, opener, asked.proposal)
        for peer, waiting in self._openings.release(instance):
            self._inputs.learn(opened, peer, waiting)
        self._take_held(opened)
        for peer in self._held.drain_missed(instance):
            self._asking.for_decision(peer, instance)
        self._touch(opened)
        return opened

    def _take_held(self, opened: OpenInstance) -> None:
        """Take what was held for an instance: at once what a turn can bear, the others later."""
        work = 0
        later: dict[int, list[Message]] = {}
        for sender, vote in self._held.release(opened.instance):
            if work < self._limits.held_work_at_open_max:
                work += 1 + len(vote.justification)
                self.misconduct.look(opened.first_votes, vote)
                opened.take_held(sender, vote, self._now_ms)
                self._asking.for_value_of(opened, sender, vote, self._now_ms)
            else:
                later.setdefault(sender, []).append(vote)
        for sender, votes in later.items():
            self.bites.note(Bound.HELD_WORK_AT_OPEN_MAX, sender)
            self._intake.put_off(
                sender, Load.of_votes(votes), self._arrivals.held_parts(sender, votes)
            )

    def _touch(self, opened: OpenInstance) -> None:
        self._touched[opened.instance] = opened

    # --- time -------------------------------------------------------------------------------------

    @property
    def next_due_ms(self) -> int | None:
        """When something is due: the rest of a frame, a timer, a late certificate, the tick.

        What a decision made this node ask for, once it was durable, is due at once too.
        """
        if self._intake.has_more or self._outbox:
            return self._now_ms
        ticks = (
            self._open
            or self._conclusions.bare
            or self._held.has_missed
            or self._catch_up.is_behind()
            or self._lost_votes.why_not is not None
            or self._asking.left
        )
        due = (
            self._deadlines.next_ms,
            self._aftermath.next_due_ms,
            self._next_tick_ms if ticks else None,
            self._intake.resumes_ms,
            self._openings.resumes_ms(self._now_ms),
        )
        first_ms: int | None = None
        for ms in due:
            if ms is not None and (first_ms is None or ms < first_ms):
                first_ms = ms
        return first_ms

    def run_due(self, now_ms: int) -> None:
        """Go on with what was left over; then timers, always, and the tick of re-sending."""
        self._now_ms = now_ms
        self._intake.go_on(now_ms)
        if self._openings.has_waiting:
            self._open_waiting(now_ms)
        if self._deadlines.are_due(now_ms):
            self._run_timers(now_ms)
        self._aftermath.run_due(now_ms)
        if now_ms >= self._next_tick_ms:
            self._next_tick_ms = now_ms + self._limits.resend_ms
            self._tick(now_ms)

    def _run_timers(self, now_ms: int) -> None:
        """Let round timers run out, so many in a turn."""
        for opened in self._deadlines.run_out(now_ms, self._limits.turn_timers_max):
            if self._let_go.has(opened.instance):
                self._give_up(opened)
                continue
            self.tally.expired += not opened.waits_for_company
            self._openings.ran_out(opened.instance, now_ms, is_first=not opened.relays)
            opened.expire(now_ms)
            self._touch(opened)
            self._asking.for_progress(opened)
            self._relay.begin(opened)
        if self._deadlines.are_due(now_ms):
            self.bites.note(Bound.TURN_TIMERS_MAX)

    def _open_waiting(self, now_ms: int) -> None:
        """Open what has waited for a place, as far as the turn can bear it."""
        for peer, asked in self._openings.ready(now_ms):
            self._intake.note_work(peer, self._arrivals.take_proposal(peer, asked))
            if self._intake.is_saturated:
                return

    def _tick(self, now_ms: int) -> None:
        """Send again what was not acknowledged, and ask again for what did not come."""
        for peer in self._peers.values():
            self._resender.tick(peer, now_ms, self._voice.last_sequence)
        self._asking.tick(now_ms, self._openings.takes_more, self._is_concluded)
        self._relay.tick()
        self._lost_votes.tick()
        self._catch_up.tick(now_ms)

    # --- the end of a turn ------------------------------------------------------------------------

    def end_turn(self, now_ms: int) -> Turn:
        """Sign the turn's votes together; give its records, then its frames (HARDENING W1)."""
        spoken = [opened for opened in self._touched.values() if self._voice.collect(opened)]
        for opened in spoken:
            self._sealing.guard.admit(opened.instance)
        for opened in self._touched.values():
            if opened.failure is not None:
                self._quarantine(opened, opened.failure)
            elif opened.decide is not None:
                self._conclude(opened, opened.decide)
            else:
                self._deadlines.arm(opened)
                self._ask(opened)
                self._asking.note(opened)
        self._touched.clear()
        for settling in self._conclusions.settling.values():
            self._voice.record(DecisionRecord(settling.decision))
        records, frames = self._voice.speak()
        for opened in spoken:
            if opened.instance in self._open:
                self._resender.update(opened)
        outgoing: list[tuple[int | None, Frame]] = [(None, frame) for frame in frames]
        outgoing += self._outbox.seal()
        for peer, frame in outgoing:
            self.tally.send(frame, len(self._peers) if peer is None else 1)
        turn = Turn(records, outgoing, self._questions.drain())
        self._intake.end_turn()
        return turn

    def _quarantine(self, opened: OpenInstance, reason: str) -> None:
        """Never vote again in an instance whose engine met a bug (DESIGN, errors)."""
        self._reject("instance_quarantined", self._validator)
        self._leave(opened.instance, reason)

    def _leave(self, instance: InstanceId, reason: str, *, abandoned: bool = False) -> None:
        """Never vote there from now on; what others decide is taken all the same."""
        self._quarantined.add(instance)
        self._voice.record(QuarantineRecord(instance, reason, abandoned))
        if not abandoned:
            self._asking.leave(instance)
        opened = self._open.get(instance)
        if opened is not None:
            self._close(opened)

    def _give_up(self, opened: OpenInstance) -> None:
        """Close what so many peers keep no more that no quorum is left (DESIGN, retention).

        A certificate or a quorum of COMMITs would still be taken, from whoever has it.
        """
        instance = opened.instance
        if opened.decide is not None or opened.failure is not None:
            return
        self._given_up.add(instance)
        self._reject("instance_let_go", self._validator)
        self._touched.pop(instance, None)
        self._leave(instance, "its peers let it go", abandoned=True)
        error = BelowLowWaterMark(instance, self._let_go.mark_of(instance.topic))
        self._conclusions.give_up(instance, error)

    def _conclude(self, opened: OpenInstance, decide: Decide) -> None:
        """Retire an engine that has decided; the decision is complete when its bytes are here."""
        instance = opened.instance
        certificate = canonical_certificate(instance, decide.round, decide.value, decide.commits)
        proposal = opened.proposals.get(as_digest(decide.value))
        self.tally.conclude(opened, decide.round, self._now_ms)
        if opened.opened_ms is not None:
            self._lateness.note(self._now_ms - opened.opened_ms, self._now_ms)
        silent: frozenset[int] = frozenset()
        if not opened.is_learnt:
            silent = frozenset(self._peers.keys() - opened.committers(decide.round, decide.value))
        self._close(opened)
        self._conclusions.add(certificate, proposal, silent=silent)
        if proposal is None:
            signers = [commit.source for commit in certificate.commits]
            self._asking.for_value_in_turn(instance, as_digest(decide.value), signers, self._now_ms)

    def _close(self, opened: OpenInstance) -> None:
        instance = opened.instance
        opened.close()
        if self._observer is not None:
            self._observer.closed(instance, self._now_ms)
        self._open.pop(instance, None)
        self._asking.forget(instance)
        self._relay.forget(instance)
        self._resender.forget(instance)
        is_decided = opened.decide is not None and opened.decide.round == 1
        self._openings.closed(instance, in_first_round=is_decided and not opened.relays)

    def turn_done(self, now_ms: int) -> None:
        """Publish the decisions that are durable now, and tell whoever waited."""
        self._now_ms = now_ms
        settling = list(self._conclusions.settling.values())
        if not settling:
            return
        self._store.add([entry.decision for entry in settling])
        self._conclusions.publish()
        for entry in settling:
            self._aftermath.settle(entry.decision, now_ms, entry.silent)
            if entry.decision.instance == self._sealing.instance:
                self._sealing.end(entry.decision)
        decided = [as_instance(entry.decision.instance) for entry in settling]
        for instance in decided:
            self._topics.add(instance.topic)
            self._asking.found(instance)
        self._catch_up.decided(decided, now_ms)


def _done(decision: Decision) -> asyncio.Future[Decision]:
    future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    future.set_result(decision)
    return future
