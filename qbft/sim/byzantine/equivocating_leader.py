"""Byzantine proposals: one value here, another there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.core import InstanceId, Message
from qbft.crypto.proposal import Proposal
from qbft.sim.byzantine.behaviour import Behaviour, Hands, instance_of
from qbft.transport import Frame


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
        instance = instance_of(vote)
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
