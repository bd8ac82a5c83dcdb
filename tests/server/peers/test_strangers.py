"""Who may not come in at a node's peer port, and what a hostile peer or stranger can cost."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import pytest
from grpc import aio
from loopback import QUICK, Inhabitant, Loopback, until

from qbft.transport import Frame
from qbft.wire import Hello, WireLimits, encode_frame
from qbft.wire.v1 import peer_pb2
from qbft_server.files import peer_connections_max
from qbft_server.identity import create_tls_identity
from qbft_server.peers import PeerLimits
from qbft_server.peers.stream import is_message

pytestmark = pytest.mark.real_clock


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a stranger or a peer can trigger at will is counted, never logged above debug."""
    yield
    gc.collect()  # a task whose exception nobody fetched complains when it goes
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def refusal(call: Any, hello: bytes | None) -> grpc.StatusCode:
    """The status with which a stream ends after this hello."""
    async with asyncio.timeout(60):
        if hello is not None:
            with suppress(aio.AioRpcError):
                await call.write(hello)
        while not call.done():
            with suppress(aio.AioRpcError):
                await call.read()
        return await call.code()


@pytest.mark.parametrize("shows_certificate", [False, True])
async def test_a_stranger_does_not_pass_the_handshake(shows_certificate: bool) -> None:
    """HARDENING D11: without a certificate of the cluster file there is no stream at all."""
    cluster = Loopback(2)
    identity = create_tls_identity("validator 1 of loopback", []) if shows_certificate else None
    async with cluster.node(0) as node:
        async with cluster.dial(0, identity) as call:
            assert await refusal(call, cluster.encoded_hello(1)) is grpc.StatusCode.UNAVAILABLE
        assert node.transport.streams == 0
        assert node.transport.counters[1].streams_accepted == 0


async def test_a_node_does_not_let_itself_in() -> None:
    """A peer address that leads back to the node itself, or a copy of its own key: refused."""
    cluster = Loopback(2)
    async with cluster.node(0) as node, cluster.dial(0, cluster.identities[0]) as call:
        assert await refusal(call, cluster.encoded_hello(0)) is grpc.StatusCode.UNAVAILABLE
        assert node.transport.streams == 0


async def test_the_dialer_trusts_only_the_pinned_key() -> None:
    """DESIGN 4: a node that answers at a peer's address with another key hears nothing from us."""
    cluster = Loopback(2)
    impostor = Loopback(2)
    impostor.cluster = cluster.cluster.model_copy(
        update={"validators": (cluster.cluster.validators[0], impostor.cluster.validators[1])}
    )
    impostor.identities[0] = cluster.identities[0]
    impostor_address = impostor.cluster.validators[1].peer
    misled = cluster.cluster.validators[1].model_copy(update={"peer": impostor_address})
    cluster.cluster = cluster.cluster.model_copy(
        update={"validators": (cluster.cluster.validators[0], misled)}
    )
    async with impostor.node(1) as false_peer, cluster.node(0) as node:
        await until(lambda: node.transport.counters[1].dials >= 3)
        assert not node.transport.connected
        assert false_peer.transport.counters[0].streams_accepted == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster_id": bytes(32)}, "wrong_cluster"),
        ({"validator": 0}, "wrong_validator"),
        ({"protocol_min": 1_000, "protocol_max": 1_001}, "wrong_version"),
    ],
)
async def test_a_hello_that_does_not_fit_is_refused(changes: dict[str, Any], reason: str) -> None:
    """SCENARIOS F14: wrong cluster id or version -> FAILED_PRECONDITION, counted by reason."""
    cluster = Loopback(2)
    async with cluster.node(0) as node, cluster.dial(0, cluster.identities[1]) as call:
        hello = cluster.encoded_hello(1, **changes)
        assert await refusal(call, hello) is grpc.StatusCode.FAILED_PRECONDITION
        assert node.rejects(1) == {reason: 1}
        assert node.frames == []


async def test_a_hello_that_is_none_is_refused() -> None:
    """Hostile input is a value: garbage instead of a hello ends the stream and is counted."""
    cluster = Loopback(2)
    async with cluster.node(0) as node, cluster.dial(0, cluster.identities[1]) as call:
        assert await refusal(call, b"\xff" * 40) is grpc.StatusCode.FAILED_PRECONDITION
        assert sum(node.rejects(1).values()) == 1


async def test_nodes_of_different_clusters_do_not_connect() -> None:
    """SCENARIOS F14, both ends real: the dialer gives up and counts no link."""
    cluster = Loopback(2)
    async with (
        cluster.node(0) as node,
        cluster.node(1, hello=lambda _: cluster.hello(1, cluster_id=bytes(32))) as other,
    ):
        await until(lambda: node.rejects(1).get("wrong_cluster", 0) >= 2)
        assert not node.transport.connected
        assert not other.transport.connected


async def test_a_silent_stream_is_closed() -> None:
    """SCENARIOS F16: whoever opens a stream and says nothing is cut off."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, hello_seconds_max=0.1)
    async with cluster.node(0, limits=limits) as node:
        async with cluster.dial(0, cluster.identities[1]) as call:
            assert await refusal(call, None) is grpc.StatusCode.FAILED_PRECONDITION
        assert node.rejects(1) == {"hello_timeout": 1}
        assert node.transport.streams == 0


@pytest.mark.parametrize("times", [1, 2])
async def test_a_stream_that_is_ended_in_the_middle_of_its_hello_is_told(times: int) -> None:
    """M14, seen in the renewal of TLS: a link was up for its dialler, and nobody read it any more.

    Where gRPC is cut off in a write, or cancelled twice, it never tells that a call has ended.
    """
    cluster = Loopback(2)

    def end() -> None:
        for stream in node.transport._acceptor._greeting.values():
            stream.end("key_replaced")

    def hello(_: int) -> Hello:
        for _ in range(times):
            asyncio.get_running_loop().call_soon(end)
        return cluster.hello(0)

    async with (
        cluster.node(0, hello=hello) as node,
        cluster.dial(0, cluster.identities[1]) as call,
        asyncio.timeout(60),
    ):
        await call.write(cluster.encoded_hello(1))
        assert is_message(await call.read())
        with pytest.raises(aio.AioRpcError, match="this key is not the pinned one any more"):
            await call.read()
        assert node.rejects(1) == {"key_replaced": 1}
        assert node.transport.streams == 0


async def test_the_newer_stream_of_a_peer_replaces_the_older() -> None:
    """A peer that restarted may be back before its old stream is known to be dead."""
    cluster = Loopback(2)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(cluster.node(0))
        older = await stack.enter_async_context(cluster.dial(0, cluster.identities[1]))
        await greet(cluster, older)
        await older.write(encode_frame(Frame(acknowledged=1)))
        await until(lambda: node.heard(1) == [1])
        newer = await stack.enter_async_context(cluster.dial(0, cluster.identities[1]))
        await greet(cluster, newer)
        assert await refusal(older, None) is grpc.StatusCode.ABORTED
        await newer.write(encode_frame(Frame(acknowledged=2)))
        await until(lambda: node.heard(1) == [1, 2])
        assert node.transport.streams == 1
        assert node.rejects(1) == {"stream_replaced": 1}


async def greet(cluster: Loopback, call: Any) -> None:
    """Say and hear hello as validator 1."""
    async with asyncio.timeout(60):
        await call.write(cluster.encoded_hello(1))
        await call.read()


@pytest.mark.bites("rejects_max")
async def test_a_frame_of_nothing_but_refusals_is_not_read_to_its_end() -> None:
    """DESIGN, bounds: each refusal costs more than reading what is good, so few are enough."""
    cluster = Loopback(2)
    message = peer_pb2.PeerMessage()
    for _ in range(1_000):
        message.frame.proposals.add()
    async with cluster.node(0) as node, cluster.dial(0, cluster.identities[1]) as call:
        await greet(cluster, call)
        await call.write(message.SerializeToString())
        await until(lambda: node.rejects(1))
        assert sum(node.rejects(1).values()) == WireLimits().rejects_max


async def test_a_thousand_streams_of_one_peer_hold_two_places() -> None:
    """SCENARIOS F16: 1,000 streams from one peer -> bounded tasks, and other peers get through."""
    cluster = Loopback(3)
    limits = dataclasses.replace(QUICK, streams_per_connection_max=100)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(cluster.node(0, limits=limits))
        await flood(cluster, stack, connections=10, streams=100)
        await until(lambda: sum(node.rejects(1).values()) > 100)
        assert node.transport.streams <= 2
        honest = await stack.enter_async_context(cluster.node(2))
        await until(lambda: 0 in honest.fresh)
        await honest.transport.send(Frame(acknowledged=5))
        await until(lambda: node.heard(2) == [5])


async def flood(cluster: Loopback, stack: AsyncExitStack, connections: int, streams: int) -> None:
    """Open many streams as validator 1 and say nothing on them."""
    for _ in range(connections):
        open_stream = await stack.enter_async_context(cluster.dialled(0, cluster.identities[1]))
        for _ in range(streams):
            open_stream()


async def test_connecting_and_vanishing_leaves_no_task() -> None:
    """SCENARIOS F16: 100 times connect, speak or not, and vanish -> nothing is left of it."""
    cluster = Loopback(2)
    async with cluster.node(0) as node:
        for attempt in range(100):
            async with cluster.dial(0, cluster.identities[1]) as call:
                if attempt % 2:
                    await greet(cluster, call)
                if attempt % 4 == 3:
                    await call.write(encode_frame(Frame(acknowledged=attempt)))
                    call.cancel()
        await until(lambda: node.transport.streams == 0)
        await until(lambda: len(handlers()) == 0)


def handlers() -> list[asyncio.Task[Any]]:
    """The tasks that serve a stream of ours."""
    return [t for t in asyncio.all_tasks() if "_exchange" in repr(t.get_coro())]


async def test_an_oversize_message_ends_the_stream() -> None:
    """HARDENING U7: size comes first; what is over the limit is never parsed."""
    cluster = Loopback(2)
    limits = PeerLimits(message_bytes_max=10_000)
    async with cluster.node(0, limits=limits) as node:
        async with cluster.dial(0, cluster.identities[1]) as call:
            await greet(cluster, call)
            await call.write(bytes(10_001))
            assert await refusal(call, None) is not grpc.StatusCode.OK
        await until(lambda: node.transport.streams == 0)
        assert node.frames == []
        assert node.transport.counters[1].frames_received == 0


async def test_a_frame_that_cannot_be_read_is_counted_and_the_stream_goes_on() -> None:
    """DESIGN, errors: hostile input is a reject reason, never an exception that escapes."""
    cluster = Loopback(2)
    async with cluster.node(0) as node, cluster.dial(0, cluster.identities[1]) as call:
        await greet(cluster, call)
        await call.write(b"\xff" * 100)
        await call.write(encode_frame(Frame(acknowledged=3)))
        await until(lambda: node.heard(1) == [3])
        assert sum(node.rejects(1).values()) == 1


async def test_a_flood_waits_in_the_peers_own_socket() -> None:
    """DESIGN, bounds: what nobody receives is buffered up to the limit and not read beyond it."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, incoming_frames_max=10)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(cluster.transport(0, limits=limits))
        call = await stack.enter_async_context(cluster.dial(0, cluster.identities[1]))
        await greet(cluster, call)
        for number in range(1, 101):
            await call.write(encode_frame(Frame(acknowledged=number)))
        await until(lambda: node.counters[1].frames_received == 10)
        for _ in range(100):
            await asyncio.sleep(0)
        assert node.counters[1].frames_received == 10
        reader = Inhabitant(node)
        task = asyncio.create_task(reader.live())
        await until(lambda: reader.heard(1) == list(range(1, 101)))
        task.cancel()
        await asyncio.wait([task])


async def test_an_acceptor_that_talks_back_is_cut_off() -> None:
    """Frames flow from dialer to acceptor only: whoever talks back breaks the protocol."""
    cluster = Loopback(2)
    server = aio.server()

    async def exchange(_requests: object, context: Any) -> None:
        await context.read()
        await context.write(cluster.encoded_hello(1))
        await context.write(b"more")
        await asyncio.Event().wait()

    await cluster.serve(server, 1, exchange)
    async with cluster.node(0) as node:
        await until(lambda: node.rejects(1).get("unexpected_message", 0) >= 2)
        assert node.transport.counters[1].dials >= 2
    await server.stop(None)


async def test_connections_of_strangers_leave_files_for_the_node() -> None:
    """DESIGN, bounds: every connection is an open file, and the journal needs some."""
    cluster = Loopback(2)
    async with cluster.node(0):
        before = open_files()
        host, _, port = cluster.cluster.validators[0].peer.rpartition(":")
        allowed = peer_connections_max(2)
        async with AsyncExitStack() as stack:
            for _ in range(allowed + 60):
                stranger = stack.enter_context(socket.socket())
                stranger.setblocking(False)
                await asyncio.get_running_loop().sock_connect(stranger, (host, int(port)))
            await until(lambda: open_files() >= before + allowed + 60 + allowed // 2)
            for _ in range(20):
                await asyncio.sleep(0.01)
                assert open_files() <= before + allowed + 60 + allowed + 8


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
