"""Certificates and TLS keys that are renewed while links stand (SCENARIOS M14)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from loopback import Inhabitant, Loopback, until
from test_strangers import refusal

from qbft.transport import Frame
from qbft_server.identity import TlsIdentity, create_tls_identity
from qbft_server.peers.outgoing import OutgoingLink

pytestmark = pytest.mark.real_clock


def renewed(identity: TlsIdentity, name: str) -> TlsIdentity:
    """Another certificate of the same key."""
    key = serialization.load_pem_private_key(identity.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return create_tls_identity(name, [], key)


def take_up(cluster: Loopback, *nodes: Inhabitant) -> None:
    """Have nodes read the files again."""
    for node in nodes:
        index = node.transport.validator
        node.transport.renew(cluster.cluster, cluster.identities[index])


async def test_a_renewed_certificate_breaks_no_link_and_serves_the_next() -> None:
    """SCENARIOS M14: certificate reload; its key is still the pinned one, so that links stand."""
    cluster = Loopback(2)
    async with cluster.node(0) as survivor:
        async with cluster.node(1) as peer:
            await until(lambda: (survivor.fresh, peer.fresh) == ([1], [0]))
            for index in range(2):
                fresh = renewed(cluster.identities[index], f"renewed {index}")
                assert fresh.pin == cluster.identities[index].pin
                cluster.renew(index, fresh)
            take_up(cluster, survivor, peer)
            await survivor.transport.send(Frame(acknowledged=1))
            await until(lambda: peer.heard(0) == [1])
            assert survivor.transport.counters[1].links_up == 1
            assert survivor.transport.streams == peer.transport.streams == 1
        await until(lambda: not survivor.transport.connected)
        async with cluster.node(1) as peer:  # it knows nothing but the new files
            await until(lambda: (survivor.fresh, peer.fresh) == ([1, 1], [0]))
            await peer.transport.send(Frame(acknowledged=2))
            await until(lambda: survivor.heard(1) == [2])


async def test_a_key_that_is_not_pinned_any_more_has_no_stream() -> None:
    """DESIGN 4, M14: peers are pinned by their key; another pin ends what stands, both ways.

    With the others nothing happens, and when the peer has taken up its new key it is let in.
    """
    cluster = Loopback(3)
    old = cluster.identities[1]
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(i)) for i in range(3)]
        await until(lambda: all(len(node.fresh) == 2 for node in nodes))
        cluster.renew(1, create_tls_identity("validator 1, once more", []))
        take_up(cluster, nodes[0], nodes[2])
        for node in (nodes[0], nodes[2]):
            await until(lambda node=node: node.transport.streams == 1)
            await until(lambda node=node: 1 not in node.transport.connected)
            assert node.rejects(1)["key_replaced"] == 1
        async with cluster.dial(0, old) as call:
            assert await refusal(call, cluster.encoded_hello(1)) is grpc.StatusCode.UNAVAILABLE
        assert nodes[0].fresh.count(2) == nodes[2].fresh.count(0) == 1
        take_up(cluster, nodes[1])
        await until(lambda: all(len(node.transport.connected) == 2 for node in nodes))
        await until(lambda: nodes[0].fresh.count(1) == 2)
        await nodes[0].transport.send(Frame(acknowledged=3))
        await until(lambda: nodes[1].heard(0) == nodes[2].heard(0) == [3])
        assert nodes[0].transport.counters[2].links_up == 1


async def test_a_connection_of_an_old_key_opens_no_further_stream() -> None:
    """Standing connections were let in by the handshake; streams are held against today's pins."""
    cluster = Loopback(2)
    old = cluster.identities[1]
    async with cluster.node(0) as node, cluster.dialled(0, old) as open_stream:
        first = open_stream()
        await first.write(cluster.encoded_hello(1))
        await until(lambda: node.transport.counters[1].streams_accepted == 1)
        cluster.renew(1, create_tls_identity("validator 1, once more", []))
        take_up(cluster, node)
        assert await refusal(first, None) is grpc.StatusCode.ABORTED
        again = await refusal(open_stream(), cluster.encoded_hello(1))
        assert again is grpc.StatusCode.PERMISSION_DENIED
        assert node.transport.stranger_rejects["stranger"] == 1
        assert node.transport.streams == 0


async def test_two_quick_renewals_never_run_one_link_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second comes while the first link still closes: its successor waits for it all the same.

    A link has one queue and one state, which two runs would take from each other.
    """
    running, at_once = 0, []
    may_close = asyncio.Event()

    async def dial(_: OutgoingLink) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        try:
            await asyncio.Event().wait()
        finally:
            await may_close.wait()
            running -= 1

    monkeypatch.setattr(OutgoingLink, "_dial", dial)
    cluster = Loopback(2)
    async with cluster.node(0) as node:
        await until(lambda: at_once == [1])
        for name in ("once", "twice", "again"):
            cluster.renew(1, create_tls_identity(f"validator 1, {name}", []))
            take_up(cluster, node)
            if name != "twice":  # before the task that was made has begun, and while it waits
                for _ in range(10):
                    await asyncio.sleep(0)
        may_close.set()
        await until(lambda: len(at_once) == 2)
        assert at_once == [1, 1]


async def test_peers_are_dialled_where_the_new_file_says() -> None:
    """An address may change with the certificates; it is used at the next reconnect."""
    cluster = Loopback(2)
    async with cluster.node(0) as survivor:
        async with cluster.node(1):
            await until(lambda: survivor.fresh == [1])
        moved = Loopback(2).cluster.validators[1].peer
        cluster.move(1, moved)
        take_up(cluster, survivor)
        async with cluster.node(1, listen=moved):
            await until(lambda: survivor.fresh == [1, 1])
