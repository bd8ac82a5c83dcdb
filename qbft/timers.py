"""Round timers: how long a round may last. Pure: time goes in as a number.

A policy makes one timer for each instance; a timer is asked at every `StartTimer` effect and
answers with a deadline on the same monotonic clock, in whole milliseconds. Growing rounds are what
gives liveness: they outlast any delay in the end (HARDENING D15).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

CAP_MS = 60_000
"""The least a cap may be in a service: rounds must be able to outlast a bad network."""


class RoundTimer(Protocol):
    """One instance's round timer."""

    def deadline_ms(self, round: int, now_ms: int) -> int:  # noqa: A002 - the paper's word
        """When the timer of this round, started or restarted now, expires."""
        ...


@dataclass(frozen=True, slots=True)
class TimerPolicy:
    """Makes a timer per instance: call it.

    `eager` tells that an instance's timer runs before its input is there (MATRIX, section 2).
    """

    name: str
    make: Callable[[], RoundTimer]
    eager: bool = False

    def __call__(self) -> RoundTimer:
        """Make the timer of one instance."""
        return self.make()


Duration = Callable[[int], int]
"""Duration(round) -> milliseconds."""


class Restarting:
    """A new timer at each call: deadline = now + duration(round)."""

    def __init__(self, duration: Duration) -> None:
        self._duration = duration

    def deadline_ms(self, round: int, now_ms: int) -> int:  # noqa: A002 - see RoundTimer
        """Count from now."""
        return now_ms + self._duration(round)


class Keeping:
    """One timer a round: a second call for the same round keeps the first deadline."""

    def __init__(self, duration: Duration) -> None:
        self._duration = duration
        self._round = 0
        self._deadline_ms = 0

    def deadline_ms(self, round: int, now_ms: int) -> int:  # noqa: A002 - see RoundTimer
        """Count from the first call for the round."""
        if round != self._round:
            self._round, self._deadline_ms = round, now_ms + self._duration(round)
        return self._deadline_ms


class Doubling:
    """A second call for a round moves its deadline, once, to the first one + duration(round).

    It gives a round whose PRE-PREPARE came late as much time again; further calls change nothing.
    A round may so last twice its duration, and at the cap twice the cap.
    Deadlines are kept of every round, as the reference does it, up to a bound.
    """

    def __init__(self, duration: Duration) -> None:
        self._duration = duration
        self._first_ms: dict[int, int] = {}

    def deadline_ms(self, round: int, now_ms: int) -> int:  # noqa: A002 - see RoundTimer
        """Count from the first call for the round, twice the duration from the second call on."""
        duration = self._duration(round)
        first = self._first_ms.get(round)
        if first is not None:
            return first + duration
        if len(self._first_ms) >= ROUNDS_KEPT_MAX:
            del self._first_ms[next(iter(self._first_ms))]
        self._first_ms[round] = now_ms + duration
        return now_ms + duration


ROUNDS_KEPT_MAX = 64
"""Rounds whose first deadline a doubling timer remembers."""


def linear_ms(step_ms: int, cap_ms: int = CAP_MS) -> Duration:
    """Round r lasts r * step, at most the cap."""
    return lambda round_: min(cap_ms, round_ * step_ms)


def exponential_ms(base_ms: int, cap_ms: int) -> Duration:
    """Round r lasts base * 2^(r-1), at most the cap; cheap at any round."""
    return lambda round_: min(cap_ms, base_ms << min(round_ - 1, 40))


def increasing(cap_ms: int = CAP_MS) -> TimerPolicy:
    """`inc`: round r lasts 750 + 250 r ms up to the cap; every call starts anew; not eager."""
    return TimerPolicy("inc", lambda: Restarting(lambda round_: min(cap_ms, 750 + 250 * round_)))


def constant(ms: int) -> TimerPolicy:
    """Every round lasts the same; every call starts anew."""
    return TimerPolicy(f"const_{ms}", lambda: Restarting(lambda _: ms))


def restarting_exponential(base_ms: int, cap_ms: int = CAP_MS) -> TimerPolicy:
    """Round r lasts base * 2^(r-1) up to the cap; every call starts anew (MATRIX, table 1)."""
    duration = exponential_ms(base_ms, cap_ms)
    return TimerPolicy(f"rexp_{base_ms}", lambda: Restarting(duration))


def linear(step_ms: int, cap_ms: int = CAP_MS) -> TimerPolicy:
    """Round r lasts r * step up to the cap; a second call for a round keeps the first timer."""
    duration = linear_ms(step_ms, cap_ms)
    return TimerPolicy(f"linear_{step_ms}_eager", lambda: Keeping(duration), eager=True)


def exponential(base_ms: int = 1_000, cap_ms: int = CAP_MS) -> TimerPolicy:
    """Round r lasts base * 2^(r-1) up to the cap; a second call keeps the first timer."""
    duration = exponential_ms(base_ms, cap_ms)
    return TimerPolicy(f"exp_{base_ms}_eager", lambda: Keeping(duration), eager=True)


def doubling_linear(step_ms: int, cap_ms: int = CAP_MS) -> TimerPolicy:
    """As `linear`, but a later call for a round moves its deadline by the duration, once."""
    duration = linear_ms(step_ms, cap_ms)
    return TimerPolicy(f"ldouble_{step_ms}_eager", lambda: Doubling(duration), eager=True)


def doubling_exponential(base_ms: int = 1_000, cap_ms: int = CAP_MS) -> TimerPolicy:
    """As `exponential`, but a later call for a round moves its deadline by the duration, once."""
    duration = exponential_ms(base_ms, cap_ms)
    return TimerPolicy(f"edouble_{base_ms}_eager", lambda: Doubling(duration), eager=True)


POLICIES: dict[str, Callable[[], TimerPolicy]] = {
    "inc": increasing,
    "linear_1000_eager": lambda: linear(1_000),
    "exp_1000_eager": exponential,
    "ldouble_1000_eager": lambda: doubling_linear(1_000),
    "edouble_1000_eager": doubling_exponential,
}
"""The kinds by the names of the strategy matrix (MATRIX, section 2)."""
