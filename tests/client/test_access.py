"""Whom a client reaches, with what it shows of itself, and what cannot be asked."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from client_parts import INSTANCE
from grpc import aio
from pretend_cluster import TOPIC, PretendCluster, pretend_cluster

from qbft.client import Access, Client, ClientError, DeadlineExceeded, NodeStatus, Unavailable
from qbft.client.pinned import PINNED, pinned_credentials
from qbft.client.retrying import failure
from qbft.errors import ClusterError
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.identity import create_tls_identity

pytestmark = pytest.mark.real_clock


async def test_only_the_pinned_key_is_believed() -> None:
    """DESIGN section 4: a node is known by its key in the cluster file, not by a name."""
    pretend = PretendCluster(1, tls=True)
    other = create_tls_identity("node 0", [])
    for identity, reaches in ((pretend.identities[0], True), (other, False)):
        await pretend.start([identity])
        try:
            async with pretend.client() as client:
                if reaches:
                    assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
                else:
                    with pytest.raises(DeadlineExceeded, match="another TLS key"):
                        await client.propose(TOPIC, 17, b"x", timeout=0.5)
        finally:
            await pretend.stop()


@pytest.mark.parametrize("shows_a_certificate", [False, True])
async def test_a_pinned_channel_reaches_that_node_past_a_proxy(
    shows_a_certificate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN section 4: the cluster file says where nodes are; the environment changes no way.

    One helper opens the channels of clients, peers, the local cluster and the health check.
    """
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    async with pretend_cluster(2, tls=True) as pretend:
        own = pretend.identities[0]
        shown = (own.key_pem, own.certificate_pem) if shows_a_certificate else ()
        named, other = pretend.cluster.validators
        for believed, reaches in ((named, True), (other, False)):
            credentials = pinned_credentials(believed, *shown)
            async with aio.secure_channel(named.client, credentials, PINNED) as channel:
                stub = DecisionServiceStub(channel)
                if reaches:
                    assert (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).validator == 0
                else:
                    with pytest.raises(aio.AioRpcError, match="UNAVAILABLE"):
                        await stub.GetStatus(pb.GetStatusRequest(), timeout=5)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("UNKNOWN: ipv4:127.0.0.1:7401: Tls handshake failed: WRONG_VERSION_NUMBER", "speak TLS"),
        ("UNKNOWN: x: Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self signed", "TLS key"),
        ("UNAVAILABLE: ipv4:127.0.0.1:7401: Socket closed", "client certificate"),
        ("UNKNOWN: ipv4:127.0.0.1:7401: Connection refused", "connect: Connection refused"),
    ],
)
def test_what_keeps_from_connecting_is_told_in_plain_words(last: str, told: str) -> None:
    """A foreign cluster file, a missing certificate and a plaintext node are told apart."""
    message = f"failed to connect to all addresses; last error: {last}"
    failed = failure(2, grpc.StatusCode.UNAVAILABLE, message)
    assert isinstance(failed, Unavailable)
    assert str(failed).startswith("node 2: UNAVAILABLE: cannot connect: ")
    assert told in str(failed)
    assert "last error" not in str(failed)


async def test_a_token_goes_with_every_call() -> None:
    """Issue 2: a token where the operator asks for it."""
    access = Access(token="a token of the operator", insecure_plaintext=True)  # noqa: S106
    assert "a token" not in repr(access)
    async with pretend_cluster(1) as pretend, pretend.client(access=access) as client:
        await client.get(TOPIC, 17)
        assert pretend.nodes[0].metadata["authorization"] == "Bearer a token of the operator"


async def test_status_tells_of_every_node() -> None:
    """A node that is away is told as such, beside the others' accounts."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        await pretend.stop(3)
        accounts = await client.status()
        first = accounts[0]
        assert isinstance(first, NodeStatus)
        assert [peer.last_heard_ms for peer in first.peers] == [3, None]
        assert isinstance(accounts[3], Unavailable)


@pytest.mark.parametrize("node", [-1, 4, 9])
async def test_a_node_that_there_is_not_is_not_asked(node: int) -> None:
    """A number of no node is the caller's mistake; -1 is not the last node."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        calls: list[Awaitable[object]] = [
            client.get(TOPIC, 17, node=node),
            anext(client.list_decisions(TOPIC, node=node)),
            anext(client.watch(TOPIC, node=node)),
            anext(client.watch_all(node)),
            client.capture(INSTANCE, node=node),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=f"node = {node}: allowed is 0 to 3"):
                await call
        assert not any(asked.calls for asked in pretend.nodes)


async def test_what_cannot_be_asked() -> None:
    """Mistakes of the caller are errors of the caller, before any node is asked."""
    async with pretend_cluster(1) as pretend:
        client = pretend.client()
        with pytest.raises(ClientError, match="async with"):
            await client.propose(TOPIC, 1, b"x")
        async with client:
            with pytest.raises(ValueError, match="topic"):
                await client.propose("Not A Topic", 1, b"x")
        assert pretend.nodes[0].calls == []
    with pytest.raises(ClusterError, match="cannot read the cluster file"):
        Client(Path("/nowhere/cluster.toml"))
