"""The replica: many engines, one journal, one voice.

A sans-I/O machine: frames, proposals and the time go in, a turn's records and frames come out
(`qbft.replica.turn`). It decides all that a node may say; the driver and the server only connect it
to a clock, sockets and disks, and the simulator to their pretended kin.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from qbft.core import Decide, Definition, InstanceId, Message, MessageType, OwnVote
from qbft.crypto.certificate import Certificate, canonical_certificate
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import Busy, InvariantViolation, QbftError
from qbft.replica.aftermath import Aftermath
from qbft.replica.authenticator import Authenticator
from qbft.replica.catch_up import CatchUp
from qbft.replica.conclusions import Conclusions, as_seen_by
from qbft.replica.driver import now_ms
from qbft.replica.held import HeldVotes
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_digest, as_instance, bytes_of, sequence_of
from qbft.replica.open_instance import CastVote, OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.replica.policy import Policies, open_to_all
from qbft.replica.protocols import (
    Application,
    DecisionRecord,
    DecisionStore,
    Journal,
    ProposalRecord,
    QuarantineRecord,
    VoteRecord,
)
from qbft.replica.resend import resend
from qbft.replica.turn import Turn
from qbft.replica.voice import Voice
from qbft.timers import TimerPolicy
from qbft.transport import Frame

Reject = Callable[[str, int], None]
"""Counts a refusal: its reason, and the peer whose frame it was in."""


def _count_nothing(reason: str, peer: int) -> None:
    """Count nothing: the default."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What a replica says of itself; `peers_heard` is when each peer's last frame came."""

    open_instances: int
    held_votes: int
    voting: bool
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
        self._limits = limits or ReplicaLimits()
        self._reject = reject
        self._peers = {
            index: Peer(index, self._limits)
            for index in range(definition.nodes)
            if index != validator
        }
        self._outbox = Outbox()
        self._aftermath = Aftermath(self._peers, self._limits, self._outbox)
        self._catch_up = CatchUp(self._peers, store, self._limits, self._outbox)
        self._conclusions = Conclusions()
        self._voice = Voice(authenticator, journal, self._limits)
        self._held = HeldVotes(definition.quorum, self._limits)
        self._open: dict[InstanceId, OpenInstance] = {}
        self._openers: dict[InstanceId, int] = {}
        self._quarantined: set[InstanceId] = set()
        self._touched: dict[InstanceId, OpenInstance] = {}
        self._deadlines: list[tuple[int, InstanceId]] = []
        self._work: list[Coroutine[Any, Any, None]] = []
        self._heard: dict[int, int] = {}
        self._next_tick_ms = 0
        self._voting = True

    # --- what the node asks -----------------------------------------------------------------------

    def recover(self, now_ms: int) -> None:
        """Resume every undecided instance from the journal; once, before the driver runs (W5)."""
        votes: dict[InstanceId, list[CastVote]] = {}
        proposals: dict[InstanceId, list[ProposalRecord]] = {}
        for record in self._journal.recover():
            match record:
                case VoteRecord(vote, prepares):
                    cast = CastVote(OwnVote(vote, prepares), now_ms, sequence_of(vote))
                    votes.setdefault(as_instance(vote.instance), []).append(cast)
                case ProposalRecord(proposal):
                    proposals.setdefault(proposal.instance, []).append(record)
                case QuarantineRecord(instance):
                    self._quarantined.add(instance)
                case DecisionRecord():
                    pass
        for instance in sorted(votes.keys() | proposals.keys()):
            if self._store.get(instance) is not None or instance in self._quarantined:
                continue
            opened = self._make(instance)
            given = None
            for record in proposals.get(instance, ()):
                opened.proposals[record.proposal.digest] = record.proposal
                opened.journaled.add(record.proposal.digest)
                if record.is_input:
                    given = record.proposal
            opened.resume(votes.get(instance, ()), given, now_ms)
            self._touch(opened)

    def propose(self, proposal: Proposal, now_ms: int) -> asyncio.Future[Decision]:
        """Take a proposal of an own client; the future gives the decision, whosever value it is.

        Raises:
            Busy: too many instances are open.
            ProposalConflict: own clients proposed another value for it before (SCENARIOS G4).
            QbftError: the topic's policy does not let this proposer propose.
        """
        instance = proposal.instance
        decided = self._store.get(instance)
        if decided is not None:
            return _done(as_seen_by(decided, proposal.digest))
        if instance in self._quarantined:
            raise QbftError(f"instance {instance} is quarantined after an internal error")
        if not self._is_authorised(proposal):
            raise QbftError(f"the proposer may not propose for topic {instance.topic}")
        concluding = self._is_concluding(instance)
        opened = self._open.get(instance)
        if opened is None and not concluding and len(self._open) >= self._limits.open_instances_max:
            raise Busy("too many undecided instances are open", self._limits.resend_ms)
        future = self._conclusions.wait(proposal)
        if concluding:
            return future
        if opened is None:
            opened = self._open_instance(instance, self._validator, now_ms)
        opened.learn(proposal, now_ms)
        if opened.input is None:
            self._give_input(opened, proposal, now_ms)
            if self._definition.leader(instance, 1) != self._validator:
                self._voice.forward(proposal)
        self._touch(opened)
        return future

    def is_open(self, instance: InstanceId) -> bool:
        """Whether the instance is undecided here and known."""
        return instance in self._open or self._is_concluding(instance)

    def _is_concluding(self, instance: InstanceId) -> bool:
        """Whether it is decided here, but not durably and with its bytes yet."""
        return instance in self._conclusions.bare or instance in self._conclusions.settling

    def status(self) -> ReplicaStatus:
        """Give what a node reports of its replica."""
        return ReplicaStatus(len(self._open), len(self._held), self._voting, dict(self._heard))

    def stop_voting(self) -> None:
        """Say from now on that this node does not vote: its journal is gone (SCENARIOS K23)."""
        self._voting = False

    # --- what arrives -----------------------------------------------------------------------------

    def receive(self, peer: int, frame: Frame, now_ms: int) -> None:
        """Take a frame: certificates first, so that what they decide opens nothing."""
        sender = self._peers.get(peer)
        if sender is None:
            return
        self._heard[peer] = now_ms
        if frame.acknowledged:
            sender.acknowledged = min(frame.acknowledged, self._voice.next_sequence - 1)
        for certificate in frame.certificates:
            self._take_certificate(peer, certificate, now_ms)
        for proposal in frame.proposals:
            self._take_proposal(peer, proposal, now_ms)
        if frame.votes:
            self._take_own_section(peer, frame, now_ms)
        for vote in frame.relayed:
            self._take_relayed(peer, vote, now_ms)
        if frame.covers:
            self._outbox.to(peer).acknowledged = frame.covers
        self._answer(peer, frame)
        if frame.feed_page is not None:
            self._catch_up.take_page(peer, frame.feed_page, now_ms)

    def link_up(self, peer: int, now_ms: int) -> None:
        """Begin anew with a peer that may have missed anything: votes, decisions, its feed."""
        sender = self._peers[peer]
        sender.acknowledged = 0
        self._resend(sender, now_ms)
        self._want_open(sender)
        self._catch_up.begin(peer)

    def _take_own_section(self, peer: int, frame: Frame, now_ms: int) -> None:
        if not self._authenticator.has_signed(peer, frame.votes, frame.batch):
            self._reject("bad_section_signature", peer)
            return
        for vote in frame.votes:
            if vote.justification and not self._authenticator.is_justification_genuine(vote):
                self._reject("bad_justification_signature", peer)
                continue
            self._deliver(peer, vote, now_ms, again=False)

    def _take_relayed(self, peer: int, vote: Message, now_ms: int) -> None:
        if vote.source == self._validator:
            return
        if not self._authenticator.is_genuine(vote):
            self._reject("bad_vote_signature", peer)
            return
        self._deliver(peer, vote, now_ms, again=True)

    def _deliver(self, peer: int, vote: Message, now_ms: int, *, again: bool) -> None:
        """Hand a verified vote to its engine, or answer it, or hold it."""
        instance = as_instance(vote.instance)
        opened = self._open.get(instance)
        if opened is not None:
            (opened.take_again if again else opened.take)(vote, now_ms)
            self._touch(opened)
            self._want_values(opened, peer, vote)
            self._start_checks(opened)
            return
        decision = self._store.get(instance)
        if decision is not None:
            self._aftermath.hear(peer, vote, decision, now_ms)
        elif not self._is_concluding(instance) and instance not in self._quarantined:
            self._held.add(peer, instance, vote)
            self._open_by_vote(peer, instance, vote, now_ms)

    def _open_by_vote(self, peer: int, instance: InstanceId, vote: Message, now_ms: int) -> None:
        """Open an instance that enough validators are in, or take the decision they prove."""
        commits = self._held.commit_quorum(instance)
        if commits:
            self._take_bare(
                canonical_certificate(instance, commits[0].round, commits[0].value, commits), peer
            )
        elif vote.type is MessageType.PRE_PREPARE and isinstance(vote.value, bytes):
            self._outbox.to(peer).wanted_values.append((instance, vote.value))
        elif self._held.round_change_sources(instance) > self._definition.faulty and self._may_open(
            peer
        ):
            self._open_instance(instance, peer, now_ms)

    def _take_proposal(self, peer: int, proposal: Proposal, now_ms: int) -> None:
        """Take a forward, or the bytes of a value that is being voted on."""
        instance = proposal.instance
        bare = self._conclusions.bare.get(instance)
        if bare is not None and bare.value == proposal.digest:
            self._conclusions.complete(bare, proposal)
            return
        opened = self._open.get(instance)
        if opened is not None and proposal.digest in opened.proposals:
            return
        if opened is None and (
            self._store.get(instance) is not None
            or self._is_concluding(instance)
            or instance in self._quarantined
        ):
            return
        if not self._is_authorised(proposal):
            self._reject("unauthorised_proposal", peer)
            return
        if opened is None:
            if not self._may_open(peer):
                self._reject("open_budget", peer)
                return
            opened = self._open_instance(instance, peer, now_ms, proposal)
        else:
            self._learn(opened, proposal, now_ms)
            self._start_checks(opened)
        self._touch(opened)

    def _start_checks(self, opened: OpenInstance) -> None:
        """Have the application check the values that wait for it (DESIGN, validity)."""
        if self._application is None:
            return
        for digest, proposer in opened.checks.drain_wanted():
            self._work.append(
                self._check(self._application, opened, opened.proposals[digest], proposer)
            )

    async def _check(
        self, application: Application, opened: OpenInstance, proposal: Proposal, proposer: int
    ) -> None:
        valid: bool | None = None
        try:
            async with asyncio.timeout(self._limits.check_value_ms / 1000):
                valid = await application.check_value(proposal.instance, proposal.value, proposer)
        except Exception:  # noqa: BLE001 - whatever an application raises is "no answer"
            self._reject("application_gave_no_answer", proposer)
        if valid is False:
            self._reject("invalid_value", proposer)
        if opened.instance in self._open:
            opened.conclude_check(proposal.digest, now_ms(), valid=valid)
            self._touch(opened)

    def _learn(self, opened: OpenInstance, proposal: Proposal, now_ms: int) -> None:
        opened.learn(proposal, now_ms)
        if opened.input is None and self._policies(proposal.instance.topic).adopts:
            self._give_input(opened, proposal, now_ms)

    def _give_input(self, opened: OpenInstance, proposal: Proposal, now_ms: int) -> None:
        """Give an engine its input, and journal it with this turn (G4 after a restart)."""
        opened.give_input(proposal, now_ms)
        opened.journaled.add(proposal.digest)
        self._voice.record(ProposalRecord(proposal, is_input=True))

    def _take_certificate(self, peer: int, certificate: Certificate, now_ms: int) -> None:
        """Believe a certificate, and nothing else, about a decision (HARDENING U4)."""
        instance = certificate.instance
        if not isinstance(instance, InstanceId) or self._is_concluding(instance):
            return
        known = self._store.get(instance)
        if known is not None:
            return
        if not self._authenticator.proves(certificate):
            self._reject("bad_certificate", peer)
            return
        opened = self._open.get(instance)
        if opened is not None:
            opened.take_decided(certificate.round, certificate.value, certificate.commits, now_ms)
            self._touch(opened)
        else:
            self._take_bare(certificate, peer)

    def _take_bare(self, certificate: Certificate, peer: int) -> None:
        """Keep a decision whose bytes are not here yet, and ask for them."""
        instance = as_instance(certificate.instance)
        self._held.forget(instance)
        if len(self._conclusions.bare) >= self._limits.open_instances_max:
            return
        self._conclusions.bare[instance] = certificate
        self._outbox.to(peer).wanted_values.append((instance, as_digest(certificate.value)))

    def _answer(self, peer: int, frame: Frame) -> None:
        """Answer what a peer asks for: values, decisions, a page of the feed."""
        for instance, digest in frame.wanted_values[: self._limits.wanted_per_frame_max]:
            proposal = self._find_value(instance, digest)
            if proposal is not None:
                self._outbox.enclose(peer, proposal)
        for instance in frame.wanted_decisions[: self._limits.wanted_per_frame_max]:
            decision = self._store.get(instance)
            if decision is not None:
                self._outbox.to(peer).certificates.append(decision.certificate)
                self._outbox.enclose(peer, Proposal(instance, bytes_of(decision)))
            elif instance in self._open:
                opened = self._open[instance]
                for cast in opened.current_votes():
                    if cast.sequence:
                        self._outbox.to(peer).relayed.append(cast.own.vote)
        if frame.feed_request is not None:
            self._catch_up.answer(peer, frame.feed_request)

    def _find_value(self, instance: InstanceId, digest: bytes) -> Proposal | None:
        opened = self._open.get(instance)
        if opened is not None:
            return opened.proposals.get(digest)
        decision = self._store.get(instance)
        if decision is not None and decision.certificate.value == digest:
            return Proposal(instance, bytes_of(decision))
        return None

    def _want_values(self, opened: OpenInstance, peer: int, vote: Message) -> None:
        """Ask for bytes that a vote waits for: its sender, and whoever PREPAREd the value."""
        if not opened.awaited:
            return
        for digest in opened.awaited:
            if digest in (vote.value, vote.prepared_value):
                askable = {peer} | {nested.source for nested in vote.justification}
                for index in sorted(askable & self._peers.keys()):
                    self._outbox.to(index).wanted_values.append((opened.instance, digest))

    # --- opening ----------------------------------------------------------------------------------

    def _is_authorised(self, proposal: Proposal) -> bool:
        policy = self._policies(proposal.instance.topic)
        if not policy.proposers:
            return True
        return proposal.proposer in policy.proposers and self._authenticator.is_proposed(proposal)

    def _may_open(self, peer: int) -> bool:
        return (
            len(self._open) < self._limits.open_instances_max
            and self._peers[peer].opened < self._limits.open_instances_per_peer_max
        )

    def _make(self, instance: InstanceId) -> OpenInstance:
        opened = OpenInstance(
            instance, self._definition, self._validator, self._timers(), self._limits
        )
        opened.checks.enabled = self._application is not None
        self._open[instance] = opened
        return opened

    def _open_instance(
        self,
        instance: InstanceId,
        opener: int,
        now_ms: int,
        proposal: Proposal | None = None,
    ) -> OpenInstance:
        """Open: start the engine, adopt the proposal, and take the votes that were held for it."""
        opened = self._make(instance)
        self._openers[instance] = opener
        if opener in self._peers:
            self._peers[opener].opened += 1
        opened.start(now_ms)
        if proposal is not None:
            self._learn(opened, proposal, now_ms)
        for sender, vote in self._held.release(instance):
            opened.take(vote, now_ms)
            self._want_values(opened, sender, vote)
        self._start_checks(opened)
        for peer in sorted(self._held.dropped):
            self._outbox.to(peer).wanted_decisions.append(instance)
        self._touch(opened)
        return opened

    def _touch(self, opened: OpenInstance) -> None:
        self._touched[opened.instance] = opened

    # --- time -------------------------------------------------------------------------------------

    @property
    def next_due_ms(self) -> int | None:
        """When a round timer, a late certificate or the tick of re-sending is due."""
        due = [self._deadlines[0][0]] if self._deadlines else []
        late = self._aftermath.next_due_ms
        if late is not None:
            due.append(late)
        if self._open or self._conclusions.bare or self._catch_up.is_behind():
            due.append(self._next_tick_ms)
        return min(due, default=None)

    def run_due(self, now_ms: int) -> None:
        """Let round timers expire, tell silent peers, send again what was not acknowledged."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            due_ms, instance = heapq.heappop(self._deadlines)
            opened = self._open.get(instance)
            if opened is not None and opened.deadline_ms == due_ms:
                opened.expire(now_ms)
                self._touch(opened)
        self._aftermath.run_due(now_ms)
        if now_ms >= self._next_tick_ms:
            self._next_tick_ms = now_ms + self._limits.resend_ms
            self._tick(now_ms)

    def _tick(self, now_ms: int) -> None:
        for peer in self._peers.values():
            self._resend(peer, now_ms - self._limits.resend_ms)
        for opened in self._open.values():
            self._start_checks(opened)
            for digest, waiting in opened.awaited.items():
                askable = set(waiting).union(
                    nested.source
                    for messages in waiting.values()
                    for message in messages
                    for nested in message.justification
                )
                self._want_value(opened.instance, digest, askable)
        for instance, certificate in self._conclusions.bare.items():
            self._want_value(instance, certificate.value, {c.source for c in certificate.commits})
        self._catch_up.tick(now_ms)

    def _want_value(self, instance: InstanceId, digest: object, askable: Iterable[int]) -> None:
        for index in sorted(set(askable) & self._peers.keys()):
            letter = self._outbox.to(index)
            if isinstance(digest, bytes) and (
                len(letter.wanted_values) < self._limits.wanted_per_frame_max
            ):
                letter.wanted_values.append((instance, digest))

    def _resend(self, peer: Peer, cast_before_ms: int) -> None:
        resend(
            peer,
            self._open.values(),
            cast_before_ms=cast_before_ms,
            last_sequence=self._voice.next_sequence - 1,
            limits=self._limits,
            outbox=self._outbox,
        )

    def _want_open(self, peer: Peer) -> None:
        """Ask a peer how the open instances stand: it may have decided them meanwhile (K19)."""
        for instance in self._open:
            letter = self._outbox.to(peer.index)
            if len(letter.wanted_decisions) >= self._limits.wanted_per_frame_max:
                break
            letter.wanted_decisions.append(instance)

    # --- the end of a turn ------------------------------------------------------------------------

    def end_turn(self, now_ms: int) -> Turn:
        """Sign the turn's votes together; give its records, then its frames (HARDENING W1)."""
        for opened in self._touched.values():
            self._voice.collect(opened)
            if opened.failure is not None:
                self._quarantine(opened, opened.failure)
            elif opened.decide is not None:
                self._conclude(opened, opened.decide)
            elif opened.deadline_ms is not None and opened.deadline_ms != opened.armed_ms:
                opened.armed_ms = opened.deadline_ms
                heapq.heappush(self._deadlines, (opened.deadline_ms, opened.instance))
        self._touched.clear()
        for decision in self._conclusions.settling.values():
            self._voice.record(DecisionRecord(decision))
        records, frames = self._voice.speak()
        turn = Turn(records, [(None, frame) for frame in frames], self._work)
        turn.frames.extend(self._outbox.seal())
        self._work = []
        return turn

    def _quarantine(self, opened: OpenInstance, reason: str) -> None:
        """Never vote again in an instance whose engine met a bug (DESIGN, errors)."""
        self._voice.record(QuarantineRecord(opened.instance, reason))
        self._quarantined.add(opened.instance)
        self._reject("instance_quarantined", self._validator)
        self._close(opened)

    def _conclude(self, opened: OpenInstance, decide: Decide) -> None:
        """Retire an engine that has decided; the decision is complete when its bytes are here."""
        certificate = canonical_certificate(
            opened.instance, decide.round, decide.value, decide.commits
        )
        self._close(opened)
        proposal = opened.proposals.get(as_digest(decide.value))
        if proposal is not None:
            self._conclusions.complete(certificate, proposal)
        else:
            self._conclusions.bare[opened.instance] = certificate
            self._want_value(opened.instance, decide.value, {c.source for c in certificate.commits})

    def _close(self, opened: OpenInstance) -> None:
        self._open.pop(opened.instance, None)
        opener = self._openers.pop(opened.instance, self._validator)
        if opener in self._peers:
            self._peers[opener].opened -= 1

    def turn_done(self, now_ms: int) -> None:
        """Publish the decisions that are durable now, and tell whoever waited."""
        settled = self._conclusions.publish()
        if not settled:
            return
        self._store.add(settled)
        for decision in settled:
            self._aftermath.settle(as_instance(decision.instance), decision, now_ms)
        self._catch_up.decided([as_instance(decision.instance) for decision in settled])


def _done(decision: Decision) -> asyncio.Future[Decision]:
    future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    future.set_result(decision)
    return future
