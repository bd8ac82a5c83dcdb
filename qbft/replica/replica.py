"""The replica: many engines, one journal, one voice.

A sans-I/O machine: frames, proposals and the time go in, a turn's records and frames come out
(`qbft.replica.turn`). It decides all that a node may say; the driver and the server only connect it
to a clock, sockets and disks, and the simulator to their pretended kin.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from qbft.core import Decide, Definition, InstanceId, Message, MessageType
from qbft.crypto.certificate import Certificate, canonical_certificate
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import BelowLowWaterMark, Busy, InvariantViolation, JournalError, QbftError
from qbft.replica.aftermath import Aftermath
from qbft.replica.answers import Answers
from qbft.replica.asking import Asking
from qbft.replica.authenticator import Authenticator
from qbft.replica.catch_up import CatchUp
from qbft.replica.conclusions import Conclusions, as_seen_by, check_same
from qbft.replica.deadlines import Deadlines
from qbft.replica.driver import now_ms
from qbft.replica.held import HeldVotes
from qbft.replica.intake import (
    FEED_IDS_PER_WORK,
    SECTION_VOTES_PER_WORK,
    SECTION_WORK_PER_PART,
    VALUE_BYTES_PER_WORK,
    Intake,
    Load,
)
from qbft.replica.limits import ReplicaLimits
from qbft.replica.lost_votes import LostVotes
from qbft.replica.narrow import as_digest, as_instance
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.own_votes import CastVote
from qbft.replica.peer import Peer
from qbft.replica.policy import Policies, open_to_all
from qbft.replica.protocols import (
    Application,
    DecisionRecord,
    DecisionStore,
    Journal,
    ProposalRecord,
    QuarantineRecord,
    Standing,
)
from qbft.replica.recollection import Recollection
from qbft.replica.recovery import Recovered, read_journal
from qbft.replica.relay import Relay
from qbft.replica.resend import Resender
from qbft.replica.turn import Turn, Work
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
    """What a replica says of itself; `peers_heard` is when each peer's last frame came."""

    open_instances: int
    held_votes: int
    voting: bool
    standing: Standing
    peers_heard: dict[int, int]


class Replica:
    """One validator's part in every instance. See `qbft.replica.turn.Machine` for its rhythm."""

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
        application: Application | None = None,
        limits: ReplicaLimits | None = None,
        reject: Reject = _count_nothing,
        tell: Tell = _tell_nobody,
    ) -> None:
        if definition.compares:
            raise InvariantViolation("the comparison must be off wherever votes are journaled")
        self._definition = definition
        self._validator = validator
        self._authenticator = authenticator
        self._journal = journal
        self._store = store
        self._timers = timers
        self._policies = policies
        self._application = application
        self._limits = limits = limits or ReplicaLimits()
        self._reject = reject
        self._peers = {
            index: Peer(index, limits) for index in range(definition.nodes) if index != validator
        }
        self._accounts = {index: peer.account for index, peer in self._peers.items()}
        self._open_per_peer_max = min(
            limits.open_instances_per_peer_max,
            limits.open_instances_of_peers_max // max(1, len(self._peers)),
        )
        self._open: dict[InstanceId, OpenInstance] = {}
        self._openers: dict[InstanceId, int] = {}
        self._opened_by_own = 0
        self._quarantined: set[InstanceId] = set()
        self._outbox = Outbox()
        self._voice = Voice(authenticator, journal, limits)
        self._held = HeldVotes(definition.quorum, limits)
        self._resender = Resender(limits, self._outbox)
        self._conclusions = Conclusions(self._peers, limits)
        self._aftermath = Aftermath(self._peers, store, limits, self._outbox)
        self._answers = Answers(self._open, store, limits, self._outbox)
        self._catch_up = CatchUp(self._peers, store, self._is_concluded, limits, self._outbox)
        self._learnt: set[InstanceId] = set()
        self._touched: dict[InstanceId, OpenInstance] = {}
        self._asking = Asking(
            self._peers,
            self._open,
            self._held,
            self._conclusions,
            limits=limits,
            outbox=self._outbox,
            reject=reject,
        )
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
                is_authorised=self._is_authorised,
                has_read=self._catch_up.has_read,
            ),
            voice=self._voice,
            limits=limits,
            stop=self._stop,
            go_on=self._go_on,
            tell=tell,
            reject=reject,
        )
        self._recovered = Recovered()
        self._relay = Relay(self._peers, limits, self._outbox)
        self._deadlines = Deadlines(self._open)
        self._work: list[Work] = []
        self._checking: Counter[int] = Counter()
        self._intake = Intake(
            limits.turn_work_max,
            Load(limits.waiting_work_per_peer_max, limits.waiting_bytes_per_peer_max),
            waste_max=limits.waste_work_max,
            waste_per_ms=limits.waste_work_per_ms,
        )
        self._heard: dict[int, int] = {}
        self._now_ms = 0
        self._next_tick_ms = 0
        self._voting = True

    # --- what the node asks -----------------------------------------------------------------------

    def recover(self, now_ms: int) -> None:
        """Take up the journal; once, before the driver runs (W5).

        Undecided instances go on at once, or when this node may vote (W7).
        """
        self._now_ms = now_ms
        self._recovered = read_journal(self._journal.recover(), now_ms)
        self._quarantined = set(self._recovered.quarantined)
        if self._journal.standing is Standing.LOST:
            self._quarantined.update(self._recovered.votes)
        self._lost_votes.recover(self._recovered.replaced, self._recovered.cast())

    def _resume(
        self,
        instance: InstanceId,
        votes: Sequence[CastVote],
        proposals: Sequence[ProposalRecord],
    ) -> None:
        opened = self._make(instance)
        given = None
        for record in proposals:
            opened.proposals[record.proposal.digest] = record.proposal
            opened.journaled.add(record.proposal.digest)
            if record.is_input:
                given = record.proposal
            if record.is_own:
                self._conclusions.remember_own(record.proposal)
        opened.resume(votes, given, self._now_ms)
        self._resender.update(opened)
        self._touch(opened)

    def propose(self, proposal: Proposal, now_ms: int) -> asyncio.Future[Decision]:
        """Take a proposal of an own client; the future gives the decision, whosever value it is.

        Raises:
            BelowLowWaterMark: the instance is not kept any more, and never voted on again.
            Busy: too many instances are open.
            JournalError: this node has stopped voting.
            ProposalConflict: own clients proposed another value for it before (SCENARIOS G4).
            QbftError: the topic's policy does not let this proposer propose.
        """
        self._now_ms = now_ms
        instance = proposal.instance
        decided = self._store.get(instance)
        if decided is not None:
            return _done(as_seen_by(decided, proposal.digest))
        if self._is_below_mark(instance):
            raise BelowLowWaterMark(instance, self._store.low_water_mark(instance.topic))
        self._check_proposable(proposal)
        opened = self._open.get(instance)
        concluding = instance in self._conclusions
        own_places_left = self._opened_by_own < self._limits.open_instances_max
        if opened is None and not concluding and not own_places_left:
            raise Busy("too many undecided instances are open", self._limits.resend_ms)
        is_first = self._conclusions.remember_own(proposal)
        future = self._conclusions.wait(proposal)
        if concluding:
            return future
        if opened is None:
            opened = self._open_instance(instance, self._validator)
        opened.learn(self._validator, proposal, now_ms)
        if opened.input is None:
            self._give_input(opened, proposal, is_own=True)
            if self._definition.leader(instance, 1) != self._validator:
                self._voice.forward(proposal)
        elif is_first:
            opened.journaled.add(proposal.digest)
            self._voice.record(ProposalRecord(proposal, is_input=False, is_own=True))
        self._touch(opened)
        return future

    def _check_proposable(self, proposal: Proposal) -> None:
        """Refuse what no turn of this replica could take."""
        if not self._voting:
            raise JournalError(NOT_VOTING)
        if self._lost_votes.why_not is not None:
            raise JournalError(self._lost_votes.why_not)
        if proposal.instance in self._quarantined:
            raise JournalError(f"this node does not vote in {proposal.instance}")
        if not self._is_authorised(proposal):
            raise QbftError(f"the proposer may not propose for topic {proposal.instance.topic}")

    def is_open(self, instance: InstanceId) -> bool:
        """Whether the instance is undecided here and known."""
        return instance in self._open or instance in self._conclusions

    def undecided(self) -> Iterator[InstanceId]:
        """The instances that are open or not durably decided: no low-water mark passes them."""
        yield from self._open
        yield from self._conclusions.bare
        yield from self._conclusions.settling

    def status(self) -> ReplicaStatus:
        """Give what a node reports of its replica."""
        return ReplicaStatus(
            len(self._open),
            len(self._held),
            self._voting and self._lost_votes.why_not is None,
            self._lost_votes.standing,
            dict(self._heard),
        )

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
        if not self._intake.add(peer, frame, self._parts(sender, frame)):
            self._reject("overloaded", peer)

    @property
    def is_saturated(self) -> bool:
        """Whether this turn has taken in enough."""
        return self._intake.is_saturated

    @property
    def linger_ms(self) -> int:
        """Wait a moment when many instances are open: they share commit, signature and frames."""
        limits = self._limits
        return min(limits.linger_ms_max, len(self._open) // limits.linger_instances)

    def link_up(self, peer: int, now_ms: int) -> None:
        """Begin anew with a peer that may have missed anything: votes, decisions, its feed."""
        sender = self._peers[peer]
        self._now_ms = now_ms
        self._held.forget_missed(peer)
        self._resender.begin(sender, self._voice.last_sequence)
        self._lost_votes.link_up(peer)
        self._asking.begin(sender)
        self._relay.link_up(sender)
        self._catch_up.begin(peer, now_ms)

    def _parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Take a frame part by part; yields the cost of each, in checks of one signature."""
        peer = sender.index
        if frame.memory is not None:
            yield from self._lost_votes.take_memory(peer, frame)
            return
        if frame.acknowledged:
            self._resender.acknowledge(sender, frame.acknowledged, self._voice.last_sequence)
        for certificate in frame.certificates:
            yield self._take_certificate(peer, certificate)
        for proposal in frame.proposals:
            yield self._take_proposal(peer, proposal)
        for certificate in frame.certificates:
            self._want_decided_value(peer, certificate)
        if frame.votes:
            yield from self._take_own_section(peer, frame)
        for vote in frame.relayed:
            yield self._take_relayed(peer, vote)
        if frame.covers:
            self._resender.take_promise(sender, frame)
        yield from self._answer_parts(sender, frame)

    def _answer_parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Answer what a frame asks for."""
        peer = sender.index
        yield from self._answers.answer(sender, frame, self._now_ms)
        if frame.memory_wanted is not None:
            lost = self._lost_votes.standing is Standing.LOST
            yield self._witness.tell(sender, frame.memory_wanted, self._now_ms, lost=lost)
        if frame.feed_request is not None:
            self._catch_up.answer(peer, frame.feed_request)
            yield 1
        if frame.feed_page is not None:
            if not self._catch_up.take_page(peer, frame.feed_page, self._now_ms):
                self._reject("bad_feed_page", peer)
            yield 1 + len(frame.feed_page.instances) // FEED_IDS_PER_WORK

    def _take_own_section(self, peer: int, frame: Frame) -> Iterator[int]:
        """Take the votes that a peer signed in one turn; the late among them cost nothing."""
        votes = frame.votes
        if all(vote.source == peer and self._aftermath.is_late(peer, vote) for vote in votes):
            yield 1
            return
        genuine = self._authenticator.has_signed(peer, votes, frame.batch)
        cost = 1 + len(votes) // SECTION_VOTES_PER_WORK
        yield cost
        if not genuine:
            self._waste("bad_section_signature", peer, cost)
            return
        self._peers[peer].last_vote = votes[-1]
        work = 0
        for vote in votes:
            if vote.justification and not self._authenticator.is_justification_genuine(vote):
                self._waste("bad_justification_signature", peer, 1 + len(vote.justification))
            else:
                self._deliver(peer, vote, again=False)
            work += 1 + len(vote.justification)
            if work >= SECTION_WORK_PER_PART:
                yield work
                work = 0
        yield work

    def _take_relayed(self, peer: int, vote: Message) -> int:
        """Take a vote by its portable signature, unless what it is about is known already."""
        instance = as_instance(vote.instance)
        cost = 2 + len(vote.justification)
        if vote.source == self._validator:
            return self._take_own_back(peer, vote)
        if self._aftermath.is_recent(instance):
            self._aftermath.hear(peer, vote, self._now_ms)
            return 1
        if self._authenticator.is_genuine(vote):
            self._deliver(peer, vote, again=True)
        else:
            self._waste("bad_vote_signature", peer, cost)
        return cost

    def _take_own_back(self, peer: int, vote: Message) -> int:
        """Meet an own vote again; one that was never cast here means a lost journal (W7)."""
        instance = as_instance(vote.instance)
        opened = self._open.get(instance)
        if opened is not None:
            known = opened.has_cast(vote)
        else:
            known = instance in self._quarantined or self._is_concluded(instance)
        if known:
            return 1
        cost = 2 + len(vote.justification)
        if self._authenticator.is_genuine(vote):
            self._lost_votes.meet(peer, vote)
        else:
            self._waste("bad_vote_signature", peer, cost)
        return cost

    def _deliver(self, peer: int, vote: Message, *, again: bool) -> None:
        """Hand a verified vote to its engine, or answer it, or hold it."""
        instance = as_instance(vote.instance)
        opened = self._open.get(instance)
        if opened is not None:
            (opened.take_again if again else opened.take)(peer, vote, self._now_ms)
            self._touched[instance] = opened
            if vote.type is MessageType.PRE_PREPARE or vote.type is MessageType.ROUND_CHANGE:
                self._asking.for_value_of(opened, peer, vote, self._now_ms)
        elif instance in self._conclusions:
            return
        elif self._is_below_mark(instance):
            self._held.forget(instance)
        elif instance in self._quarantined:
            if vote.type is MessageType.COMMIT:
                self._held.add(peer, instance, vote)
                self._open_by_vote(peer, instance, vote)
        elif instance not in self._held and self._is_concluded(instance):
            self._aftermath.hear(peer, vote, self._now_ms)
        else:
            self._held.add(peer, instance, vote)
            self._open_by_vote(peer, instance, vote)

    def _open_by_vote(self, peer: int, instance: InstanceId, vote: Message) -> None:
        """Open an instance that enough validators are in, or take the decision they prove."""
        if vote.type is MessageType.COMMIT:
            commits = self._held.commit_quorum(instance, vote.round, vote.value)
            if commits:
                certificate = canonical_certificate(instance, vote.round, vote.value, commits)
                self._take_bare(certificate, peer)
                self._want_decided_value(peer, certificate)
        elif self._lost_votes.why_not is not None:
            return
        elif vote.type is MessageType.PRE_PREPARE and isinstance(vote.value, bytes):
            self._asking.for_value(instance, vote.value, peer, self._now_ms)
        elif self._held.round_change_sources(instance) > self._definition.faulty:
            if self._may_open(peer):
                self._open_instance(instance, peer)
            else:
                self._reject("open_budget", peer)

    def _take_proposal(self, peer: int, proposal: Proposal) -> int:
        """Take a forward, or the bytes of a value that is being voted on; gives what it cost."""
        instance = proposal.instance
        cost = 2 + len(proposal.value) // VALUE_BYTES_PER_WORK
        if self._conclusions.complete(proposal):
            return cost
        opened = self._open.get(instance)
        if opened is None:
            if (
                instance in self._quarantined
                or self._is_below_mark(instance)
                or (instance not in self._held and self._is_concluded(instance))
            ):
                return cost
        elif proposal.digest in opened.proposals:
            return cost
        elif opened.decide is not None and opened.decide.value == proposal.digest:
            opened.proposals[proposal.digest] = proposal  # the certificate vouches for these bytes
            return cost
        if not self._is_authorised(proposal):
            self._waste("unauthorised_proposal", peer, cost)
        elif opened is not None:
            self._learn(opened, peer, proposal)
        elif self._lost_votes.why_not is not None:
            self._held.miss(peer, instance)
        elif self._may_open(peer) and self._peers[peer].opens.take(
            self._now_ms, self._limits.opened_bytes_each + len(proposal.value)
        ):
            self._open_instance(instance, peer, proposal)
        else:
            self._held.miss(peer, instance)
            self._reject("open_budget", peer)
        return cost

    def _learn(self, opened: OpenInstance, sender: int, proposal: Proposal) -> None:
        if not opened.learn(sender, proposal, self._now_ms):
            self._reject("value_budget", sender)
            return
        if opened.input is None and self._policies(proposal.instance.topic).adopts:
            self._give_input(opened, proposal)
        self._touch(opened)

    def _give_input(
        self, opened: OpenInstance, proposal: Proposal, *, is_own: bool = False
    ) -> None:
        """Give an engine its input, and journal it with this turn (G4 after a restart)."""
        opened.give_input(proposal, self._now_ms)
        opened.journaled.add(proposal.digest)
        self._voice.record(ProposalRecord(proposal, is_input=True, is_own=is_own))

    def _take_certificate(self, peer: int, certificate: Certificate) -> int:
        """Believe a certificate, and nothing else, about a decision (HARDENING U4).

        Raises:
            InvariantViolation: another value was decided here (W4).
        """
        instance = certificate.instance
        if not isinstance(instance, InstanceId):
            self._reject("bad_certificate", peer)
            return 1
        if self._is_below_mark(instance):
            return 1
        opened = self._open.get(instance)
        known = self._conclusions.known(instance)
        if known is None and opened is None:
            decision = self._store.get(instance)
            known = decision.certificate if decision is not None else None
        if known is not None and known.value == certificate.value:
            return 1
        cost = 1 + len(certificate.commits)
        if not self._authenticator.proves(certificate):
            self._waste("bad_certificate", peer, cost)
            return cost
        if known is not None:
            check_same(known, certificate)
        if opened is None:
            self._take_bare(certificate, peer)
            return cost
        opened.take_decided(certificate.round, certificate.value, certificate.commits, self._now_ms)
        self._learnt.add(instance)
        self._touch(opened)
        return cost

    def _take_bare(self, certificate: Certificate, peer: int) -> None:
        """Keep a decision whose bytes are not here yet."""
        instance = as_instance(certificate.instance)
        if not self._conclusions.add(certificate, None, payer=peer):
            self._reject("certificate_budget", peer)
            return
        self._held.forget(instance)

    def _want_decided_value(self, peer: int, certificate: Certificate) -> None:
        """Ask for the bytes of a decision, unless they came with its certificate."""
        instance = certificate.instance
        if isinstance(instance, InstanceId) and instance in self._conclusions.bare:
            known = self._conclusions.bare[instance].certificate
            self._asking.for_value(instance, as_digest(known.value), peer, self._now_ms)

    def _is_below_mark(self, instance: InstanceId) -> bool:
        """Whether it is not kept any more, nor voted on again; nothing open is (retention)."""
        return instance.height < self._store.low_water_mark(instance.topic)

    def _is_concluded(self, instance: InstanceId) -> bool:
        """Whether it is decided here, durably or nearly so, or not kept any more."""
        return (
            self._aftermath.is_recent(instance)
            or instance in self._conclusions
            or self._is_below_mark(instance)
            or (instance not in self._open and self._store.get(instance) is not None)
        )

    # --- a node without its votes (W7) ------------------------------------------------------------

    def hear_hello(
        self, peer: int, store_id: bytes, acknowledged: int, remembered: Message | None, now_ms: int
    ) -> None:
        """Take what a peer says when a stream begins: what it has, and what it remembers of us."""
        self._now_ms = now_ms
        sender = self._peers[peer]
        if sender.store_id != store_id:
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
                self._quarantined.add(instance)
                self._voice.record(QuarantineRecord(instance, "votes here may be lost"))
        for instance in recovered.instances():
            if instance not in self._quarantined and not self._is_concluded(instance):
                self._resume(
                    instance,
                    recovered.votes.get(instance, ()),
                    recovered.proposals.get(instance, ()),
                )
        self._held.miss_all()

    # --- validity ---------------------------------------------------------------------------------

    def _start_checks(self, opened: OpenInstance) -> None:
        """Have the application check the values that wait for it (DESIGN, validity)."""
        if self._application is None:
            return
        for digest, leader in opened.checks.start(self._takes_check):
            proposal = opened.proposals[digest]
            self._work.append(partial(self._check, self._application, opened, proposal, leader))

    def _takes_check(self, leader: int) -> bool:
        """Take a place among the running checks of one leader's values, if one is free."""
        if self._checking[leader] >= self._limits.checks_per_proposer_max:
            return False
        self._checking[leader] += 1
        return True

    async def _check(
        self, application: Application, opened: OpenInstance, proposal: Proposal, leader: int
    ) -> None:
        valid: bool | None = None
        try:
            async with asyncio.timeout(self._limits.check_value_ms / 1000):
                valid = await application.check_value(proposal.instance, proposal.value, leader)
        except Exception:  # noqa: BLE001 - whatever an application raises is "no answer"
            self._reject("application_gave_no_answer", leader)
        finally:
            self._checking[leader] -= 1
        if valid is False:
            self._reject("invalid_value", leader)
        if self._open.get(opened.instance) is opened:
            self._now_ms = now_ms()
            opened.conclude_check(proposal.digest, self._now_ms, valid=valid)
            self._touch(opened)

    # --- opening ----------------------------------------------------------------------------------

    def _is_authorised(self, proposal: Proposal) -> bool:
        policy = self._policies(proposal.instance.topic)
        if not policy.proposers:
            return True
        return proposal.proposer in policy.proposers and self._authenticator.is_proposed(proposal)

    def _may_open(self, peer: int) -> bool:
        """Whether the peer has places left; own clients and other peers have theirs."""
        return self._peers[peer].opened < self._open_per_peer_max

    def _make(self, instance: InstanceId) -> OpenInstance:
        opened = OpenInstance(
            instance,
            self._definition,
            self._validator,
            self._timers(),
            limits=self._limits,
            accounts=self._accounts,
        )
        opened.checks.enabled = self._application is not None
        self._open[instance] = opened
        return opened

    def _open_instance(
        self, instance: InstanceId, opener: int, proposal: Proposal | None = None
    ) -> OpenInstance:
        """Open: start the engine, adopt the proposal, and take the votes that were held for it."""
        opened = self._make(instance)
        self._openers[instance] = opener
        if opener == self._validator:
            self._opened_by_own += 1
        else:
            self._peers[opener].opened += 1
        opened.start(self._now_ms)
        if proposal is not None:
            self._learn(opened, opener, proposal)
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
                opened.take_held(sender, vote, self._now_ms)
                self._asking.for_value_of(opened, sender, vote, self._now_ms)
            else:
                later.setdefault(sender, []).append(vote)
        for sender, votes in later.items():
            self._intake.put_off(sender, Load.of_votes(votes), self._held_parts(sender, votes))

    def _held_parts(self, sender: int, votes: Sequence[Message]) -> Iterator[int]:
        for vote in votes:
            self._deliver(sender, vote, again=sender != vote.source)
            yield 1 + len(vote.justification)

    def _waste(self, reason: str, peer: int, work: int) -> None:
        """Count a refusal, and hold the work that it cost against its sender."""
        self._reject(reason, peer)
        self._intake.note_waste(peer, work, self._now_ms)

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
        )
        due = (
            self._deadlines.next_ms,
            self._aftermath.next_due_ms,
            self._next_tick_ms if ticks else None,
            self._intake.resumes_ms,
        )
        return min((ms for ms in due if ms is not None), default=None)

    def run_due(self, now_ms: int) -> None:
        """Go on with what was left over; then timers, always, and the tick of re-sending."""
        self._now_ms = now_ms
        self._intake.go_on(now_ms)
        for opened in self._deadlines.run_out(now_ms, self._limits.turn_timers_max):
            opened.expire(now_ms)
            self._touch(opened)
            self._asking.for_progress(opened)
            self._relay.begin(opened)
        self._aftermath.run_due(now_ms)
        if now_ms >= self._next_tick_ms:
            self._next_tick_ms = now_ms + self._limits.resend_ms
            self._tick(now_ms)

    def _tick(self, now_ms: int) -> None:
        """Send again what was not acknowledged, and ask again for what did not come."""
        before_ms = now_ms - self._limits.resend_ms
        for peer in self._peers.values():
            self._resender.resend(
                peer, cast_before_ms=before_ms, last_sequence=self._voice.last_sequence
            )
        self._asking.tick(now_ms, self._may_open)
        self._relay.tick()
        self._lost_votes.tick()
        self._catch_up.tick(now_ms)

    # --- the end of a turn ------------------------------------------------------------------------

    def end_turn(self, now_ms: int) -> Turn:
        """Sign the turn's votes together; give its records, then its frames (HARDENING W1)."""
        spoken = [opened for opened in self._touched.values() if self._voice.collect(opened)]
        for opened in self._touched.values():
            if opened.failure is not None:
                self._quarantine(opened, opened.failure)
            elif opened.decide is not None:
                self._conclude(opened, opened.decide)
            else:
                self._deadlines.arm(opened)
                self._start_checks(opened)
                self._asking.note(opened)
        self._touched.clear()
        for settling in self._conclusions.settling.values():
            self._voice.record(DecisionRecord(settling.decision))
        records, frames = self._voice.speak()
        for opened in spoken:
            if opened.instance in self._open:
                self._resender.update(opened)
        turn = Turn(records, [(None, frame) for frame in frames], self._work)
        turn.frames.extend(self._outbox.seal())
        self._work = []
        self._intake.end_turn()
        return turn

    def _quarantine(self, opened: OpenInstance, reason: str) -> None:
        """Never vote again in an instance whose engine met a bug (DESIGN, errors)."""
        self._voice.record(QuarantineRecord(opened.instance, reason))
        self._quarantined.add(opened.instance)
        self._reject("instance_quarantined", self._validator)
        self._close(opened)

    def _conclude(self, opened: OpenInstance, decide: Decide) -> None:
        """Retire an engine that has decided; the decision is complete when its bytes are here."""
        instance = opened.instance
        certificate = canonical_certificate(instance, decide.round, decide.value, decide.commits)
        proposal = opened.proposals.get(as_digest(decide.value))
        silent: frozenset[int] = frozenset()
        if instance not in self._learnt:
            silent = frozenset(self._peers.keys() - opened.committers(decide.round, decide.value))
        self._close(opened)
        self._conclusions.add(certificate, proposal, silent=silent)
        if proposal is None:
            signers = [commit.source for commit in certificate.commits]
            self._asking.for_value_in_turn(instance, as_digest(decide.value), signers, self._now_ms)

    def _close(self, opened: OpenInstance) -> None:
        instance = opened.instance
        opened.close()
        self._open.pop(instance, None)
        self._asking.forget(instance)
        self._relay.forget(instance)
        self._learnt.discard(instance)
        self._resender.forget(instance)
        opener = self._openers.pop(instance, None)
        if opener == self._validator:
            self._opened_by_own -= 1
        elif opener is not None:
            self._peers[opener].opened -= 1

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
        decided = [as_instance(entry.decision.instance) for entry in settling]
        self._catch_up.decided(decided, now_ms)


def _done(decision: Decision) -> asyncio.Future[Decision]:
    future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    future.set_result(decision)
    return future
