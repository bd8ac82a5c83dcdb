"""Clusters of real processes on one machine (`qbft_server.local`)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from qbft.client import Client, NodeStatus
from qbft.errors import QbftError
from qbft_server.initialise import PORTS_PER_NODE
from qbft_server.local import FIRST_PORT, READY_SECONDS, LocalCluster


@pytest.mark.real_clock
async def test_two_clusters_never_take_each_others_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor those of nodes that are down: a node must come back where its peers look for it.

    A run of ports may begin or end within another's.
    """
    one = LocalCluster.create(tmp_path / "one", nodes=2)  # its block begins later
    taken = int(one.cluster.validators[0].peer.rpartition(":")[2])
    near = [taken + PORTS_PER_NODE * nodes for nodes in (0, 1, -1, 2)]
    assert taken % PORTS_PER_NODE == FIRST_PORT % PORTS_PER_NODE
    monkeypatch.setattr("random.randrange", lambda *_: near.pop(0))
    async with LocalCluster.create(tmp_path / "other", nodes=2) as other, one:
        assert other.cluster.validators[0].peer == f"127.0.0.1:{taken + 2 * PORTS_PER_NODE}"


@pytest.mark.e2e
async def test_a_shell_set_up_for_another_cluster_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's QBFT_CLUSTER, or a node's own settings, must not reach every node that is started.

    Settings that nodes share do: they are the way to tune them.
    """
    monkeypatch.setenv("QBFT_CLUSTER", str(tmp_path / "another" / "cluster.toml"))
    monkeypatch.setenv("QBFT_VALIDATOR", "3")
    monkeypatch.setenv("QBFT_LOG__LEVEL", "debug")
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        assert cluster.running == (0, 1, 2, 3)
        assert '"validator": 2' in cluster.log(2).read_text()


@pytest.mark.e2e
async def test_a_node_sees_its_peers_where_it_is_told(tmp_path: Path) -> None:
    """DESIGN, section 4: addresses are not the cluster's identity; a view with wrong ones cuts off.

    `qbft chaos` puts relays between nodes so.
    """
    async with LocalCluster.create(tmp_path / "cluster", nodes=1) as one:
        nowhere = one.cluster.validators[0].peer
    async with LocalCluster.create(tmp_path / "four") as cluster:
        validators = list(cluster.cluster.validators)
        validators[1] = validators[1].model_copy(update={"peer": nowhere})
        view = cluster.cluster.model_copy(update={"validators": tuple(validators)})
        cluster.see(0, view)
        await cluster.start()
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client:
            await wait_for_peers(client, {0: {2, 3}, 1: {0, 2, 3}})


async def wait_for_peers(client: Client, expected: dict[int, set[int]]) -> None:
    """Wait until these nodes say that they are connected to just these peers."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            accounts = await client.status()
            connected = {
                node: {peer.validator for peer in account.peers if peer.connected}
                for node, account in accounts.items()
                if node in expected and isinstance(account, NodeStatus)
            }
            if connected == expected:
                return
            await asyncio.sleep(0.05)


@pytest.mark.e2e
async def test_a_lost_data_directory_is_replaced(tmp_path: Path) -> None:
    """HARDENING W7: as an operator does it; the exit code of what ended before is told."""
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        assert cluster.exit_code(3) is None
        with pytest.raises(QbftError, match="journal is in use by another process"):
            await cluster.replace_store(3)
        await cluster.kill(3)
        shutil.rmtree(cluster.data(3))
        await cluster.replace_store(3)
        await cluster.start(3)
        await cluster.wait_until_ready(3)
