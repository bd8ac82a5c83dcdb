"""Rounds of new instances last longer where decisions take long (docs/adr/022)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replica_builders import Rig, carry_until_decided, instance, link_all, proposal

from qbft.replica.lateness import DECISIONS, DECISIONS_MIN, FORGOTTEN_MS, Lateness
from qbft.timers import exponential, increasing


def first_round_ms(took_ms: Iterable[int], *, later_ms: int = 0) -> int:
    """How long the first round of an instance lasts that begins after these decisions."""
    lateness = Lateness(exponential(1_000, 60_000))
    for took in took_ms:
        lateness.note(took, 0)
    return lateness.timer(later_ms).deadline_ms(1, later_ms) - later_ms


@pytest.mark.parametrize(
    ("took_ms", "lasts_ms"),
    [(10, 1_000), (500, 1_000), (501, 2_000), (1_000, 2_000), (1_001, 4_000), (60_000, 4_000)],
)
def test_it_lasts_twice_as_long_as_decisions_take(took_ms: int, lasts_ms: int) -> None:
    """In the durations of the policy, and by two rounds at most: what is silent costs that much."""
    assert first_round_ms([took_ms] * DECISIONS) == lasts_ms


def test_of_few_decisions_nothing_is_concluded() -> None:
    """One that waited for a partition to heal says nothing about the next."""
    assert first_round_ms([9_000] * (DECISIONS_MIN - 1)) == 1_000


@given(st.lists(st.integers(0, 500), min_size=17, max_size=17), st.permutations(range(33)))
def test_fewer_than_half_say_nothing(quick: list[int], order: list[int]) -> None:
    """F of n leaders, silent or slow on purpose, do not make the others' rounds longer."""
    took = [*quick, *[60_000] * 16]
    assert first_round_ms(took[each] for each in order) == 1_000


def test_what_is_long_ago_does_not_count() -> None:
    """After a minute without decisions an instance begins as the first did."""
    slow = [3_000] * DECISIONS
    assert first_round_ms(slow, later_ms=FORGOTTEN_MS) == 4_000
    assert first_round_ms(slow, later_ms=FORGOTTEN_MS + 1) == 1_000


def test_rounds_go_on_from_there_to_the_cap() -> None:
    """Liveness asks for rounds that outlast any delay (HARDENING D15): none is shorter for it."""
    for policy in (exponential(1_000, 60_000), increasing(60_000)):
        lateness = Lateness(policy)
        for _ in range(DECISIONS):
            lateness.note(5_000, 0)
        late, usual = lateness.timer(0), policy()
        for round_ in range(1, 300):
            assert late.deadline_ms(round_, 0) == policy().deadline_ms(round_ + 2, 0)
            assert late.deadline_ms(round_, 0) >= usual.deadline_ms(round_, 0)
        assert late.deadline_ms(10**6, 0) == 60_000


def test_a_replica_learns_it_from_its_decisions() -> None:
    """Where a frame takes 100 ms the first instances have a second for it, the later ones two."""
    rigs = [Rig(index) for index in range(4)]
    link_all(rigs)
    lasts = [first_round_of(rigs, height) for height in range(DECISIONS_MIN + 1)]
    assert lasts == [1_000] * DECISIONS_MIN + [2_000]


def first_round_of(rigs: list[Rig], height: int) -> int:
    """How long the first round of an instance may last, which is then decided."""
    for rig in rigs:
        rig.receive((rig.index + 1) % 4, proposals=(proposal(b"v", height),))
    deadlines = {rig.replica._open[instance(height)].deadline_ms for rig in rigs}
    (deadline_ms,) = deadlines
    assert deadline_ms is not None
    begun = rigs[0].now
    carry_until_decided(rigs, instance(height), step_ms=100)
    return deadline_ms - begun
