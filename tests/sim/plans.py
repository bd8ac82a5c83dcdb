"""Plans for the tests of worlds, and what is demanded of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qbft.sim.chronicle import Report
from qbft.sim.plan import Ask, Fault, Plan, Timer, Weather
from qbft.sim.world import World

FAST = Weather(1, 20)
ALWAYS_MS = 1_000_000
"""Later than any run ends."""


def asks(nodes: int, instances: int = 1, at_ms: int = 0) -> tuple[Ask, ...]:
    """A client at every node, for every instance."""
    return tuple(
        Ask(at_ms + 20 * height, place, height)
        for height in range(instances)
        for place in range(nodes)
    )


def plan(
    *faults: Fault,
    nodes: int = 4,
    instances: int = 1,
    seed: int = 0,
    faults_ms: int = 6_000,
    weather: Weather = FAST,
    timer: Timer | None = None,
) -> Plan:
    """A run in which everybody proposes at once, under these faults."""
    return Plan(
        seed=seed,
        nodes=nodes,
        instances=instances,
        timer=timer or Timer("exponential", 500, 4_000),
        weather=weather,
        faults_ms=faults_ms,
        asks=asks(nodes, instances),
        faults=faults,
    )


def play(which: Plan, seeds: Iterable[int] = range(20)) -> list[Report]:
    """Run a plan under several seeds; the oracle watches, and all must decide in the end."""
    return [World(replace(which, seed=seed)).run() for seed in seeds]
