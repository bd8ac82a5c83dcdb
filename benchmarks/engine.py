"""What the engine costs: all engines of one instance in one process, nothing around them.

`python benchmarks/engine.py [--json] [--round-change]`. Every message goes through `step` of every
engine, in the order of sending. Happy path: from `Start` to the last decision. Round change: from
the timeout of everyone, all prepared in round 1 and the COMMITs lost, to the last decision in round
2. Best of the medians of five repeats; no garbage collection meanwhile, as timeit does it.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections import deque
from collections.abc import Iterable

from qbft.core import (
    Broadcast,
    Definition,
    Effect,
    InputValue,
    Instance,
    Message,
    MessageType,
    Start,
    TimerExpired,
)

NODES = (4, 7, 10, 13, 22, 31, 64, 100)
REPEATS = 5


class Bench:
    """One instance's engines and the messages on their way between them."""

    def __init__(self, nodes: int) -> None:
        definition = Definition(nodes, lambda _, round_: round_ % nodes)
        self.engines = [Instance(definition, 0, process) for process in range(nodes)]
        self.queue: deque[Message] = deque()
        self.steps = 0

    def perform(self, effects: Iterable[Effect]) -> None:
        """Queue what is to be broadcast."""
        for effect in effects:
            if type(effect) is Broadcast:
                self.queue.append(effect.message)

    def start(self) -> None:
        """Start everyone, with an input."""
        for process, engine in enumerate(self.engines):
            self.perform(engine.step(Start()))
            self.perform(engine.step(InputValue(process + 1)))

    def deliver(self, lose: MessageType | None = None) -> None:
        """Deliver until nothing is on its way."""
        queue, engines, perform = self.queue, self.engines, self.perform
        while queue:
            message = queue.popleft()
            if message.type is lose:
                continue
            self.steps += len(engines)
            for engine in engines:
                effects = engine.step(message)
                if effects:
                    perform(effects)


def happy_path(nodes: int) -> tuple[float, int]:
    """Seconds from start to the last decision, and steps taken."""
    bench = Bench(nodes)
    begin = time.perf_counter()
    bench.start()
    bench.deliver()
    elapsed = time.perf_counter() - begin
    assert all(engine.decision and engine.decision.round == 1 for engine in bench.engines)
    return elapsed, bench.steps


def round_change(nodes: int) -> tuple[float, int]:
    """The same for one round change with everyone prepared."""
    bench = Bench(nodes)
    bench.start()
    bench.deliver(lose=MessageType.COMMIT)
    bench.steps = 0
    begin = time.perf_counter()
    for engine in bench.engines:
        bench.perform(engine.step(TimerExpired()))
    bench.deliver()
    elapsed = time.perf_counter() - begin
    assert all(engine.decision and engine.decision.round == 2 for engine in bench.engines)
    return elapsed, bench.steps


def measure(nodes: int, *, changes: bool) -> dict[str, float]:
    """Best median of five repeats, each of as many instances as fit in a moment."""
    one = round_change if changes else happy_path
    runs = max(3, min(300, 6000 // (nodes * nodes)))
    medians = []
    for _ in range(REPEATS):
        gc.collect()
        gc.disable()
        samples = [one(nodes) for _ in range(runs)]
        gc.enable()
        medians.append(statistics.median(elapsed for elapsed, _ in samples))
        steps = samples[0][1]
    best = min(medians)
    return {
        "decision_us": round(best * 1e6, 1),
        "message_ns": round(best * 1e9 / steps, 1),
    }


def main() -> None:
    """Measure every size and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--round-change", action="store_true", help="measure one round change")
    arguments = parser.parse_args()
    figures = {str(nodes): measure(nodes, changes=arguments.round_change) for nodes in NODES}
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{'nodes':>5} {'decision us':>12} {'message ns':>11}")
    for nodes, figure in figures.items():
        print(f"{nodes:>5} {figure['decision_us']:>12,.1f} {figure['message_ns']:>11,.1f}")


if __name__ == "__main__":
    main()
