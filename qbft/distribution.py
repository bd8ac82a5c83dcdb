"""How some numbers are distributed, in plain integers: what a histogram is read from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Distribution:
    """How many of the numbers fell between which bounds, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        """Upper ends, ascending, each included."""
        self.counts = [0] * (len(bounds) + 1)
        """Between each end and the one before; the last slot is above all of them."""
        self.sum = 0.0

    def add(self, number: float) -> None:
        """Count a number."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.sum += number
