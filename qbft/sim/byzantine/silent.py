"""Byzantine silence."""

from __future__ import annotations

from collections.abc import Iterator

from qbft.sim.byzantine.behaviour import Behaviour
from qbft.transport import Frame


class Silent(Behaviour):
    """It says nothing at all."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Keep it."""
        yield from ()
