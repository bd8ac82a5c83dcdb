"""Byzantine validators, one class for each way to lie.

They stand at the network, outside the engine: each runs a shipped replica, whose frames it bends on
their way out, and says things of its own. It holds its own key and what it has received, nothing
else; what it sends passes the gate of the wire as any frame does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import ClassVar, TypeVar

from qbft.core import InstanceId, Message, MessageType, max_faulty, quorum
from qbft.core.messages import ROUND_MAX, Leader, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal, value_digest
from qbft.crypto.signing import BatchHeader
from qbft.sim.authenticator import SimAuthenticator
from qbft.timers import TimerPolicy
from qbft.transport import FeedPage, Frame

PP, PREPARE, COMMIT, RC = (
    MessageType.PRE_PREPARE,
    MessageType.PREPARE,
    MessageType.COMMIT,
    MessageType.ROUND_CHANGE,
)
HEARD_MAX = 400
"""Votes that a liar remembers."""

INVALID = b"invalid"
"""Values that begin so are refused by the simulated application."""

T = TypeVar("T")


class Hands:
    """What a Byzantine validator can do: sign with its own key, send, and know who leads."""

    def __init__(
        self,
        validator: int,
        nodes: int,
        *,
        random: Random,
        leader: Leader,
        timers: TimerPolicy,
        send: Callable[[int, Frame], None],
        propose: Callable[[Proposal], None],
    ) -> None:
        self.validator = validator
        self.nodes = nodes
        self.quorum = quorum(nodes)
        self.faulty = max_faulty(nodes)
        self.random = random
        self.leader = leader
        self.timers = timers
        self.send = send
        self.propose = propose
        """Tells the oracle that a member proposed this value."""
        self.peers = [v for v in range(nodes) if v != validator]
        self._authenticator = SimAuthenticator(validator, nodes)
        self._sequence = 1_000_000

    def vote(
        self,
        type_: MessageType,
        instance: InstanceId,
        round_: int,
        value: object = None,
        *,
        prepared: tuple[int, object] = (0, None),
        justification: tuple[Message, ...] = (),
    ) -> Message:
        """Make and sign a vote of one's own."""
        vote = Message(
            type_, instance, self.validator, round_, value, *prepared, justification, Proof()
        )
        self._sequence += 1
        self._authenticator.sign([vote], b"\xff" * 16, self._sequence)
        return vote

    def say(self, to: int, *votes: Message, proposals: tuple[Proposal, ...] = ()) -> None:
        """Send votes: one's own under one signature, those of others as relayed."""
        own = tuple(vote for vote in votes if vote.source == self.validator)
        others = tuple(vote for vote in votes if vote.source != self.validator)
        header = BatchHeader(b"\xff" * 16, 1, b"") if own else None
        self.send(to, Frame(votes=own, batch=header, relayed=others, proposals=proposals))

    def some_peers(self) -> list[int]:
        """Pick some of the others, at least one."""
        chosen = [peer for peer in self.peers if self.random.random() < 0.5]
        return chosen or [self.random.choice(self.peers)]


class Behaviour:
    """How a Byzantine validator differs from a correct one; this one does not."""

    acts_every_ms: ClassVar[int] = 0
    """How often it says something of its own; 0: never."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.heard: list[Message] = []
        self.proposals: dict[InstanceId, dict[bytes, Proposal]] = {}

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Bend a frame of its replica's on its way to a peer; gives (delay in ms, frame)."""
        yield 0, frame

    def hear(self, peer: int, frame: Frame) -> None:
        """Remember what arrives."""
        for vote in (*frame.votes, *frame.relayed):
            self.heard.append(vote)
            self.heard.extend(vote.justification)
        if len(self.heard) > HEARD_MAX:
            del self.heard[: len(self.heard) - HEARD_MAX]
        for proposal in frame.proposals:
            self.proposals.setdefault(proposal.instance, {})[proposal.digest] = proposal

    def act(self) -> None:
        """Say something of its own."""

    def other_value(self, instance: InstanceId, *, but: object = None) -> Proposal:
        """Give a value for an instance: one that was heard, else one of its own making."""
        known = [p for p in self.proposals.get(instance, {}).values() if p.digest != but]
        if known and self.hands.random.random() < 0.7:
            return self.hands.random.choice(known)
        made = Proposal(instance, f"lie of {self.hands.validator} for {instance}".encode())
        self.hands.propose(made)
        self.proposals.setdefault(instance, {})[made.digest] = made
        return made

    def pick(self, *types: MessageType) -> Message | None:
        """Pick one of the votes heard."""
        fitting = [vote for vote in self.heard if vote.type in types]
        return self.hands.random.choice(fitting) if fitting else None


def _instance(vote: Message) -> InstanceId:
    assert isinstance(vote.instance, InstanceId)  # noqa: S101 - for the type checker
    return vote.instance


class Silent(Behaviour):
    """It says nothing at all."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Keep it."""
        yield from ()


class EquivocatingLeader(Behaviour):
    """It proposes another value to some peers than to the others, and votes for both (B1 to B4)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._deceived = set(hands.some_peers())
        self._both_to_all = hands.random.random() < 0.3
        self._swapped: dict[tuple[InstanceId, object], Proposal] = {}

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Replace its values for those whom it deceives; sometimes send both to all."""
        if self._both_to_all:
            frames = [(0, frame), (self.hands.random.randint(0, 20), self._bent(frame))]
            yield from frames if to not in self._deceived else reversed(frames)
        else:
            yield 0, self._bent(frame) if to in self._deceived else frame

    def _bent(self, frame: Frame) -> Frame:
        extra: dict[bytes, Proposal] = {}
        votes = tuple(self._swap(vote, extra) for vote in frame.votes)
        relayed = tuple(
            self._swap(vote, extra) if vote.source == self.hands.validator else vote
            for vote in frame.relayed
        )
        return replace(
            frame,
            votes=votes,
            relayed=relayed,
            proposals=(*frame.proposals, *extra.values()),
        )

    def _swap(self, vote: Message, extra: dict[bytes, Proposal]) -> Message:
        instance = _instance(vote)
        leads = self.hands.leader(instance, vote.round) == self.hands.validator
        if vote.value is None or not leads:
            return vote
        key = (instance, vote.value)
        if key not in self._swapped:
            self._swapped[key] = self.other_value(instance, but=vote.value)
        other = self._swapped[key]
        extra[other.digest] = other
        return self.hands.vote(
            vote.type, instance, vote.round, other.digest, justification=vote.justification
        )


class SplitVoter(Behaviour):
    """It votes for every value it hears of, for each to some peers, or for all to all (C1)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._answered: set[tuple[object, int, object]] = set()

    def hear(self, peer: int, frame: Frame) -> None:
        """Vote for it at once."""
        super().hear(peer, frame)
        for vote in (*frame.votes, *frame.relayed):
            if vote.type in {PP, PREPARE} and vote.value is not None:
                self._answer(vote)

    def _answer(self, vote: Message) -> None:
        key = (vote.instance, vote.round, vote.value)
        if key in self._answered:
            return
        self._answered.add(key)
        instance, hands = _instance(vote), self.hands
        for peer in hands.some_peers() if hands.random.random() < 0.7 else hands.peers:
            votes = [hands.vote(PREPARE, instance, vote.round, vote.value)]
            if hands.random.random() < 0.7:
                votes.append(hands.vote(COMMIT, instance, vote.round, vote.value))
            hands.say(peer, *votes)


class JustificationForger(Behaviour):
    """It claims what it cannot prove: prepared rounds, free values, decisions (B7 to B11, C6)."""

    acts_every_ms = 60

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._leads = hands.random.random() < 0.5

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Keep what it leads with, so that a forged prepared round may be the highest."""
        if not self._leads:
            votes = tuple(vote for vote in frame.votes if vote.type is not PP)
            relayed = tuple(vote for vote in frame.relayed if vote.type is not PP)
            frame = replace(frame, votes=votes, relayed=relayed)
        yield 0, frame

    def act(self) -> None:
        """Forge one thing and send it to some."""
        forge = self.hands.random.choice(
            (
                self._round_change,
                self._pre_prepare,
                self._certificate,
                self._impostor,
                self._stripped,
                self._feed,
            )
        )
        forge()

    def _round_change(self) -> None:
        """A prepared round with too few, mixed or foreign PREPAREs, or with none."""
        model = self.pick(PREPARE, COMMIT, RC, PP)
        if model is None:
            return
        hands, random = self.hands, self.hands.random
        instance = _instance(model)
        round_ = model.round + random.randint(1, 2)
        prepared = random.randint(max(1, model.round - 1), round_)
        other = self.other_value(instance, but=model.value)
        value = other.digest if random.random() < 0.6 else model.value
        prepares = self._prepares(instance, prepared, value, random.random() < 0.6)
        if random.random() < 0.2:
            prepares = ()
        vote = hands.vote(RC, instance, round_, prepared=(prepared, value), justification=prepares)
        self._tell(vote, other)

    def _prepares(
        self,
        instance: InstanceId,
        round_: int,
        value: object,
        any_value: bool,
    ) -> tuple[Message, ...]:
        """PREPAREs that were heard, and its own; some have another round or value."""
        found: dict[int, Message] = {}
        for vote in self.heard:
            fits = vote.round == round_ and vote.value == value
            if vote.type is PREPARE and vote.instance == instance and (fits or any_value):
                found[vote.source] = vote.stripped()
        own = self.hands.vote(PREPARE, instance, round_, value or b"\1" * 32)
        found[self.hands.validator] = own
        if any_value and self.hands.random.random() < 0.7:  # copies under others' names
            found = {victim: replace(own, source=victim) for victim in self.hands.peers}
            found[self.hands.validator] = own
        return tuple(found[source] for source in sorted(found))

    def _pre_prepare(self) -> None:
        """Its own value in a later round, with the ROUND-CHANGEs that suit it."""
        model = self.pick(RC)
        if model is None:
            return
        hands, random = self.hands, self.hands.random
        instance = _instance(model)
        changes: dict[int, Message] = {}
        for vote in self.heard:
            if vote.type is RC and vote.instance == instance and vote.round == model.round:
                known = changes.get(vote.source)
                if known is None or vote.prepared_round < known.prepared_round:
                    changes[vote.source] = vote.stripped()
        changes[hands.validator] = hands.vote(RC, instance, model.round)
        if random.random() < 0.5:
            free = {s: v for s, v in changes.items() if not v.prepared_round}
            changes = free or changes
        value = self.other_value(instance)
        prepares: tuple[Message, ...] = ()
        if random.random() < 0.5:
            prepares = self._prepares(
                instance, max(1, model.round - 1), value.digest, random.random() < 0.5
            )
        round_ = model.round + (random.random() < 0.2)
        justification = (*(changes[s] for s in sorted(changes)), *prepares)
        vote = hands.vote(PP, instance, round_, value.digest, justification=justification)
        self._tell(vote, value)

    def _certificate(self) -> None:
        """A certificate of too few, of mixed or of another's COMMITs."""
        model = self.pick(COMMIT)
        if model is None:
            return
        instance = _instance(model)
        commits = {
            vote.source: vote
            for vote in self.heard
            if vote.type is COMMIT and vote.instance == instance
        }
        value = self.other_value(instance)
        commits[self.hands.validator] = self.hands.vote(COMMIT, instance, model.round, value.digest)
        if self.hands.random.random() < 0.5:
            for peer in self.hands.peers:
                own = commits[self.hands.validator]
                commits.setdefault(peer, replace(own, source=peer))
        certificate = Certificate(
            instance, model.round, value.digest, tuple(commits[s] for s in sorted(commits))
        )
        for peer in self.hands.some_peers():
            self.hands.send(peer, Frame(certificates=(certificate,), proposals=(value,)))

    def _impostor(self) -> None:
        """A whole round of votes for its own value, under everybody's names."""
        model = self.pick(PP, PREPARE)
        if model is None:
            return
        instance = _instance(model)
        value = self.other_value(instance, but=model.value)
        for type_ in (PREPARE, COMMIT):
            own = self.hands.vote(type_, instance, model.round, value.digest)
            forged = [replace(own, source=victim) for victim in self.hands.peers]
            for peer in self.hands.some_peers():
                self.hands.say(peer, own, *forged, proposals=(value,))

    def _stripped(self) -> None:
        """Another's vote without its justification, or with that of another vote (C21)."""
        vote, other = self.pick(PP, RC), self.pick(PP, RC)
        if vote is None or other is None:
            return
        justification = () if self.hands.random.random() < 0.5 else other.justification
        self._tell(replace(vote, justification=justification))

    def _feed(self) -> None:
        """A page of decisions that it does not have."""
        named = tuple(sorted({_instance(vote) for vote in self.heard}))
        position = self.hands.random.randint(0, 1_000)
        for peer in self.hands.some_peers():
            page = FeedPage(position, position + self.hands.random.randint(0, 1_000), named)
            self.hands.send(peer, Frame(feed_page=page))

    def _tell(self, vote: Message, *proposals: Proposal) -> None:
        for peer in self.hands.some_peers():
            self.hands.say(peer, vote, proposals=tuple(proposals))


class Replayer(Behaviour):
    """It sends old votes again, also as votes of another instance or round (C13, C14)."""

    acts_every_ms = 40

    def act(self) -> None:
        """Send some again."""
        random = self.hands.random
        for _ in range(random.randint(1, 6)):
            vote = self.pick(PP, PREPARE, COMMIT, RC)
            if vote is None:
                return
            if random.random() < 0.3:
                other = self.pick(PP, PREPARE, COMMIT, RC)
                assert other is not None  # noqa: S101 - there is one
                vote = replace(vote, instance=other.instance)
            elif random.random() < 0.3:
                vote = replace(vote, round=vote.round + 1)
            for peer in self.hands.some_peers():
                for _ in range(random.choice((1, 1, 3, 20))):
                    self.hands.say(peer, vote)


class RoundSpammer(Behaviour):
    """It wants other rounds all the time, near ones and the last one there is (C18)."""

    acts_every_ms = 50

    def act(self) -> None:
        """Want some."""
        random = self.hands.random
        model = self.pick(PP, PREPARE, COMMIT, RC)
        if model is None:
            return
        step = random.choice((1, 1, 2, 3, 5, 40, ROUND_MAX))
        round_ = min(ROUND_MAX, model.round + step)
        vote = self.hands.vote(RC, _instance(model), round_)
        for peer in self.hands.some_peers():
            self.hands.say(peer, vote)


class Withholder(Behaviour):
    """It keeps its COMMITs, or the bytes of values, from some peers (B15, M11)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._deprived = set(hands.some_peers())
        self._keeps_commits = hands.random.random() < 0.6
        self._keeps_values = not self._keeps_commits or hands.random.random() < 0.4

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Leave them out."""
        if to in self._deprived:
            if self._keeps_commits:
                frame = replace(
                    frame,
                    votes=tuple(v for v in frame.votes if v.type is not COMMIT),
                    relayed=tuple(v for v in frame.relayed if v.type is not COMMIT),
                    certificates=(),
                )
            if self._keeps_values:
                frame = replace(frame, proposals=())
        yield 0, frame


class Delayer(Behaviour):
    """It sends what it leads with at 90 % of the round's timer, and other things late too (B13)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._delays_all = hands.random.random() < 0.3

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Hold it back."""
        rounds = [v.round for v in frame.votes if self._delays_all or v.type is PP]
        if not rounds:
            yield 0, frame
            return
        yield self.hands.timers().deadline_ms(rounds[0], 0) * 9 // 10, frame


class PhantomOpener(Behaviour):
    """It opens instances that nobody asked for (C17)."""

    acts_every_ms = 80
    _phantoms_max: ClassVar[int] = 12

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._opened = 0

    def act(self) -> None:
        """Open one, in one of the ways there are."""
        random, hands = self.hands.random, self.hands
        self._opened += self._opened < self._phantoms_max
        height = random.randint(1, self._opened)
        instance = InstanceId(f"phantom/{hands.validator}", height)
        if random.random() < 0.5:
            made = Proposal(instance, f"phantom {instance} {random.randint(0, 2)}".encode())
            hands.propose(made)
            for peer in hands.some_peers():
                hands.send(peer, Frame(proposals=(made,)))
            return
        digest = value_digest(b"a value that nobody has")
        votes = [
            hands.vote(RC, instance, random.randint(2, 4)),
            hands.vote(COMMIT, instance, 1, digest),
            hands.vote(PP, instance, 1, digest),
        ]
        for peer in hands.some_peers():
            hands.say(peer, random.choice(votes))


class InvalidProposer(Behaviour):
    """It leads with values that the application refuses (B14)."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Replace what it proposes, also where it is sent again."""
        extra: dict[bytes, Proposal] = {}
        votes = tuple(self._bend(vote, extra) for vote in frame.votes)
        relayed = tuple(self._bend(vote, extra) for vote in frame.relayed)
        proposals = (*frame.proposals, *extra.values())
        yield 0, replace(frame, votes=votes, relayed=relayed, proposals=proposals)

    def _bend(self, vote: Message, extra: dict[bytes, Proposal]) -> Message:
        if vote.type is not PP or vote.source != self.hands.validator:
            return vote
        instance = _instance(vote)
        proposal = Proposal(instance, INVALID + f" {instance}".encode())
        self.hands.propose(proposal)
        extra[proposal.digest] = proposal
        return self.hands.vote(
            PP, instance, vote.round, proposal.digest, justification=vote.justification
        )


TWINS = "Twins"
"""The general case: one key, two correct replicas that know nothing of each other (C23). They need
no class; the world lets two nodes stand for one validator."""

BEHAVIOURS: dict[str, type[Behaviour]] = {
    kind.__name__: kind
    for kind in (
        Silent,
        EquivocatingLeader,
        SplitVoter,
        JustificationForger,
        Replayer,
        RoundSpammer,
        Withholder,
        Delayer,
        PhantomOpener,
        InvalidProposer,
    )
}
"""By name, as `qbft.sim.plan.Liar` names them."""
