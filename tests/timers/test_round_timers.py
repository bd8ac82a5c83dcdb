"""Round timers: the formulas, and what every policy must keep (DESIGN, time; HARDENING D15)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qbft.core.messages import ROUND_MAX
from qbft.timers import (
    CAP_MS,
    POLICIES,
    ROUNDS_KEPT_MAX,
    TimerPolicy,
    constant,
    doubling_exponential,
    doubling_linear,
    exponential,
    increasing,
    linear,
    restarting_exponential,
)

GROWING: dict[str, Callable[[], TimerPolicy]] = {
    **POLICIES,
    "restarting exponential": lambda: restarting_exponential(1_000),
}
EXPONENTIAL = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
LINEAR = [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000]
FORMULAS = {
    "inc": [1_000, 1_250, 1_500, 1_750, 2_000, 2_250, 2_500, 2_750],
    "linear_1000_eager": LINEAR,
    "ldouble_1000_eager": LINEAR,
    "exp_1000_eager": EXPONENTIAL,
    "edouble_1000_eager": EXPONENTIAL,
    "restarting exponential": EXPONENTIAL,
}


def duration_ms(policy: TimerPolicy, round_: int) -> int:
    """How long a round lasts when its timer is started once, at some moment."""
    return policy().deadline_ms(round_, 777) - 777


@pytest.mark.parametrize("name", GROWING)
def test_the_first_rounds_last_as_the_formula_says(name: str) -> None:
    """MATRIX, section 2: the duration of rounds 1 to 8."""
    policy = GROWING[name]()
    assert [duration_ms(policy, round_) for round_ in range(1, 9)] == FORMULAS[name]


@pytest.mark.parametrize("name", GROWING)
def test_rounds_never_shrink_and_reach_a_cap(name: str) -> None:
    """SCENARIOS A21, DESIGN, time: each round at least as long as the one before, up to 60 s."""
    policy = GROWING[name]()
    durations = [duration_ms(policy, round_) for round_ in range(1, 400)]
    assert durations == sorted(durations)
    assert durations[-1] == CAP_MS >= 60_000


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("round_", [15, 60, 64, 2**31 - 2, ROUND_MAX])
def test_no_round_overflows(name: str, round_: int) -> None:
    """SCENARIOS A21, D13: round 60 and the last round of all last a sane time, computed at once."""
    assert 0 < duration_ms(GROWING[name](), round_) <= CAP_MS


@pytest.mark.parametrize("name", GROWING)
def test_a_timer_that_lives_through_many_rounds(name: str) -> None:
    """SCENARIOS A21: one instance's timer, asked twice in each of 2,000 rounds, never goes back."""
    timer = GROWING[name]()()
    now = 0
    for round_ in range(1, 2_000):
        first = timer.deadline_ms(round_, now)
        second = timer.deadline_ms(round_, now + 1)
        assert now < first <= second <= first + CAP_MS
        now = second


@pytest.mark.parametrize("policy", [increasing(), constant(1_000), restarting_exponential(1_000)])
def test_restarting_timers_begin_anew_at_every_call(policy: TimerPolicy) -> None:
    """MATRIX, section 2: `inc` is a new timer at every call, as are those of table 1."""
    timer = policy()
    duration = timer.deadline_ms(1, 0)
    assert timer.deadline_ms(1, 300) == 300 + duration
    assert timer.deadline_ms(1, 900) == 900 + duration


@pytest.mark.parametrize("policy", [linear(1_000), exponential(1_000)])
def test_keeping_timers_keep_the_first_of_a_round(policy: TimerPolicy) -> None:
    """MATRIX, section 2: for `linear` and `exp` a second call keeps the first timer."""
    timer = policy()
    assert [timer.deadline_ms(1, now) for now in (0, 300, 900)] == [1_000] * 3
    assert [timer.deadline_ms(2, now) for now in (1_000, 2_500)] == [3_000] * 2


@pytest.mark.parametrize("policy", [doubling_linear(1_000), doubling_exponential(1_000)])
def test_doubling_timers_move_once(policy: TimerPolicy) -> None:
    """MATRIX, section 2: later calls of a round move it to the first deadline + duration, once.

    The first deadline is kept of every round, so that coming back to one does not begin anew.
    """
    timer = policy()
    assert [timer.deadline_ms(1, now) for now in (0, 300, 900)] == [1_000, 2_000, 2_000]
    assert [timer.deadline_ms(2, now) for now in (2_000, 2_100)] == [4_000, 6_000]
    assert timer.deadline_ms(1, 5_000) == 2_000


def test_instances_do_not_share_a_timer() -> None:
    """DESIGN, instances are independent: a policy makes one timer for each."""
    for make in POLICIES.values():
        policy = make()
        first, second = policy(), policy()
        first.deadline_ms(1, 0)
        assert second.deadline_ms(1, 500) == 500 + duration_ms(policy, 1)


def test_a_doubling_timer_forgets_the_oldest_round() -> None:
    """DESIGN, bounds: what it remembers is bounded."""
    timer = doubling_linear(1_000)()
    for round_ in range(1, ROUNDS_KEPT_MAX + 2):
        timer.deadline_ms(round_, 0)
    assert timer.deadline_ms(1, 500) == 1_500
    assert timer.deadline_ms(ROUNDS_KEPT_MAX, 500) == 2 * min(CAP_MS, ROUNDS_KEPT_MAX * 1_000)


def test_eager_policies_and_names() -> None:
    """MATRIX, section 2: all but `inc` run before the input is there; names are the matrix's."""
    assert {name: make().name for name, make in POLICIES.items()} == {n: n for n in POLICIES}
    assert [name for name, make in POLICIES.items() if not make().eager] == ["inc"]
