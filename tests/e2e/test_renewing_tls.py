"""Real nodes that take up renewed TLS files (SCENARIOS M14)."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from e2e.crash_cluster import SECONDS, TOPIC, cluster_with_faults, decided_everywhere
from e2e.service_clients import proposal, stub_of
from grpc import aio

from qbft.client import Client, NodeStatus
from qbft.cluster import Cluster
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.identity import TlsIdentity, create_tls_identity
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

TAKEN_UP = "TLS files are taken up"
REFUSED = "TLS files are not taken up"
VICTIM = 1
TALKING = {"QBFT_LOG__LEVEL": "info"}


def key_of(cluster: LocalCluster, node: int) -> Path:
    """The file of a node's TLS key."""
    return cluster.directory / f"node-{node}" / "tls.key"


def another_certificate(cluster: LocalCluster, node: int) -> TlsIdentity:
    """A new certificate of the key that a node has."""
    key = serialization.load_pem_private_key(key_of(cluster, node).read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return create_tls_identity(f"validator {node}, renewed", [], key)


def write_cluster_file(cluster: LocalCluster, identities: dict[int, TlsIdentity]) -> Cluster:
    """Put these into the file that all nodes and clients read; gives what it says now."""
    validators = list(cluster.cluster.validators)
    for node, identity in identities.items():
        new = {"tls_key_sha256": identity.pin, "tls_certificate": identity.certificate_pem.decode()}
        validators[node] = validators[node].model_copy(update=new)
    cluster.cluster = cluster.cluster.model_copy(update={"validators": tuple(validators)})
    cluster.cluster_file.write_text(cluster.cluster.dump())
    return cluster.cluster


async def take_up(cluster: LocalCluster, *nodes: int, said: str = TAKEN_UP) -> None:
    """Send nodes SIGHUP, and wait until each has said so once more."""
    before = {node: cluster.log(node).read_text().count(said) for node in nodes}
    for node in nodes:
        cluster.signal(node, signal.SIGHUP)
    async with asyncio.timeout(SECONDS):
        for node in nodes:
            while cluster.log(node).read_text().count(said) == before[node]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


def links_lost(cluster: LocalCluster, node: int) -> int:
    """How often a node has told that a link is down."""
    log = cluster.log(node).read_text()
    assert "link is up" in log
    return log.count("link is down")


async def served(cluster: LocalCluster, node: int) -> str:
    """The certificate that a node shows to clients."""
    host, _, port = cluster.cluster.validators[node].client.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def all_linked(cluster: LocalCluster) -> None:
    """Wait until each node has a link to each other."""
    async with asyncio.timeout(SECONDS), Client(cluster.cluster) as client:
        while True:
            accounts = await client.status()
            if all(
                isinstance(account, NodeStatus) and all(peer.connected for peer in account.peers)
                for account in accounts.values()
            ):
                return
            await asyncio.sleep(0.05)


async def grants_are_taken_up(cluster: LocalCluster, stub: DecisionServiceStub) -> None:
    """Who is not let in any more is refused on a connection that stands, and then let in again."""
    file = cluster.directory / f"node-{VICTIM}" / "node.toml"
    text = file.read_text()
    grant = f'\n[[clients.grants]]\nname = "a"\ntoken_sha256 = "{"ab" * 32}"\nread = [""]\n'
    file.write_text(text + grant.replace("token_sha256", "token_sha265"))
    await take_up(cluster, VICTIM, said=REFUSED)
    await stub.GetStatus(pb.GetStatusRequest(), timeout=SECONDS)
    file.write_text(text + grant)
    await take_up(cluster, VICTIM)
    with pytest.raises(aio.AioRpcError) as refused:
        await stub.GetStatus(pb.GetStatusRequest(), timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    file.write_text(text)
    await take_up(cluster, VICTIM)
    await stub.GetStatus(pb.GetStatusRequest(), timeout=SECONDS)


async def test_nodes_take_up_renewed_certificates(tmp_path: Path) -> None:
    """SCENARIOS M14: nothing is interrupted; only new connections go by the new files."""
    async with cluster_with_faults(tmp_path, {}, TALKING) as cluster:
        before = cluster.cluster
        async with stub_of(cluster, VICTIM) as stub:
            await all_linked(cluster)
            lost = [links_lost(cluster, node) for node in range(4)]
            await stub.Propose(proposal(TOPIC, 1, b"1"), timeout=SECONDS)
            assert await served(cluster, VICTIM) == before.validators[VICTIM].tls_certificate
            identities = {node: another_certificate(cluster, node) for node in range(4)}
            after = write_cluster_file(cluster, identities)
            assert after.validators[VICTIM].tls_key_sha256 == (
                before.validators[VICTIM].tls_key_sha256
            )
            await take_up(cluster, *range(4))
            assert await served(cluster, VICTIM) == after.validators[VICTIM].tls_certificate
            reply = await stub.Propose(proposal(TOPIC, 2, b"2"), timeout=SECONDS)
            assert reply.decision.value == b"2"
            await grants_are_taken_up(cluster, stub)
        assert [links_lost(cluster, node) for node in range(4)] == lost
        await cluster.kill(VICTIM)
        await cluster.start(VICTIM)
        await all_linked(cluster)
        async with Client(after) as client:
            await client.propose(TOPIC, 3, b"3", timeout=SECONDS)
        assert await decided_everywhere(cluster, 3) == {b"3"}


async def test_a_node_takes_up_a_new_key(tmp_path: Path) -> None:
    """DESIGN 4, M14: peers are pinned by their key, so that its links are made anew; all decide on.

    Files that cannot be used change nothing: a key that is not the pinned one, no cluster file.
    """
    async with cluster_with_faults(tmp_path, {}, TALKING) as cluster:
        async with Client(cluster.cluster) as client:
            await client.propose(TOPIC, 1, b"1", timeout=SECONDS)
        shown = await served(cluster, VICTIM)
        text = cluster.cluster_file.read_text()
        identity = create_tls_identity("validator 1, once more", [])
        key_of(cluster, VICTIM).write_bytes(identity.key_pem)
        await take_up(cluster, VICTIM, said=REFUSED)
        cluster.cluster_file.write_text(text.replace("BEGIN CERTIFICATE", "BEGIN NOTHING"))
        await take_up(cluster, *range(4), said=REFUSED)
        assert await served(cluster, VICTIM) == shown
        after = write_cluster_file(cluster, {VICTIM: identity})
        await take_up(cluster, 0, 2, 3)
        async with Client(after) as client:
            await client.propose(TOPIC, 2, b"2", timeout=SECONDS)  # with one node cut off
            await take_up(cluster, VICTIM)
            await all_linked(cluster)
            assert await served(cluster, VICTIM) == after.validators[VICTIM].tls_certificate
            await cluster.kill(2)
            await client.propose(TOPIC, 3, b"3", timeout=SECONDS)  # it is needed now
            await cluster.start(2)
        assert await decided_everywhere(cluster, 3) == {b"3"}
