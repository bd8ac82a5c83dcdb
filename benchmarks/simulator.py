"""How fast the simulator is: whole instances a second, four nodes, the oracle on, under faults.

    python benchmarks/simulator.py [--seconds N] [--json]

`calm` has nothing but delays; `faulty` loses and doubles every tenth frame, parts the nodes once
and lets two of them crash; `swarm` is what `qbft simulate swarm --nodes 4` draws, liars included.
One process; seconds are those of its processor, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from qbft.sim.garbage import rare_collections
from qbft.sim.plan import Ask, Crash, Partition, Plan, Weather
from qbft.sim.swarm import draw
from qbft.sim.world import World

INSTANCES = 8


def calm(seed: int) -> Plan:
    """Every node has a client; nothing is wrong."""
    asks = tuple(
        Ask(100 * height, place, height) for height in range(INSTANCES) for place in range(4)
    )
    return Plan(seed=seed, instances=INSTANCES, faults_ms=3_000, asks=asks)


def faulty(seed: int) -> Plan:
    """Loss, duplicates, a partition, crashes at points that the seed chooses."""
    base = calm(seed)
    return Plan(
        seed=seed,
        instances=INSTANCES,
        weather=Weather(1, 60, loss=0.1, duplication=0.1),
        faults_ms=base.faults_ms,
        asks=base.asks,
        faults=(
            Partition(((0, 1, 2), (3,)), 300, 700),
            Crash(seed % 4, at_point=seed % 50),
            Crash((seed + 1) % 4, at_ms=seed % 1_000),
        ),
    )


def swarm(seed: int) -> Plan:
    """Whatever a seed draws."""
    return draw(seed, 4)


@rare_collections()
def measure(plan_of: Callable[[int], Plan], seconds: float) -> dict[str, float]:
    """Play seeds for so long, as the swarm does."""
    runs, instances, events = 0, 0, 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        _, report = World.play(plan_of(runs))
        runs += 1
        if report is not None:
            instances += report.decided
            events += report.frames
    took = time.process_time() - began
    return {
        "runs_per_second": round(runs / took, 1),
        "instances_per_second": round(instances / took, 1),
        "frames_per_second": round(events / took),
    }


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for plan_of in (calm, faulty, swarm):
        figures = measure(plan_of, arguments.seconds)
        if arguments.json:
            print(json.dumps({"plan": plan_of.__name__, **figures}))
        else:
            print(f"{plan_of.__name__:<8}" + "  ".join(f"{k} {v:,}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
