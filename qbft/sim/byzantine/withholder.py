"""Byzantine gaps: COMMITs or values that some never get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.sim.byzantine.behaviour import COMMIT, Behaviour, Hands
from qbft.transport import Frame


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
