"""How the cost of a decision grows with the cluster, the values, what is open, and what is stored.

    python benchmarks/growth.py nodes  [4,7,10,13,16]         64 in flight
    python benchmarks/growth.py values [64,4096,262144,1048576]   16 in flight
    python benchmarks/growth.py open   [10,100,1000,10000]    so many instances open at once
    python benchmarks/growth.py length [1000000]              decisions in one run, 256 in flight

Each with `--seconds`, `--json` and `--directory`. Real processes on loopback, mutual TLS, fsync on,
clients that verify each certificate: by unary calls, and in `open` and `length`, where one process
would be busy with its calls alone, by ProposeStream. `length` keeps the newest 100,000 decisions
(`--keep`) and looks at speed and memory at every twentieth of the way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from side_by_side.load import Source, Stretch, measure
from side_by_side.ours import STREAM, UNARY, Ours
from side_by_side.processes import INTERRUPTED, resident_bytes

from qbft.errors import QbftError, first_of

NODES = 4
ONE_APPLICATION = {
    "QBFT_LIMITS__CLIENT_SHARE_PERCENT_MAX": "100",
    "QBFT_LIMITS__OPENINGS_AT_ONCE_MAX": "1000000",
}
"""All instances are opened by one client, over several connections that do not compete."""

IN_FLIGHT = {"nodes": 64, "values": 16, "length": 256}
WHOLE_RUN_SECONDS_MAX = 86_400.0
LOOKS = 20
MIB = 1 << 20
SIZES = {
    "nodes": [4, 7, 10, 13, 16],
    "values": [64, 4_096, 262_144, 1_048_576],
    "open": [10, 100, 1_000, 10_000],
    "length": [1_000_000],
}


@dataclass(frozen=True)
class Row:
    """One size, measured; `cpu_ms` is of all nodes for one decision, memory of the largest node."""

    size: int
    decisions_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    client_cpu_ms: float
    frames: float
    wire_bytes: float
    rss_mib: float

    @classmethod
    def of(cls, size: int, stretch: Stretch, rss_mib: float) -> Row:
        """The row of one stretch of load."""
        used, decided = stretch.used, stretch.operations
        p50, _, p99 = stretch.percentiles_ms
        return cls(
            size=size,
            decisions_s=decided / stretch.elapsed,
            p50_ms=p50,
            p99_ms=p99,
            cpu_ms=used.cpu_seconds / decided * 1_000,
            client_cpu_ms=stretch.client_cpu_seconds / decided * 1_000,
            frames=(used.frames or 0.0) / decided,
            wire_bytes=(used.wire_bytes or 0.0) / decided,
            rss_mib=rss_mib,
        )


@dataclass(frozen=True)
class Look:
    """A moment of a long run: speed since the look before, memory of each node."""

    decided: int
    decisions_s: float
    rss_mib: list[float]


async def _under_load(
    size: int, arguments: argparse.Namespace, *, nodes: int, in_flight: int, value_bytes: int
) -> Row:
    is_open = arguments.what == "open"
    variant = STREAM if is_open else UNARY
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        ours = Ours(nodes, stream=True, environment=ONE_APPLICATION if is_open else {})
        async with ours.run(Path(directory)) as running:
            stretch = await measure(
                running,
                variant,
                in_flight,
                seconds=arguments.seconds,
                warm_up_seconds=arguments.warm_up,
                value_bytes=value_bytes,
            )
            return Row.of(size, stretch, max(map(resident_bytes, running.pids)) / MIB)


async def by_nodes(size: int, arguments: argparse.Namespace) -> Row:
    """So many nodes."""
    in_flight = IN_FLIGHT["nodes"]
    return await _under_load(size, arguments, nodes=size, in_flight=in_flight, value_bytes=64)


async def by_values(size: int, arguments: argparse.Namespace) -> Row:
    """Values of so many bytes."""
    in_flight = IN_FLIGHT["values"]
    return await _under_load(size, arguments, nodes=NODES, in_flight=in_flight, value_bytes=size)


async def by_open(size: int, arguments: argparse.Namespace) -> Row:
    """So many instances open at once."""
    return await _under_load(size, arguments, nodes=NODES, in_flight=size, value_bytes=64)


async def by_length(size: int, arguments: argparse.Namespace) -> list[Look]:
    """So many decisions in one run, of which the newest are kept."""
    keep = json.dumps([{"prefix": "", "keep_decisions": arguments.keep}])
    ours = Ours(NODES, stream=True, environment={"QBFT_RETENTION": keep})
    looks: list[Look] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        async with ours.run(Path(directory)) as running, running.session(STREAM) as keep_busy:
            source = Source("bench/length", 64)
            source.begin(WHOLE_RUN_SECONDS_MAX)
            load = asyncio.create_task(keep_busy(source, IN_FLIGHT["length"]))
            for part in range(1, LOOKS + 1):
                before, begun = len(source.latencies), time.perf_counter()
                wanted = size * part // LOOKS
                while len(source.latencies) < wanted and not load.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                elapsed = time.perf_counter() - begun
                decided = len(source.latencies)
                memory = [resident_bytes(pid) / MIB for pid in running.pids]
                looks.append(Look(decided, (decided - before) / elapsed, memory))
                print(f"{decided:,} decided", file=sys.stderr, flush=True)
            source.begin(0.0)
            await load
    return looks


MEASURES: dict[str, Callable[[int, argparse.Namespace], Awaitable[Row]]] = {
    "nodes": by_nodes,
    "values": by_values,
    "open": by_open,
}


async def run(arguments: argparse.Namespace) -> list[Row] | list[Look]:
    """Measure every size, each on a fresh cluster."""
    if arguments.what == "length":
        return await by_length(arguments.sizes[-1], arguments)
    return [await MEASURES[arguments.what](size, arguments) for size in arguments.sizes]


def table(results: list[Row] | list[Look], what: str) -> Iterator[str]:
    """The figures as a table of a Markdown page."""
    names = list(asdict(results[0]))
    yield "| " + " | ".join([what if name == "size" else name for name in names]) + " |"
    yield "|" + "---|" * len(names)
    for result in results:
        yield "| " + " | ".join(map(_shown, asdict(result).values())) + " |"


def _shown(value: int | float | list[float]) -> str:
    match value:
        case list():
            return ", ".join(map(_shown, value))
        case float():
            return f"{value:,.2f}"
        case _:
            return f"{value:,}"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("sizes", nargs="?", metavar="N,N,...", help="sizes, ascending")
    parser.add_argument("--seconds", type=float, default=8.0, help="counted, per size")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before")
    parser.add_argument("--keep", type=int, default=100_000, help="decisions kept in a long run")
    parser.add_argument("--directory", type=Path, help="where the fresh directories are made")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    given = arguments.sizes
    arguments.sizes = SIZES[arguments.what] if given is None else [int(n) for n in given.split(",")]
    return arguments


def main() -> int:
    """Parse, measure, print."""
    arguments = parse()
    try:
        results = uvloop.run(run(arguments))
    except (QbftError, BaseExceptionGroup) as error:
        cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(cause, QbftError):
            raise
        print(f"error: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if arguments.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print("\n".join(table(results, arguments.what)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
