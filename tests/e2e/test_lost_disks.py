"""Real nodes whose votes are lost (SCENARIOS K24 to K26; HARDENING W7)."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from e2e.crash_cluster import (
    SECONDS,
    TOPIC,
    cluster_with_faults,
    data_of,
    decided_everywhere,
    has_decided,
    votes_so_far,
)
from e2e.service_clients import stub_of

from qbft.client import Client
from qbft.replica.lost_votes import BEYOND_HELP, VOTES_AGAIN, WITHOUT_VOTES
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.config import NodeConfig
from qbft_server.initialise import replace_store
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

VICTIM = 1


async def decide(cluster: LocalCluster, heights: range) -> None:
    """Decide these heights."""
    async with Client(cluster.cluster) as client:
        for height in heights:
            await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)


async def has_voted_on(cluster: LocalCluster, node: int, first: int) -> int:
    """Decide from this height on until a node has cast several new votes; gives the last height.

    While it is still starting the others decide without it.
    """
    before = len(votes_so_far(cluster, node))
    async with asyncio.timeout(SECONDS):
        for height in count(first):
            await decide(cluster, range(height, height + 1))
            if len(votes_so_far(cluster, node)) >= before + 10:
                return height
    raise AssertionError


async def is_voting(cluster: LocalCluster, node: int) -> bool:
    """Whether a node says that it votes."""
    async with stub_of(cluster, node) as stub:
        ask = partial(stub.GetStatus, pb.GetStatusRequest(), wait_for_ready=True)
        return (await ask(timeout=SECONDS)).voting


async def votes_again(cluster: LocalCluster, node: int) -> None:
    """Wait until it does."""
    async with asyncio.timeout(SECONDS):
        while not await is_voting(cluster, node):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def has_said(cluster: LocalCluster, node: int, what: str) -> None:
    """Wait until a node's log has this line."""
    async with asyncio.timeout(SECONDS):
        while what not in cluster.log(node).read_text():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def replace(cluster: LocalCluster, node: int) -> None:
    """As an operator does: `qbft init --replace`."""
    replace_store(NodeConfig.load(cluster.directory / f"node-{node}" / "node.toml"))


async def test_a_lost_disk_is_replaced_and_its_node_comes_back(tmp_path: Path) -> None:
    """K24: it says so, pulls what was decided, votes again; others decide meanwhile."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(20))
        await cluster.kill(VICTIM)
        shutil.rmtree(data_of(cluster, VICTIM))
        await decide(cluster, range(20, 30))
        replace(cluster, VICTIM)
        await cluster.start(VICTIM)
        await has_said(cluster, VICTIM, WITHOUT_VOTES)
        await votes_again(cluster, VICTIM)
        assert VOTES_AGAIN in cluster.log(VICTIM).read_text()
        assert await has_decided(cluster, VICTIM, 0) == b"0"
        assert await has_decided(cluster, VICTIM, 29) == b"29"
        await cluster.kill(2)
        await decide(cluster, range(30, 40))  # the node that came back is needed now
        await cluster.start(2)
        for height in (3, 35):
            assert await decided_everywhere(cluster, height) == {b"%d" % height}


async def test_an_old_copy_of_the_data_is_found_out(tmp_path: Path) -> None:
    """K26: restored from a backup; the peers prove it, and the node asks before it votes on."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(5))
        await cluster.kill(VICTIM)
        copy = shutil.copytree(data_of(cluster, VICTIM), tmp_path / "backup")
        await cluster.start(VICTIM)
        last = await has_voted_on(cluster, VICTIM, 5)
        await decided_everywhere(cluster, last)
        await cluster.kill(VICTIM)
        shutil.rmtree(data_of(cluster, VICTIM))
        shutil.copytree(copy, data_of(cluster, VICTIM))
        await cluster.start(VICTIM)
        await has_said(cluster, VICTIM, WITHOUT_VOTES)
        await has_said(cluster, VICTIM, VOTES_AGAIN)
        await cluster.kill(2)
        await decide(cluster, range(last + 1, last + 6))
        await cluster.start(2)
        assert await decided_everywhere(cluster, last) == {b"%d" % last}


async def test_more_lost_disks_than_may_be_faulty_raise_an_alarm(tmp_path: Path) -> None:
    """K25: two of four; neither votes, both say why, and all go on answering reads."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(5))
        await decided_everywhere(cluster, 4)
        for node in (1, 2):
            await cluster.kill(node)
            replace(cluster, node)
        for node in (1, 2):
            await cluster.start(node)
        for node in (1, 2):
            await has_said(cluster, node, BEYOND_HELP)
            assert not await is_voting(cluster, node)
        assert await decided_everywhere(cluster, 3) == {b"3"}
