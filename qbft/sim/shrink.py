"""Making a failing run small: fewer faults, inputs and instances, less time, as long as it fails.

The number of nodes stays: with another quorum it would be another run.

What is left is what the failure needs, and is written down as a scenario file that replays it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from qbft.sim.garbage import rare_collections
from qbft.sim.plan import Crash, LateStart, Plan, Weather
from qbft.sim.world import World

T = TypeVar("T")

Fails = Callable[[Plan], bool]
"""Whether a plan still shows the failure."""


def same_failure(plan: Plan) -> Fails:
    """Whether a plan violates the same property as this one: I1, I5, ..."""
    violation, _ = World.play(plan)
    kind = str(violation).partition(":")[0]

    def fails(other: Plan) -> bool:
        found, _ = World.play(other)
        return found is not None and str(found).partition(":")[0] == kind

    return fails


@rare_collections()
def shrunk(plan: Plan, fails: Fails | None = None, runs_max: int = 2_000) -> Plan:
    """Give the smallest plan found that fails as this one does, within so many runs."""
    fails = fails or same_failure(plan)
    left = runs_max
    is_smaller = True
    while is_smaller and left > 0:
        is_smaller = False
        for candidate in _smaller(plan):
            left -= 1
            if left <= 0:
                break
            if fails(candidate):
                plan, is_smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans that are a little less than this one, what takes most away first."""
    for faults in _without_some(plan.faults):
        yield replace(plan, faults=faults)
    for asks in _without_some(plan.asks):
        yield replace(plan, asks=asks)
    if plan.instances > 1:
        kept = tuple(ask for ask in plan.asks if ask.height < plan.instances - 1)
        yield replace(plan, instances=plan.instances - 1, asks=kept)
    yield from _calmer(plan)
    for shorter in (plan.faults_ms // 2, plan.faults_ms * 3 // 4):
        if shorter > 200:
            yield replace(plan, faults_ms=shorter)
    yield from _milder_faults(plan)


def _without_some(things: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """Halves, then quarters, ..., then single ones left out."""
    size = len(things)
    while size:
        for start in range(0, len(things), size):
            yield things[:start] + things[start + size :]
        size //= 2


def _calmer(plan: Plan) -> Iterator[Plan]:
    """Plans with better weather and fewer peculiarities."""
    weather = plan.weather
    for calmer in (
        Weather(),
        replace(weather, loss=0.0),
        replace(weather, duplication=0.0),
        replace(weather, tail=0.0),
    ):
        if calmer != weather:
            yield replace(plan, weather=calmer)
    for plainer in (
        replace(plan, sync_ms_max=0),
        replace(plan, check_ms_max=None),
        replace(plan, small_limits=False),
        replace(plan, adopts=True),
    ):
        if plainer != plan:
            yield plainer


def _milder_faults(plan: Plan) -> Iterator[Plan]:
    """Plans in which one fault is a little less: one node falls instead of all, sooner up."""
    for number, fault in enumerate(plan.faults):
        milder: list[Crash | LateStart] = []
        if isinstance(fault, Crash):
            if fault.everyone:
                milder.append(replace(fault, everyone=False))
            if fault.down_ms is not None and fault.down_ms > 1:
                milder.append(replace(fault, down_ms=1))
        elif isinstance(fault, LateStart) and fault.start_ms > 1:
            milder.append(replace(fault, start_ms=fault.start_ms // 2))
        for less in milder:
            yield replace(plan, faults=(*plan.faults[:number], less, *plan.faults[number + 1 :]))
