"""How long decisions take of late, so that rounds do not run out before they can decide (ADR 022).

Where a cluster is given more than it can do, decisions take longer than the first round, and each
round that runs out is more work still. So a new instance begins with the time of a later round, as
if it had been through the ones before. The durations stay those of the policy, and at its cap they
end.
"""

from __future__ import annotations

from collections import deque
from statistics import median_low

from qbft.timers import RoundTimer, TimerPolicy

DECISIONS = 33
"""Of so many newest decisions the middle one counts: fewer than half of them tell nothing, those
that silent or slow leaders hold up among them."""

DECISIONS_MIN = 9
"""With fewer nothing is concluded."""

SKIPPED_MAX = 2
"""Rounds that are skipped at most: a silent leader then costs 4 s where rounds double from 1 s."""

FORGOTTEN_MS = 60_000
"""When nothing has been decided for so long, what was before does not count."""


class _Later:
    """A timer that begins with a later round's time."""

    __slots__ = ("_skipped", "_timer")

    def __init__(self, timer: RoundTimer, skipped: int) -> None:
        self._timer = timer
        self._skipped = skipped

    def deadline_ms(self, round: int, now_ms: int) -> int:  # noqa: A002 - see RoundTimer
        """When that round's timer would expire."""
        return self._timer.deadline_ms(round + self._skipped, now_ms)


class Lateness:
    """Makes the timers of instances, by how long the last decisions took."""

    def __init__(self, timers: TimerPolicy) -> None:
        self._timers = timers
        self._rounds_ms = [timers().deadline_ms(1 + skipped, 0) for skipped in range(SKIPPED_MAX)]
        self._took_ms: deque[int] = deque(maxlen=DECISIONS)
        self._last_ms = 0

    def note(self, took_ms: int, now_ms: int) -> None:
        """An instance was decided here so long after it was opened."""
        self._forget_old(now_ms)
        self._took_ms.append(took_ms)
        self._last_ms = now_ms

    def timer(self, now_ms: int) -> RoundTimer:
        """The timer of an instance that begins now."""
        self._forget_old(now_ms)
        skipped = self._skipped()
        return _Later(self._timers(), skipped) if skipped else self._timers()

    def _skipped(self) -> int:
        """How many rounds are too short for twice as long as decisions take."""
        if len(self._took_ms) < DECISIONS_MIN:
            return 0
        wanted_ms = 2 * median_low(self._took_ms)
        return sum(round_ms < wanted_ms for round_ms in self._rounds_ms)

    def _forget_old(self, now_ms: int) -> None:
        if now_ms - self._last_ms > FORGOTTEN_MS:
            self._took_ms.clear()
