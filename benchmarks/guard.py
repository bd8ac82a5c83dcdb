"""Does a decision still cost what it did? As ratios, so that the machine's own speed falls out.

    python benchmarks/guard.py [--seconds 3] [--json] [--record]

Two prices in processor time, each divided by that of a yardstick in the same run:

- `engine`: a decision of four engines, to a fixed piece of plain Python;
- `cluster`: a decision of four real nodes, their client included, with 64 in flight, to an empty
  unary call over grpc.aio, server and client, with as many in flight.

They are held against `ratios.json` beside this file: exit code 1 if one is higher by half.
`--record` writes that file, for a change whose price is meant.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from engine import happy_path
from side_by_side import echo, ours
from side_by_side.echo import Echo
from side_by_side.load import Stretch, System, measure
from side_by_side.ours import Ours

RECORD = Path(__file__).with_name("ratios.json")
WORSE_MAX = 1.5
REPEATS, ROUNDS = 200, 2
IN_FLIGHT = 64
NODES = 4


def plain_python() -> int:
    """A fixed piece of work of the engine's kind: tuples, dictionaries, sets, small integers."""
    seen: dict[tuple[int, int], set[int]] = {}
    for number in range(400):
        seen.setdefault((number % 7, number % 3), set()).add(number % 31)
    return sum(map(len, seen.values()))


def engine_ratio() -> float:
    """The best of many of each, taken in turn."""
    decision = plain = float("inf")
    for _ in range(REPEATS):
        decision = min(decision, happy_path(NODES)[0])
        begin = time.perf_counter()
        plain_python()
        plain = min(plain, time.perf_counter() - begin)
    return decision / plain


async def price(system: System, variant: str, seconds: float) -> float:
    """Processor seconds of an operation, all processes together."""
    with tempfile.TemporaryDirectory() as directory:
        async with system.run(Path(directory)) as running:
            stretch: Stretch = await measure(
                running,
                variant,
                IN_FLIGHT,
                seconds=seconds,
                warm_up_seconds=seconds / 2,
                value_bytes=64,
            )
    return (stretch.used.cpu_seconds + stretch.client_cpu_seconds) / stretch.operations


async def cluster_ratio(seconds: float) -> float:
    """A decision to an empty call: the lower of two prices of each, taken in turn."""
    decision = call = float("inf")
    for _ in range(ROUNDS):
        decision = min(decision, await price(Ours(NODES, stream=False), ours.UNARY, seconds))
        call = min(call, await price(Echo(), echo.NAME, seconds))
    return decision / call


def worse(now: dict[str, float], then: dict[str, float]) -> list[str]:
    """The prices that rose too much."""
    return [name for name, ratio in now.items() if ratio > WORSE_MAX * then[name]]


def main() -> int:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, for each system")
    parser.add_argument("--record", action="store_true", help="write ratios.json")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    now = {"engine": engine_ratio(), "cluster": uvloop.run(cluster_ratio(arguments.seconds))}
    now = {name: round(ratio, 2) for name, ratio in now.items()}
    if arguments.record:
        RECORD.write_text(json.dumps(now) + "\n")
    then: dict[str, float] = json.loads(RECORD.read_text())
    if arguments.json:
        print(json.dumps({"now": now, "then": then}))
    else:
        for name, ratio in now.items():
            print(f"{name}: {ratio} x its yardstick; on record {then[name]}")
    risen = worse(now, then)
    for name in risen:
        print(f"{name} costs more than {WORSE_MAX} x what is on record", file=sys.stderr)
    return 1 if risen else 0


if __name__ == "__main__":
    sys.exit(main())
