"""From times to places: steady where things happen, cut short where nothing does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

FLIGHT_PIXELS = 90.0
"""How far to the right a usual message gets on its way."""

GAP_PIXELS_MAX = 140.0
"""The widest stretch in which nothing happens; a longer one is cut."""

WIDTH_MIN = 640.0
WIDTH_MAX = 9_000.0
"""The narrowest and the widest that all of it may be."""

TICK_PIXELS_MIN = 80.0
CUT_PIXELS = 66.0
"""To either side of a cut's middle, where its own words stand."""

_TICKS_MS = tuple(mantissa * 10**power for power in range(9) for mantissa in (1, 2, 5))


@dataclass(frozen=True, slots=True)
class Scale:
    """Where moments lie: `times` rise strictly, `places` are theirs in pixels."""

    times: tuple[int, ...]
    places: tuple[float, ...]
    per_ms: float
    """Pixels of a millisecond where nothing is cut."""

    def __call__(self, time_ms: float) -> float:
        """The place of a moment; moments outside are as far out as nothing cut would put them."""
        at = min(max(bisect_right(self.times, time_ms), 1), len(self.times)) - 1
        before, place = self.times[at], self.places[at]
        if at + 1 == len(self.times) or time_ms < before:
            return place + (time_ms - before) * self.per_ms
        share = (time_ms - before) / (self.times[at + 1] - before)
        return place + share * (self.places[at + 1] - place)

    @property
    def width(self) -> float:
        """Pixels from the first moment to the last."""
        return self.places[-1]

    def cuts(self) -> Iterator[tuple[float, int]]:
        """The stretches that were cut: the middle of each in pixels, and what it lasts."""
        for left, right, length in self._cut():
            yield (left + right) / 2, length

    def _cut(self) -> Iterator[tuple[float, float, int]]:
        """Where each stretch that was cut begins and ends in pixels, and what it lasts."""
        for (was, left), (time, right) in pairwise(zip(self.times, self.places, strict=True)):
            if (time - was) * self.per_ms > right - left + 1:
                yield left, right, time - was

    def ticks(self) -> Iterator[tuple[float, int]]:
        """Places and times, since the first moment, of the marks on the axis; none in a cut."""
        first, last = self.times[0], self.times[-1]
        step = next((t for t in _TICKS_MS if t * self.per_ms >= TICK_PIXELS_MIN), _TICKS_MS[-1])
        taken = [
            (
                min(left, (left + right) / 2 - CUT_PIXELS),
                max(right, (left + right) / 2 + CUT_PIXELS),
            )
            for left, right, _ in self._cut()
        ]
        free = -TICK_PIXELS_MIN
        for at in range(0, last - first + 1, step):
            place = self(first + at)
            if place - free >= TICK_PIXELS_MIN * 0.6 and not any(
                left < place < right for left, right in taken
            ):
                yield place, at
                free = place


def scale_of(times: Iterable[int], flights_ms: Iterable[int]) -> Scale:
    """A scale for these moments, on which a usual message's flight is easy to follow."""
    moments = sorted(set(times)) or [0]
    usual = [flight for flight in flights_ms if flight > 0]
    per_ms = FLIGHT_PIXELS / median(usual) if usual else 0.2
    places = _places(moments, per_ms)
    if places[-1] > WIDTH_MAX:
        per_ms *= WIDTH_MAX / places[-1]
        places = [place * WIDTH_MAX / places[-1] for place in places]
    elif 0 < places[-1] < WIDTH_MIN:
        per_ms *= WIDTH_MIN / places[-1]
        places = [place * WIDTH_MIN / places[-1] for place in places]
    return Scale(tuple(moments), tuple(places), per_ms)


def _places(moments: list[int], per_ms: float) -> list[float]:
    places = [0.0]
    for before, after in pairwise(moments):
        places.append(places[-1] + min((after - before) * per_ms, GAP_PIXELS_MAX))
    return places
