"""How long it takes to be there: a node, the library, a client's first decision.

    python benchmarks/start.py [--votes 0,1000,10000] [--repeats 5] [--json]

    node     seconds from the start of a node's process until it answers a read, with so many open
             votes in its journal, two to an instance, all of them resumed by then; and the
             processor time that it has taken until then. Other nodes do not run.
    import   milliseconds of `import qbft`, beyond those of an empty program
    client   milliseconds from a new client until its first decision, at a cluster that runs: the
             links are made within them, and the certificate is verified

Medians of so many repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from grpc import aio

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from e2e.open_votes import write_open_votes  # noqa: E402 - found by the line above
from e2e.service_clients import stub_of  # noqa: E402

from qbft.client import Client  # noqa: E402
from qbft.core import InstanceId  # noqa: E402
from qbft.crypto.roster import service_leader  # noqa: E402
from qbft.wire.v1 import decision_pb2 as pb  # noqa: E402
from qbft_server.local import LocalCluster  # noqa: E402

TOPIC = "start"
VOTES_PER_INSTANCE = 2
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.005


def heights_led_by_others(cluster: LocalCluster) -> Iterator[int]:
    """The heights at which node 0 leads no first round, so that it has nothing to propose."""
    leader = service_leader(cluster.cluster.roster)
    return (height for height in count() if leader(InstanceId(TOPIC, height), 1) != 0)


def processor_seconds(pid: int) -> float:
    """What a process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def answered(cluster: LocalCluster) -> int:
    """Ask node 0 for its status, at once and again; gives how many instances it has open.

    Each try has a channel of its own: one that failed waits before it dials again.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with stub_of(cluster, 0) as stub:
                    status = await stub.GetStatus(pb.GetStatusRequest(), timeout=PATIENCE_SECONDS)
            except aio.AioRpcError:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return int(status.open_instances)


async def node_start(votes: int) -> tuple[float, float]:
    """Seconds, and processor seconds, until a node with so many open votes answers."""
    with tempfile.TemporaryDirectory() as directory:
        async with LocalCluster.create(Path(directory) / "cluster") as cluster:
            heights = list(islice(heights_led_by_others(cluster), votes // VOTES_PER_INSTANCE))
            if heights:
                await write_open_votes(cluster.directory, cluster.cluster, 0, TOPIC, heights)
            begin = time.perf_counter()
            await cluster.start(0)
            instances = await answered(cluster)
            seconds = time.perf_counter() - begin
            taken = processor_seconds(cluster.pid(0))
    if instances != len(heights):
        raise AssertionError(f"{instances} of {len(heights)} instances were resumed")
    return seconds, taken


async def first_decisions(repeats: int) -> list[float]:
    """Milliseconds from a new client until its first decision, so many times."""
    milliseconds = []
    with tempfile.TemporaryDirectory() as directory:
        async with LocalCluster.create(Path(directory) / "cluster") as cluster:
            await cluster.start()
            await cluster.wait_until_ready()
            for height in range(repeats + 1):
                begin = time.perf_counter()
                async with Client(cluster.cluster) as client:
                    await client.propose(TOPIC, height, b"v", timeout=PATIENCE_SECONDS)
                    milliseconds.append((time.perf_counter() - begin) * 1_000)
    return milliseconds[1:]


def import_milliseconds() -> float:
    """What `import qbft` takes, in a process of its own."""

    def seconds(program: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - begin

    return (seconds("import qbft") - seconds("pass")) * 1_000


async def measure(votes: list[int], repeats: int) -> dict[str, float]:
    """All of it, each figure by its name."""
    figures = {}
    for count_ in votes:
        starts = [await node_start(count_) for _ in range(repeats)]
        seconds, taken = zip(*starts, strict=True)
        figures[f"node, {count_} open votes, s"] = statistics.median(seconds)
        figures[f"node, {count_} open votes, processor s"] = statistics.median(taken)
    imports = [await asyncio.to_thread(import_milliseconds) for _ in range(repeats)]
    figures["import qbft, ms"] = statistics.median(imports)
    figures["client's first decision, ms"] = statistics.median(await first_decisions(repeats))
    return figures


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--votes",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[0, 1_000, 10_000],
        metavar="N,N,...",
        help="open votes in the journal",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.votes, arguments.repeats))
    if arguments.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    else:
        print("\n".join(f"{name:<40}{value:>10.2f}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
