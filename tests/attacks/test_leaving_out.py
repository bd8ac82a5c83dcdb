"""A real node catches up from real peers, of which one leaves decisions out (issue 4, part 2)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from attacks import leaves_out
from e2e.crash_cluster import FAST, SECONDS, TOPIC, has_decided

from qbft.client import Client, NodeStatus
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

AWAY, LIAR = 0, 3
COUNT = 60


class WithLiar(LocalCluster):
    """Four nodes, one of which is another program from its second life on."""

    is_lying = False

    def _command(self, node: int) -> list[str]:
        command = super()._command(node)
        if node == LIAR and self.is_lying:
            return [sys.executable, str(leaves_out.__file__), command[-1]]
        return command


async def has_so_many(client: Client, node: int, count: int) -> None:
    """Wait until a node has so many decisions."""
    async with asyncio.timeout(SECONDS):
        while True:
            account = (await client.status())[node]
            if isinstance(account, NodeStatus) and account.decisions >= count:
                return
            await asyncio.sleep(0.05)


async def test_what_a_peer_leaves_out_comes_from_another_one(tmp_path: Path) -> None:
    """M5, HARDENING U3: F+1 = 2 peers, the first of them a liar, whose word alone has gaps."""
    hidden = set(range(0, COUNT, leaves_out.EVERY))
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
            cluster.is_lying = True
            await cluster.start(AWAY, LIAR)
            await has_so_many(client, AWAY, COUNT - len(hidden))
            found = [await has_decided(cluster, AWAY, height) for height in range(COUNT)]
            assert {height for height, value in enumerate(found) if value is None} == hidden
            await cluster.start(1)
            await has_so_many(client, AWAY, COUNT)
            found = [await has_decided(cluster, AWAY, height) for height in range(COUNT)]
            assert found == [b"%d" % height for height in range(COUNT)]
