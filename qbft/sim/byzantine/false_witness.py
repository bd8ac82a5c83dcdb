"""Byzantine memory: a node that lost its votes asks, and is told what is not so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.core import InstanceId
from qbft.sim.byzantine.behaviour import Behaviour, Hands
from qbft.transport import Frame

MARK_HEIGHT = 1_000
"""Below which it claims to keep nothing: higher than any instance of a run."""


class FalseWitness(Behaviour):
    """It remembers nobody's votes, or says that it keeps none of these instances (W7, floors)."""

    acts_every_ms = 400

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._forgets = hands.random.random() < 0.7
        self._marks = not self._forgets or hands.random.random() < 0.5
        self._has_lost = hands.random.random() < 0.3
        self._topics: set[str] = set()

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Replace the page for one that asks: nothing open, no vote held, and that is all."""
        page = frame.memory
        if page is None:
            yield 0, frame
            return
        if self._forgets:
            page = replace(page, is_last=True, lost=self._has_lost, feed_end=0)
            frame = replace(frame, memory=page, relayed=(), proposals=(), marks=())
        yield 0, replace(frame, marks=(*frame.marks, *self._false_marks()))

    def hear(self, peer: int, frame: Frame) -> None:
        """Learn which topics there are."""
        super().hear(peer, frame)
        votes = (*frame.votes, *frame.relayed)
        named = [*(vote.instance for vote in votes), *(p.instance for p in frame.proposals)]
        self._topics |= {i.topic for i in named if isinstance(i, InstanceId)}

    def act(self) -> None:
        """Say to some, unasked, that it keeps nothing of all this any more."""
        marks = self._false_marks()
        for peer in self.hands.some_peers() if marks else ():
            self.hands.send(peer, Frame(marks=marks))

    def _false_marks(self) -> tuple[InstanceId, ...]:
        topics = sorted(self._topics) if self._marks else ()
        return tuple(InstanceId(topic, MARK_HEIGHT) for topic in topics)
