"""How fast a node that was away pulls what it missed, with certificates, while it takes part again.

    python benchmarks/catch_up.py --decisions 100000 [--json]

Four real nodes, mutual TLS, fsync on. One is stopped; the other three decide so many instances.
Then it starts again, under one client that goes on proposing. Measured is the time from its start
until it has as many decisions as the others had, its start-up included, and what the client saw:
also in how many of the instances decided meanwhile the certificate holds the returning node's own
COMMIT. It voted in at least so many; whose COMMIT comes after a quorum's is in no certificate.

On asyncio's own loop: it makes processes without fork(), after which gRPC's handlers would run in
the child, beside a client that is at work. uvloop forks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from qbft.client import Client
from qbft.client.status import NodeStatus
from qbft_server.local import LocalCluster

AWAY = 3
IN_FLIGHT = 256
PROPOSE_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Figures:
    """What was measured; rates are per second."""

    missed: int
    seconds: float
    decisions_s: float
    decided_meanwhile: int
    with_its_commit: int
    propose_p50_ms: float
    propose_max_ms: float


async def fill(cluster: LocalCluster, decisions: int) -> None:
    """Let the nodes that are up decide so many instances."""
    heights = count()

    async def propose(client: Client) -> None:
        while (height := next(heights)) < decisions:
            value = height.to_bytes(8, "big") + bytes(56)
            await client.propose("missed", height, value, timeout=PROPOSE_SECONDS_MAX)

    async with Client(cluster.cluster) as client, asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(propose(client))


async def decisions_of(client: Client, node: int) -> int:
    """How many decisions a node has; 0 while it does not answer."""
    account = (await client.status())[node]
    return account.decisions if isinstance(account, NodeStatus) else 0


async def measure(decisions: int, directory: Path | None) -> Figures:
    """Stop, fill, start, wait."""
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        async with LocalCluster.create(Path(temporary) / "cluster", 4) as cluster:
            await cluster.start()
            await cluster.wait_until_ready()
            await cluster.stop(AWAY)
            await fill(cluster, decisions)
            async with Client(cluster.cluster) as client:
                missed = await decisions_of(client, 0)
                latencies: list[float] = []
                with_its_commit = 0

                async def trickle() -> None:
                    nonlocal with_its_commit
                    for height in count():
                        begin = time.perf_counter()
                        decision = await client.propose(
                            "new", height, b"v", timeout=PROPOSE_SECONDS_MAX
                        )
                        latencies.append(time.perf_counter() - begin)
                        with_its_commit += any(
                            commit.source == AWAY for commit in decision.certificate.commits
                        )

                begin = time.perf_counter()
                await cluster.start(AWAY)
                proposing = asyncio.create_task(trickle())
                while await decisions_of(client, AWAY) < missed:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                seconds = time.perf_counter() - begin
                proposing.cancel()
                await asyncio.gather(proposing, return_exceptions=True)
    decided_meanwhile = len(latencies)
    latencies = sorted(latencies) or [float("nan")]
    return Figures(
        missed,
        seconds,
        missed / seconds,
        decided_meanwhile,
        with_its_commit,
        latencies[len(latencies) // 2] * 1_000,
        latencies[-1] * 1_000,
    )


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--directory", type=Path, help="where the fresh directory is made")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = asdict(asyncio.run(measure(arguments.decisions, arguments.directory)))
    if arguments.json:
        sys.stdout.write(json.dumps({n: round(v, 3) for n, v in figures.items()}) + "\n")
    else:
        sys.stdout.write("".join(f"{name:>18}  {value:.1f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
