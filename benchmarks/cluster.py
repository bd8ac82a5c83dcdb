"""A cluster of real processes under load: mutual TLS, fsync on, clients that verify certificates.

    python benchmarks/cluster.py --nodes 4 --concurrency 1,64 [--json]

For each concurrency: that many unary proposals are always in flight, from this one process, each
for an instance of its own; what is counted begins after a warm-up. Frames and fsyncs are read from
the nodes' own metrics before and after. On one machine the load generator and all nodes share the
processors, so the figures are those of the whole.

    python benchmarks/cluster.py --concurrency 1,16,64,256 --stream --peers etcd,pysyncobj
        [--value-bytes 64] [--rounds 3] [--json] [--plot FILE]

Beside what a user would pick instead: each system in turn, alone on the machine, with fresh data
and the same load; so many rounds of that; then medians, and ratios of ours to each peer. With
`--stream`, clients that use ProposeStream take part too. docs/BENCHMARKS.md says more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from side_by_side import etcd, raft_in_python
from side_by_side.etcd import Etcd
from side_by_side.load import HEIGHT_BYTES, Stretch, System, measure
from side_by_side.ours import UNARY, Ours
from side_by_side.processes import INTERRUPTED
from side_by_side.raft_in_python import RaftInPython
from side_by_side.report import Table, lines, medians, plot, ratio_lines, ratios

from qbft.errors import QbftError, first_of

WARM_UP_SECONDS = 2.0
ROUNDS = 3
PEERS: dict[str, type[System]] = {etcd.NAME: Etcd, raft_in_python.NAME: RaftInPython}


@dataclass(frozen=True)
class Figures:
    """What one concurrency measured; times in milliseconds, counts per decision."""

    ops_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    decisions: int
    frames_per_decision: float
    fsyncs_per_decision_node: float
    journal_bytes_per_decision_node: float
    wire_bytes_per_decision: float
    cpu_ms_per_decision: float

    @classmethod
    def of(cls, stretch: Stretch, nodes: int) -> Figures:
        """The figures of our own nodes, which tell all of their counters."""
        used, decided = stretch.used, stretch.operations
        assert used.frames is not None
        assert used.fsyncs is not None
        assert used.journal_bytes is not None
        assert used.wire_bytes is not None
        p50, p90, p99 = stretch.percentiles_ms
        return cls(
            ops_s=decided / stretch.elapsed,
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            decisions=decided,
            frames_per_decision=used.frames / decided,
            fsyncs_per_decision_node=used.fsyncs / decided / nodes,
            journal_bytes_per_decision_node=used.journal_bytes / decided / nodes,
            wire_bytes_per_decision=used.wire_bytes / decided,
            cpu_ms_per_decision=used.cpu_seconds / decided * 1_000,
        )


async def run_system(
    system: System, variants: Sequence[str], arguments: argparse.Namespace
) -> dict[str, dict[str, Stretch]]:
    """Start a system with fresh data and measure its variants, one concurrency after the other."""
    results: dict[str, dict[str, Stretch]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        async with system.run(Path(directory)) as running:
            for variant in variants:
                results[variant] = {
                    str(concurrency): await measure(
                        running,
                        variant,
                        concurrency,
                        seconds=arguments.seconds,
                        warm_up_seconds=arguments.warm_up,
                        value_bytes=arguments.value_bytes,
                    )
                    for concurrency in arguments.concurrency
                }
    return results


async def run_ours(arguments: argparse.Namespace) -> dict[str, Figures]:
    """Measure our own cluster alone, with unary clients that verify."""
    stretches = await run_system(Ours(arguments.nodes, stream=False), [UNARY], arguments)
    return {
        concurrency: Figures.of(stretch, arguments.nodes)
        for concurrency, stretch in stretches[UNARY].items()
    }


async def run_beside(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all systems in turn, round after round, and compare."""
    ours = Ours(arguments.nodes, stream=arguments.stream)
    systems: list[System] = [ours, *(PEERS[name]() for name in arguments.peers)]
    rounds = []
    for number in range(1, arguments.rounds + 1):
        table: dict[str, dict[str, dict[str, float | None]]] = {}
        for system in systems:
            names = ", ".join(system.variants)
            print(f"round {number} of {arguments.rounds}: {names}", file=sys.stderr, flush=True)
            stretches = await run_system(system, list(system.variants), arguments)
            for variant, rows in stretches.items():
                table[variant] = {key: stretch.figures() for key, stretch in rows.items()}
        rounds.append(table)
    of_all = medians(rounds)
    return {
        "settings": {
            name: getattr(arguments, name)
            for name in ("nodes", "concurrency", "seconds", "warm_up", "value_bytes", "rounds")
        },
        "terms": {name: text for system in systems for name, text in system.variants.items()},
        "medians": of_all,
        "ratios": ratios(of_all, list(ours.variants), arguments.peers),
        "rounds": rounds,
    }


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("each concurrency is at least 1")
    return numbers


def _peers(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PEERS:
            known = ", ".join(PEERS)
            raise argparse.ArgumentTypeError(f"{name!r} is none of the peers: {known}")
    return names


def _value_bytes(text: str) -> int:
    if int(text) < HEIGHT_BYTES:
        raise argparse.ArgumentTypeError(f"a value has at least {HEIGHT_BYTES} bytes")
    return int(text)


def _rows(results: dict[str, Figures]) -> Iterator[str]:
    names = list(Figures.__dataclass_fields__)
    yield "  ".join([f"{'in flight':>9}", *(f"{name:>{max(len(name), 9)}}" for name in names)])
    for concurrency, figures in results.items():
        values = asdict(figures)
        yield "  ".join(
            [f"{concurrency:>9}", *(f"{values[n]:>{max(len(n), 9)}.2f}" for n in names)]
        )


def _rounded(data: object) -> object:
    """The same, with every float at three digits after the point."""
    match data:
        case float():
            return round(data, 3)
        case dict():
            return {key: _rounded(value) for key, value in data.items()}
        case list():
            return [_rounded(value) for value in data]
        case _:
            return data


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `is_beside` says whether more than the plain form is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--concurrency", type=_numbers, default=[1, 64], metavar="N,N,...")
    parser.add_argument("--seconds", type=float, default=10.0, help="counted, per concurrency")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_SECONDS, help="seconds before")
    parser.add_argument("--value-bytes", type=_value_bytes, default=64)
    parser.add_argument("--stream", action="store_true", help="clients of ProposeStream too")
    parser.add_argument("--peers", type=_peers, default=[], metavar=",".join(PEERS))
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} where systems are compared")
    parser.add_argument("--directory", type=Path, help="where the fresh directories are made")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg, .png or .pdf")
    arguments = parser.parse_args(words)
    given = (arguments.stream, arguments.peers, arguments.rounds, arguments.plot)
    arguments.is_beside = any(given)
    arguments.rounds = arguments.rounds or ROUNDS
    return arguments


def _show_beside(results: dict[str, Any], arguments: argparse.Namespace) -> None:
    table: Table = results["medians"]
    if arguments.plot is not None:
        plot(table, arguments.plot)
    if arguments.json:
        print(json.dumps(_rounded(results)))
        return
    print("\n".join(lines(table, results["terms"])))
    print("\n".join(ratio_lines(results["ratios"])))


def _show_ours(results: dict[str, Figures], arguments: argparse.Namespace) -> None:
    if arguments.json:
        figures = {concurrency: asdict(figures) for concurrency, figures in results.items()}
        print(json.dumps(_rounded(figures)))
    else:
        print("\n".join(_rows(results)))


def main() -> int:
    """Parse, measure, print."""
    arguments = parse()
    try:
        if arguments.is_beside:
            _show_beside(uvloop.run(run_beside(arguments)), arguments)
        else:
            _show_ours(uvloop.run(run_ours(arguments)), arguments)
    except (QbftError, BaseExceptionGroup) as error:
        cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(cause, QbftError):
            raise
        print(f"error: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
