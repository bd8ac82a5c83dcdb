"""A real node catches up from real peers, of which one hides or falsifies (issue 4, part 2)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType

import pytest
from attacks import leaves_out, serves_false
from e2e.crash_cluster import FAST, SECONDS, TOPIC, has_decided

from qbft.client import Client, NodeStatus
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

AWAY, LIAR = 0, 3
COUNT = 60


class WithLiar(LocalCluster):
    """Four nodes, one of which is another program from its second life on."""

    is_lying = False
    program: ModuleType = leaves_out

    def _command(self, node: int) -> list[str]:
        command = super()._command(node)
        if node == LIAR and self.is_lying:
            return [sys.executable, str(self.program.__file__), command[-1]]
        return command


async def has_so_many(client: Client, node: int, count: int) -> None:
    """Wait until a node has so many decisions."""
    async with asyncio.timeout(SECONDS):
        while True:
            account = (await client.status())[node]
            if isinstance(account, NodeStatus) and account.decisions >= count:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("program", "true"),
    [
        (leaves_out, {h for h in range(COUNT) if h % leaves_out.EVERY}),
        (serves_false, set(range(2, COUNT, serves_false.EVERY))),
    ],
    ids=["leaves out", "serves false"],
)
async def test_what_a_peer_does_not_truly_give_comes_from_another_one(
    tmp_path: Path, program: ModuleType, true: set[int]
) -> None:
    """M5, HARDENING U3: what a liar hides, or serves false, is taken from another peer.

    Of F+1 = 2 peers the first is the liar, whose word alone has gaps: it leaves decisions out, or
    gives values and certificates that prove nothing. Of those the node takes none, whether or not
    anybody else is there to ask.
    """
    async with WithLiar.create(tmp_path / "cluster", environment=FAST) as cluster:
        others = (1, 2, LIAR)
        await cluster.start(*others)
        await cluster.wait_until_ready(*others)
        async with Client(cluster.cluster, timeout=SECONDS) as client:
            async with asyncio.TaskGroup() as tasks:
                for height in range(COUNT):
                    tasks.create_task(client.propose(TOPIC, height, b"%d" % height))
            for node in others:
                await has_so_many(client, node, COUNT)
            for node in others:
                await cluster.stop(node)
            cluster.program, cluster.is_lying = program, True
            await cluster.start(AWAY, LIAR)
            await has_so_many(client, AWAY, len(true))
            found = [await has_decided(cluster, AWAY, height) for height in range(COUNT)]
            assert found == [b"%d" % height if height in true else None for height in range(COUNT)]
            await cluster.start(1)
            await has_so_many(client, AWAY, COUNT)
            found = [await has_decided(cluster, AWAY, height) for height in range(COUNT)]
            assert found == [b"%d" % height for height in range(COUNT)]
