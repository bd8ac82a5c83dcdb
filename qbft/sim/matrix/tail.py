"""The tail, which the matrix hides by ending at 12 s: the same runs, ten times as long.

For some of the timers, and for one that is not in the matrix: its first round lasts 2 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, nan
from statistics import median

from qbft.sim.matrix.cells import Batch, Figures, batches, figures, number_or_none
from qbft.sim.matrix.running import Outcome
from qbft.sim.matrix.settings import LONG_FIRST_ROUND, PROFILES, SIZES, Profile, Setting, Size

TAIL_END_MS = 120_000
"""When a run that has not decided is given up: twice the highest cap of a node's timer."""

TAIL_TIMERS = ("inc", "exp_1000_eager", LONG_FIRST_ROUND, "edouble_1000_eager")


@dataclass(frozen=True, slots=True)
class TailRow:
    """What the runs of all sizes came to with one timer; seconds are NaN where none decided."""

    profile: str
    is_all_up: bool
    timer: str
    figures: Figures
    median_s: float
    most_s: float
    """Within which 99 % of the runs that decided had done so."""
    slowest_s: float

    @property
    def up(self) -> str:
        """Who is up, in words."""
        return "all" if self.is_all_up else "a quorum"

    def as_record(self) -> dict[str, object]:
        """As plain data for JSON: numbers that are none are null."""
        return {
            "profile": self.profile,
            "up": self.up,
            "timer": self.timer,
            **self.figures.as_record(),
            "median_s": number_or_none(self.median_s),
            "within_99_s": number_or_none(self.most_s),
            "slowest_s": number_or_none(self.slowest_s),
        }


def tail_batches(iterations: int, seed: int) -> Iterator[Batch]:
    """All work of so many runs of each setting."""
    settings = (Setting(size, profile, timer) for profile, _, timer, size in _order())
    return batches(iterations, seed, settings=settings, end_ms=TAIL_END_MS)


def tail_rows(done: Iterable[tuple[Batch, list[Outcome | None]]]) -> tuple[TailRow, ...]:
    """The rows of the table, from all batches in any order."""
    pooled: dict[tuple[str, bool, str], list[Outcome | None]] = {
        (profile.name, is_all_up, timer): [] for profile, is_all_up, timer, _ in _order()
    }
    for batch, outcomes in done:
        of = batch.setting
        pooled[of.profile.name, of.size.draws_down == 0, of.timer].extend(outcomes)
    return tuple(_row(*key, outcomes) for key, outcomes in pooled.items())


def _order() -> Iterator[tuple[Profile, bool, str, Size]]:
    for profile in PROFILES:
        for is_all_up in (True, False):
            for timer in TAIL_TIMERS:
                for size in SIZES:
                    if (size.draws_down == 0) == is_all_up:
                        yield profile, is_all_up, timer, size


def _row(
    profile: str,
    is_all_up: bool,
    timer: str,
    outcomes: list[Outcome | None],
) -> TailRow:
    seconds = sorted(outcome.at_ms / 1000 for outcome in outcomes if outcome is not None)
    middle, most, slowest = nan, nan, nan
    if seconds:
        middle, slowest = median(seconds), seconds[-1]
        most = seconds[ceil(0.99 * len(seconds)) - 1]
    return TailRow(profile, is_all_up, timer, figures(outcomes), middle, most, slowest)
