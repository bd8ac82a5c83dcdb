"""What a Byzantine validator can do, and how one behaves that differs in nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import ClassVar

from qbft.core import InstanceId, Message, MessageType, max_faulty, quorum
from qbft.core.messages import Leader, Proof
from qbft.crypto.proposal import Proposal
from qbft.replica.authenticator import Authenticator
from qbft.sim.authenticator import SimAuthenticator
from qbft.timers import TimerPolicy
from qbft.transport import Frame

PP, PREPARE, COMMIT, RC = (
    MessageType.PRE_PREPARE,
    MessageType.PREPARE,
    MessageType.COMMIT,
    MessageType.ROUND_CHANGE,
)
HEARD_MAX = 400
"""Votes that a liar remembers."""

STORE_ID = b"\xff" * 16
"""The journal in which a liar says that the votes of its own making are."""


class Hands:
    """What a Byzantine validator can do: sign with its own key, send, and know who leads.

    With the `authenticator` of a real node its votes pass over a real network too; without one it
    is a simulation's.
    """

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
        authenticator: Authenticator | None = None,
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
        self._authenticator = authenticator or SimAuthenticator(validator, nodes)
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
        self.sealed(Frame(votes=(vote,)))
        return vote

    def sealed(self, frame: Frame) -> Frame:
        """Put one's signature under the frame's own votes, whatever it was made of."""
        if not frame.votes:
            return replace(frame, batch=None)
        self._sequence += 1
        header = self._authenticator.sign(frame.votes, STORE_ID, self._sequence)
        return replace(frame, batch=header)

    def say(self, to: int, *votes: Message, proposals: tuple[Proposal, ...] = ()) -> None:
        """Send votes: one's own under one signature, those of others as relayed."""
        own = tuple(vote for vote in votes if vote.source == self.validator)
        others = tuple(vote for vote in votes if vote.source != self.validator)
        self.send(to, self.sealed(Frame(votes=own, relayed=others, proposals=proposals)))

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


def instance_of(vote: Message) -> InstanceId:
    """Give the instance of a vote of the service."""
    assert isinstance(vote.instance, InstanceId)  # noqa: S101 - for the type checker
    return vote.instance
