"""A cluster of real processes under load: mutual TLS, fsync on, clients that verify certificates.

    python benchmarks/cluster.py --nodes 4 --concurrency 1,64 [--json]

For each concurrency: that many unary proposals are always in flight, from this one process, each
for an instance of its own; what is counted begins after a warm-up. Frames and fsyncs are read from
the nodes' own metrics before and after. On one machine the load generator and all nodes share the
processors, so the figures are those of the whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from qbft.client import Client
from qbft_server.local import LocalCluster

WARM_UP_SECONDS = 2.0
PROPOSE_SECONDS_MAX = 30.0


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


@dataclass(frozen=True)
class Counters:
    """The sums over all nodes of what their metrics say."""

    frames: float
    fsyncs: float
    journal_bytes: float
    wire_bytes: float
    cpu_seconds: float


def read_counters(cluster: LocalCluster) -> Counters:
    """Ask every node for its metrics, and the system for its processor time."""
    sums: dict[str, float] = {}
    cpu = 0.0
    for node in range(len(cluster.cluster.validators)):
        with (cluster.directory / f"node-{node}" / "node.toml").open("rb") as file:
            admin = tomllib.load(file)["listen"]["admin"]
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        cpu += _cpu_seconds(cluster.pid(node))
    return Counters(
        sums["qbft_peer_frames_sent_total"],
        sums["qbft_journal_fsyncs_total"] + sums["qbft_decisions_commits_total"],
        sums["qbft_journal_bytes_total"],
        sums["qbft_peer_bytes_sent_total"],
        cpu,
    )


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    cluster: LocalCluster, concurrency: int, seconds: float, value_bytes: int
) -> Figures:
    """Keep so many proposals in flight for so long."""
    heights = count()
    topic = f"bench/{concurrency}"
    latencies: list[float] = []
    async with Client(cluster.cluster) as client:

        async def propose_until(end: float, keep: list[float]) -> None:
            while (begin := time.perf_counter()) < end:
                height = next(heights)
                value = height.to_bytes(8, "big") + bytes(value_bytes - 8)
                await client.propose(topic, height, value, timeout=PROPOSE_SECONDS_MAX)
                keep.append(time.perf_counter() - begin)

        async def all_workers(end: float, keep: list[float]) -> None:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(propose_until(end, keep))

        await all_workers(time.perf_counter() + WARM_UP_SECONDS, [])
        before = read_counters(cluster)
        begin = time.perf_counter()
        await all_workers(begin + seconds, latencies)
        elapsed = time.perf_counter() - begin
        after = read_counters(cluster)
    nodes = len(cluster.cluster.validators)
    decided = len(latencies)
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return Figures(
        ops_s=decided / elapsed,
        p50_ms=percentiles[49] * 1_000,
        p90_ms=percentiles[89] * 1_000,
        p99_ms=percentiles[98] * 1_000,
        decisions=decided,
        frames_per_decision=(after.frames - before.frames) / decided,
        fsyncs_per_decision_node=(after.fsyncs - before.fsyncs) / decided / nodes,
        journal_bytes_per_decision_node=(after.journal_bytes - before.journal_bytes)
        / decided
        / nodes,
        wire_bytes_per_decision=(after.wire_bytes - before.wire_bytes) / decided,
        cpu_ms_per_decision=(after.cpu_seconds - before.cpu_seconds) / decided * 1_000,
    )


async def run(arguments: argparse.Namespace) -> dict[str, Figures]:
    """Start a fresh cluster for all concurrencies and measure one after the other."""
    results = {}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        cluster = LocalCluster.create(Path(directory) / "cluster", arguments.nodes)
        async with cluster:
            await cluster.start()
            await cluster.wait_until_ready()
            for concurrency in arguments.concurrency:
                results[str(concurrency)] = await measure(
                    cluster, concurrency, arguments.seconds, arguments.value_bytes
                )
    return results


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("each concurrency is at least 1")
    return numbers


def _rows(results: dict[str, Figures]) -> Iterator[str]:
    names = list(Figures.__dataclass_fields__)
    yield "  ".join([f"{'in flight':>9}", *(f"{name:>{max(len(name), 9)}}" for name in names)])
    for concurrency, figures in results.items():
        values = asdict(figures)
        yield "  ".join(
            [f"{concurrency:>9}", *(f"{values[n]:>{max(len(n), 9)}.2f}" for n in names)]
        )


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--concurrency", type=_numbers, default=[1, 64], metavar="N,N,...")
    parser.add_argument("--seconds", type=float, default=10.0, help="counted, per concurrency")
    parser.add_argument("--value-bytes", type=int, default=64, help="at least 8")
    parser.add_argument("--directory", type=Path, help="where the fresh directory is made")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = uvloop.run(run(arguments))
    if arguments.json:
        rounded = {
            concurrency: {name: round(value, 3) for name, value in asdict(figures).items()}
            for concurrency, figures in results.items()
        }
        sys.stdout.write(json.dumps(rounded) + "\n")
    else:
        sys.stdout.write("\n".join(_rows(results)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
