"""What arrives: frames, part by part, and where each part of them goes (HARDENING U7).

Certificates come first, so that what they decide opens nothing; then values, then votes; then what
is asked for is answered. Each part yields its cost in checks of one signature, and the intake says
when enough was done in a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from qbft.core import InstanceId, Leader, Message, MessageType, Value
from qbft.crypto.certificate import Certificate, canonical_certificate
from qbft.crypto.proposal import Proposal
from qbft.replica.aftermath import Aftermath
from qbft.replica.answers import Answers
from qbft.replica.asking import Asking
from qbft.replica.authenticator import Authenticator
from qbft.replica.bounds import Bites, Bound
from qbft.replica.catch_up import CatchUp
from qbft.replica.conclusions import Conclusions, check_same
from qbft.replica.held import HeldVotes
from qbft.replica.intake import (
    DROPPED_VOTE_WORK,
    FEED_IDS_PER_WORK,
    KNOWN_VOTES_PER_WORK,
    KNOWN_WORK,
    OPENING_WORK,
    REFUSED_ASKS_PER_WORK,
    SECTION_VOTES_PER_WORK,
    SECTION_WORK_PER_PART,
    VALUE_BYTES_PER_WORK,
    Intake,
    Load,
)
from qbft.replica.let_go import LetGo
from qbft.replica.limits import ReplicaLimits
from qbft.replica.lost_votes import LostVotes
from qbft.replica.misconduct import Misconduct
from qbft.replica.narrow import as_digest, as_instance
from qbft.replica.observer import Observer
from qbft.replica.open_instance import OpenInstance
from qbft.replica.openings import Asked, Openings, Way
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore, Standing
from qbft.replica.resend import Resender
from qbft.replica.tally import Tally
from qbft.replica.topics import Topics
from qbft.replica.voice import Voice
from qbft.replica.witness import Witness
from qbft.transport import Frame

NOTHING = Frame()
"""What no correct node sends."""


class Opens(Protocol):
    """Opens an instance, on account of a validator, with what it alone asked for, if it did."""

    def __call__(
        self, instance: InstanceId, opener: int, asked: Asked | None = None
    ) -> OpenInstance:
        """Open it."""
        ...


@dataclass(frozen=True, slots=True)
class Instances:
    """What may be done to a replica's instances, and asked about them."""

    open_instance: Opens
    learn: Callable[[OpenInstance, int, Proposal], None]
    """Have an open instance take a value's bytes from a sender."""
    touch: Callable[[OpenInstance], None]
    """See to an open instance at the end of the turn."""
    is_authorised: Callable[[Proposal], bool]
    authorising_work: Callable[[Proposal], int]
    """What it costs to find out, beyond the cost of any proposal, in checks of one signature."""
    is_below_mark: Callable[[InstanceId], bool]
    is_kept_out: Callable[[InstanceId], bool]
    is_concluded: Callable[[InstanceId], bool]


@dataclass(kw_only=True, slots=True, eq=False)
class Arrivals:
    """Hands what peers send to the parts of a replica, verified, or counts why not.

    `clock` gives the time of this turn, `opens` are the open instances.
    """

    validator: int
    faulty: int
    leader: Leader
    peers: Mapping[int, Peer]
    opens: Mapping[InstanceId, OpenInstance]
    openings: Openings
    instances: Instances
    authenticator: Authenticator
    store: DecisionStore
    topics: Topics
    intake: Intake
    held: HeldVotes
    conclusions: Conclusions
    aftermath: Aftermath
    asking: Asking
    answers: Answers
    catch_up: CatchUp
    let_go: LetGo
    lost_votes: LostVotes
    misconduct: Misconduct
    resender: Resender
    voice: Voice
    witness: Witness
    limits: ReplicaLimits
    clock: Callable[[], int]
    reject: Callable[[str, int], None]
    observer: Observer | None
    bites: Bites
    tally: Tally

    def parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Take a frame part by part; yields the cost of each, in checks of one signature."""
        if frame.memory is not None:
            return self._memory_parts(sender, frame)
        return self._nothing(sender) if frame == NOTHING else self._parts(sender, frame)

    def _memory_parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Take a page of what a peer remembers; one that nobody has asked for is a waste."""
        peer = sender.index
        self.tally.receive(peer, frame)
        if not self.lost_votes.is_asking(peer):
            self._waste("nothing_asked", peer, Load.of_frame(frame).work)
        yield from self.lost_votes.take_memory(peer, frame)

    def _nothing(self, sender: Peer) -> Iterator[int]:
        """Read what says nothing: a little each, but there may be any number of them."""
        self._waste("nothing_said", sender.index, KNOWN_WORK)
        yield KNOWN_WORK

    def _parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Take all but the rarest, part by part."""
        peer = sender.index
        self.tally.receive(peer, frame)
        if frame.acknowledged:
            last_sequence = self.voice.last_sequence
            self.resender.acknowledge(sender, frame.acknowledged, self.clock(), last_sequence)
        stale = 0
        for certificate in frame.certificates:
            cost = self._take_certificate(peer, certificate)
            stale += KNOWN_VOTES_PER_WORK * (cost == KNOWN_WORK)
            yield cost
        voted = _voted_in(frame) if frame.proposals else {}
        for proposal in frame.proposals:
            way = self._way(peer, proposal.instance, voted.get(proposal.instance))
            yield self.take_proposal(peer, Asked(proposal, way))
        for certificate in frame.certificates:
            self._want_decided_value(peer, certificate)
        if frame.votes:
            yield from self._take_own_section(peer, frame)
        for vote in frame.relayed:
            cost = self._take_relayed(peer, vote)
            stale += cost == KNOWN_WORK
            yield cost
        if stale >= KNOWN_VOTES_PER_WORK:
            self.intake.note_waste(peer, stale // KNOWN_VOTES_PER_WORK, self.clock())
        if (
            frame.covers
            or frame.wanted_values
            or frame.wanted_decisions
            or frame.feed_request is not None
            or frame.feed_page is not None
            or frame.memory_wanted is not None
            or frame.marks
        ):
            yield from self._other_parts(sender, frame)

    def _other_parts(self, sender: Peer, frame: Frame) -> Iterator[int]:
        """Take what a frame promises, what it asks for, and what it answers; most have nothing."""
        peer = sender.index
        if frame.covers:
            self.resender.take_promise(sender, frame)
        if frame.wanted_values or frame.wanted_decisions:
            refused = yield from self.answers.answer(sender, frame, self.clock())
            if refused >= REFUSED_ASKS_PER_WORK:
                self.intake.note_waste(peer, refused // REFUSED_ASKS_PER_WORK, self.clock())
        if frame.memory_wanted is not None:
            lost = self.lost_votes.standing is Standing.LOST
            yield self.witness.tell(sender, frame.memory_wanted, self.clock(), lost=lost)
        if frame.feed_request is not None:
            yield self.catch_up.answer(sender, frame.feed_request, self.clock())
        if frame.feed_page is not None:
            if not self.catch_up.take_page(peer, frame.feed_page, self.clock()):
                self.reject("bad_feed_page", peer)
            yield 1 + len(frame.feed_page.instances) // FEED_IDS_PER_WORK
        if frame.marks:
            for mark in frame.marks:
                self.let_go.take(sender, mark)
            yield 1 + len(frame.marks) // FEED_IDS_PER_WORK

    def held_parts(self, sender: int, votes: Sequence[Message]) -> Iterator[int]:
        """Take votes that were held for an instance until now; likewise."""
        for vote in votes:
            self._deliver(sender, vote, again=sender != vote.source)
            yield 1 + len(vote.justification)

    # --- votes ------------------------------------------------------------------------------------

    def _take_own_section(self, peer: int, frame: Frame) -> Iterator[int]:
        """Take the votes that a peer signed in one turn; the late among them cost nothing."""
        votes = frame.votes
        if self._are_late(peer, votes):
            self._put_aside(peer, votes, "late")
            yield 1 + len(votes) // SECTION_VOTES_PER_WORK
            return
        genuine = self.authenticator.has_signed(peer, votes, frame.batch)
        cost = 1 + len(votes) // SECTION_VOTES_PER_WORK
        yield cost
        if not genuine:
            self._waste("bad_section_signature", peer, cost)
            self._put_aside(peer, votes, "bad_section_signature")
            return
        self.peers[peer].last_vote = votes[-1]
        work = 0
        for vote in votes:
            if vote.justification and not self.authenticator.is_justification_genuine(vote):
                self._waste("bad_justification_signature", peer, 1 + len(vote.justification))
                self._put_aside(peer, (vote,), "bad_justification_signature")
            else:
                self._deliver(peer, vote, again=False)
            work += 1 + len(vote.justification)
            if work >= SECTION_WORK_PER_PART:
                yield work
                work = 0
        yield work

    def _are_late(self, peer: int, votes: Sequence[Message]) -> bool:
        """Whether all are the peer's own, and late."""
        for vote in votes:
            if vote.source != peer or not self.aftermath.is_late(peer, vote):
                return False
        return True

    def _take_relayed(self, peer: int, vote: Message) -> int:
        """Take a vote by its portable signature, unless it, or what it is about, is known already.

        What brings nothing new is not verified: nobody acts on it, but that its sender is told of a
        decision that it seems not to know.
        """
        instance = as_instance(vote.instance)
        cost = 2 + len(vote.justification)
        if vote.source == self.validator:
            return self._take_own_back(peer, vote)
        opened = self.opens.get(instance)
        if opened is not None:
            if opened.has_taken_again(peer, vote):
                return KNOWN_WORK
        elif self.aftermath.is_recent(instance) or (
            instance not in self.held and self.instances.is_concluded(instance)
        ):
            self.aftermath.hear(peer, vote, self.clock())
            return KNOWN_WORK
        if self.authenticator.is_genuine(vote):
            self._deliver(peer, vote, again=True)
        else:
            self._waste("bad_vote_signature", peer, cost)
            self._put_aside(peer, (vote,), "bad_vote_signature")
        return cost

    def _take_own_back(self, peer: int, vote: Message) -> int:
        """Meet an own vote again; one that was never cast here means a lost journal (W7).

        Of the votes in rounds that were left only the number is known (docs/adr/012).
        """
        instance = as_instance(vote.instance)
        opened = self.opens.get(instance)
        if opened is not None:
            is_old = opened.has_left(vote.round) and not self.lost_votes.is_news(vote)
            known = is_old or opened.has_cast(vote)
        else:
            known = self.instances.is_kept_out(instance) or self.instances.is_concluded(instance)
        if known:
            return KNOWN_WORK
        cost = 2 + len(vote.justification)
        if self.authenticator.is_genuine(vote):
            self.lost_votes.meet(peer, vote)
        else:
            self._waste("bad_vote_signature", peer, cost)
        return cost

    def _deliver(self, peer: int, vote: Message, *, again: bool) -> None:
        """Hand a verified vote to its engine, or answer it, or hold it."""
        instance = as_instance(vote.instance)
        opened = self.opens.get(instance)
        if opened is not None:
            self.misconduct.look(opened.first_votes, vote)
            (opened.take_again if again else opened.take)(peer, vote, self.clock())
            self.instances.touch(opened)
            if vote.type is MessageType.PRE_PREPARE or vote.type is MessageType.ROUND_CHANGE:
                self.asking.for_value_of(opened, peer, vote, self.clock())
        elif instance in self.conclusions:
            self._put_aside(peer, (vote,), "late")
        elif self.instances.is_below_mark(instance):
            self.held.forget(instance)
            self._put_aside(peer, (vote,), "below_mark")
        elif self.instances.is_kept_out(instance) or self.let_go.has(instance):
            self._put_aside(peer, (vote,), "kept_out")
            if vote.type is MessageType.COMMIT:
                self._hold(peer, instance, vote)
        elif instance not in self.held and self.instances.is_concluded(instance):
            self._put_aside(peer, (vote,), "late")
            self.aftermath.hear(peer, vote, self.clock())
        else:
            self._put_aside(peer, (vote,), "held")
            self._hold(peer, instance, vote)

    def _hold(self, peer: int, instance: InstanceId, vote: Message) -> None:
        """Hold a vote, and see whether it opens its instance.

        What makes way for it has come to nothing: a peer that floods with votes for instances that
        nobody opens pays for those that it pushes out.
        """
        dropped = self.held.add(peer, instance, vote)
        if dropped:
            self.intake.note_waste(peer, DROPPED_VOTE_WORK * dropped, self.clock())
        self._open_by_vote(peer, instance, vote)

    def _open_by_vote(self, peer: int, instance: InstanceId, vote: Message) -> None:
        """Open an instance that enough validators are in, or take the decision they prove."""
        if vote.type is MessageType.COMMIT:
            commits = self.held.commit_quorum(instance, vote.round, vote.value)
            if commits:
                certificate = canonical_certificate(instance, vote.round, vote.value, commits)
                self._take_bare(certificate, peer)
                self._want_decided_value(peer, certificate)
        elif self.lost_votes.why_not is not None:
            return
        elif vote.type is MessageType.PRE_PREPARE and isinstance(vote.value, bytes):
            if self.openings.awaits(peer, instance, vote.value):
                return
            if self._has_topic_room(peer, instance):
                self.asking.for_value(instance, vote.value, peer, self.clock())
        elif self.held.round_change_sources(instance) > self.faulty:
            if self.openings.has_place_together():
                self.instances.open_instance(instance, peer)
            else:
                self.reject("open_budget", peer)

    # --- proposals --------------------------------------------------------------------------------

    def take_proposal(self, peer: int, asked: Asked) -> int:
        """Take a forward, or the bytes of a value that is being voted on; gives what it cost."""
        proposal = asked.proposal
        instance = proposal.instance
        cost = 2 + len(proposal.value) // VALUE_BYTES_PER_WORK
        if self.conclusions.complete(proposal):
            return cost
        opened = self.opens.get(instance)
        if opened is None:
            if (
                self.instances.is_kept_out(instance)
                or self.instances.is_below_mark(instance)
                or self.let_go.has(instance)
                or (instance not in self.held and self.instances.is_concluded(instance))
                or self.openings.awaits(peer, instance, proposal.digest)
            ):
                return cost
        elif proposal.digest in opened.proposals:
            return cost
        elif opened.decide is not None and opened.decide.value == proposal.digest:
            opened.proposals[proposal.digest] = proposal  # the certificate vouches for these bytes
            return cost
        cost += self.instances.authorising_work(proposal)
        if not self.instances.is_authorised(proposal):
            self._waste("unauthorised_proposal", peer, cost)
        elif opened is not None:
            self.instances.learn(opened, peer, proposal)
        else:
            cost += self._open_by_proposal(peer, asked)
        return cost

    def _way(self, peer: int, instance: InstanceId, is_proposed: bool | None) -> Way:
        """How a proposal of a peer has come.

        `is_proposed`: with its own PRE-PREPARE of the first round; None: without any vote.
        """
        if self.leader(instance, 1) == peer and (
            is_proposed or self.held.has_pre_prepare(peer, instance)
        ):
            return Way.LEAD
        return Way.FORWARD if is_proposed is None else Way.BESIDE

    def _open_by_proposal(self, peer: int, asked: Asked) -> int:
        """Open what an authorised proposal is for, or let it wait; gives what opening cost."""
        instance = asked.proposal.instance
        if self.lost_votes.why_not is not None:
            self.held.miss(peer, instance)
        elif not self._has_topic_room(peer, instance):
            pass  # and not missed: asked for again it would be refused again
        elif self.openings.admits(peer, asked, self.clock()):
            self.instances.open_instance(instance, peer, asked)
            return OPENING_WORK
        elif not self.openings.wait(peer, asked):
            self.held.miss(peer, instance)
            self.reject("open_budget", peer)
            if asked.way is not Way.BESIDE:  # that may be others' doing
                size = len(asked.proposal.value)
                work = 1 + size // VALUE_BYTES_PER_WORK
                self.intake.note_waste(peer, work, self.clock())
        return 0

    def _has_topic_room(self, peer: int, instance: InstanceId) -> bool:
        """Whether a peer alone may have this opened, as far as its topic goes; counted if not.

        F+1 ROUND-CHANGEs open it all the same: an honest node has let it in.
        """
        if self.topics.has_room_for_peers(instance.topic):
            return True
        self.bites.note(Bound.TOPICS_MAX, peer)
        self.reject("topic_budget", peer)
        return False

    # --- certificates -----------------------------------------------------------------------------

    def _take_certificate(self, peer: int, certificate: Certificate) -> int:
        """Believe a certificate, and nothing else, about a decision (HARDENING U4).

        Raises:
            InvariantViolation: another value was decided here (W4).
        """
        instance = certificate.instance
        if not isinstance(instance, InstanceId):
            self.reject("bad_certificate", peer)
            return KNOWN_WORK
        if self.instances.is_below_mark(instance):
            return KNOWN_WORK
        known = self._decided_in(instance, is_open=instance in self.opens)
        if known is not None and known == certificate.value:
            return KNOWN_WORK
        cost = 1 + len(certificate.commits)
        if not self.authenticator.proves(certificate):
            self._waste("bad_certificate", peer, cost)
            return cost
        self.lost_votes.meet_in_certificate(peer, certificate)
        if known is not None:
            check_same(instance, known, certificate)
        opened = self.opens.get(instance)
        if opened is None:
            self._take_bare(certificate, peer)
            return cost
        for commit in certificate.commits:
            self.misconduct.look(opened.first_votes, commit)
        opened.take_decided(certificate.round, certificate.value, certificate.commits, self.clock())
        opened.is_learnt = True
        self.instances.touch(opened)
        return cost

    def _decided_in(self, instance: InstanceId, *, is_open: bool) -> Value | None:
        """What is known to be decided, without reading it."""
        concluded = self.conclusions.known(instance)
        if concluded is not None:
            return concluded.value
        return None if is_open else self.store.digest(instance)

    def _take_bare(self, certificate: Certificate, peer: int) -> None:
        """Keep a decision whose bytes are not here yet."""
        instance = as_instance(certificate.instance)
        if not self.conclusions.add(certificate, None, payer=peer):
            self.reject("certificate_budget", peer)
            return
        self.tally.learn(certificate.round)
        self.held.forget(instance)
        for _, proposal in self.openings.release(instance):
            self.conclusions.complete(proposal)

    def _want_decided_value(self, peer: int, certificate: Certificate) -> None:
        """Ask for the bytes of a decision, unless they came with its certificate."""
        instance = certificate.instance
        if isinstance(instance, InstanceId) and instance in self.conclusions.bare:
            known = self.conclusions.bare[instance].certificate
            self.asking.for_value(instance, as_digest(known.value), peer, self.clock())

    # --- what comes to nothing --------------------------------------------------------------------

    def _waste(self, reason: str, peer: int, work: int) -> None:
        """Count a refusal, and hold the work that it cost against its sender."""
        self.reject(reason, peer)
        self.intake.note_waste(peer, work, self.clock())

    def _put_aside(self, peer: int, votes: Iterable[Message], why: str) -> None:
        """Let whoever looks on see votes that reach no engine, or not yet."""
        if self.observer is not None:
            for vote in votes:
                instance = as_instance(vote.instance)
                self.observer.put_aside(instance, peer, vote, why, self.clock())


def _voted_in(frame: Frame) -> dict[object, bool]:
    """The instances of a frame's votes, and whether a PRE-PREPARE of the first round is one."""
    voted: dict[object, bool] = dict.fromkeys((vote.instance for vote in frame.relayed), False)
    for vote in frame.votes:
        is_proposed = vote.type is MessageType.PRE_PREPARE and vote.round == 1
        voted[vote.instance] = is_proposed or voted.get(vote.instance, False)
    return voted
