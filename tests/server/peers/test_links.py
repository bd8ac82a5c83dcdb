"""Our links to the peers: they come up, break, come back, fill and drain."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from grpc import aio
from half_open import Proxy
from loopback import QUICK, Inhabitant, Loopback, until

from qbft.core.messages import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.errors import ClusterError, TransportError
from qbft.transport import Frame
from qbft_server.peers.events import NoEvents

pytestmark = pytest.mark.real_clock


def numbered(number: int) -> Frame:
    """A frame that can be told from others."""
    return Frame(acknowledged=number)


async def all_up(nodes: list[Inhabitant]) -> None:
    """Wait until every node knows that every link of its own is fresh."""
    await until(lambda: all(len(set(node.fresh)) == len(nodes) - 1 for node in nodes))


async def test_frames_arrive_in_order_at_every_peer() -> None:
    """DESIGN, one driver: a broadcast reaches each peer once, and each link keeps its order."""
    cluster = Loopback(4)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(cluster.node(i)) for i in range(4)]
        await all_up(nodes)
        for number in range(1, 101):
            await nodes[0].transport.send(numbered(number))
        await nodes[0].transport.send(numbered(999), to=2)
        await until(lambda: all(len(node.heard(0)) >= 100 for node in nodes[1:]))
        await until(lambda: 999 in nodes[2].heard(0))
        assert nodes[1].heard(0) == list(range(1, 101))
        assert nodes[2].heard(0) == [*range(1, 101), 999]
        assert nodes[0].frames == []
        sent = nodes[0].transport.counters[1]
        received = nodes[1].transport.counters[0]
        assert sent.frames_sent == received.frames_received == 100
        assert sent.bytes_sent == received.bytes_received > 0


async def test_a_peer_that_restarts_is_dialled_again_and_reported_fresh() -> None:
    """SCENARIOS M14: after a reset the link comes back by itself, and the replica is told."""
    cluster = Loopback(2)
    async with cluster.node(0) as survivor:
        async with cluster.node(1) as peer:
            await all_up([survivor, peer])
        await until(lambda: not survivor.transport.connected)
        await survivor.transport.send(numbered(1))  # lost, as on any broken link
        async with cluster.node(1) as peer:
            await until(lambda: survivor.fresh == [1, 1])
            await survivor.transport.send(numbered(2))
            await until(lambda: peer.heard(0) == [2])
        assert survivor.transport.counters[1].links_up == 2
        assert survivor.transport.counters[1].frames_dropped == 1


@pytest.mark.bites("outgoing_frames_max")
async def test_a_full_queue_drops_frames_until_the_loss_is_reported() -> None:
    """DESIGN, reliable links: a full queue marks the peer lagging, a drained one fresh."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, outgoing_frames_max=10)
    async with cluster.transport(0, limits=limits) as sender, cluster.node(1) as peer:
        assert (await sender.receive()).fresh == (1,)
        for number in range(1, 16):  # without a pause: nothing is written meanwhile
            await sender.send(numbered(number))
        assert sender.queued(1)[0] == 10
        await until(lambda: len(peer.frames) == 10)
        await sender.send(numbered(50))  # drained, but the loss is not reported yet
        assert (await sender.receive()).fresh == (1,)
        await sender.send(numbered(51))
        await until(lambda: 51 in peer.heard(0))
        assert peer.heard(0) == [*range(1, 11), 51]
        assert sender.counters[1].times_lagging == 1
        assert sender.counters[1].frames_dropped == 6


@pytest.mark.bites("outgoing_bytes_max")
async def test_a_queue_is_bounded_in_bytes() -> None:
    """DESIGN, bounds: every queue has a limit in bytes too."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, outgoing_bytes_max=100)
    async with cluster.transport(0, limits=limits) as sender, cluster.node(1):
        await sender.receive()
        for _ in range(500):
            await sender.send(numbered(7))
        assert 0 < sender.queued(1)[1] <= 100
        assert sender.counters[1].times_lagging == 1


async def test_a_peer_that_does_not_read_costs_a_bounded_queue_and_no_one_else() -> None:
    """SCENARIOS F16, M15: a slow peer fills its own queue; sending never waits, others get all."""
    cluster = Loopback(3)
    limits = dataclasses.replace(QUICK, incoming_frames_max=8, outgoing_frames_max=64)
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(cluster.node(0, limits=limits))
        quick = await stack.enter_async_context(cluster.node(1, limits=limits))
        slow = await stack.enter_async_context(cluster.transport(2, limits=limits))
        await until(lambda: set(sender.fresh) == {1, 2})
        big = Frame(proposals=(Proposal(InstanceId("big", 1), bytes(500_000)),))
        rounds = 0
        while not sender.transport.counters[2].times_lagging:
            await sender.transport.send(big)
            rounds += 1
            await until(lambda sent=rounds: len(quick.frames) == sent)
        assert sender.transport.queued(2)[0] <= 64
        assert sender.transport.counters[1].frames_dropped == 0
        assert len((await slow.receive()).frames) <= 8


async def test_batches_are_bounded_and_take_peers_in_turn() -> None:
    """DESIGN, one driver: a turn drains at most so many messages, round-robin by peer."""
    cluster = Loopback(3)
    limits = dataclasses.replace(QUICK, batch_frames_max=6)
    async with AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(cluster.node(i)) for i in (0, 1)]
        reader = await stack.enter_async_context(cluster.transport(2, limits=limits))
        await until(lambda: all(2 in sender.fresh for sender in senders))
        for number in range(100):
            await senders[0].transport.send(numbered(number), to=2)
        for number in range(3):
            await senders[1].transport.send(numbered(number), to=2)
        await until(lambda: reader.counters[0].frames_received == 100)
        await until(lambda: reader.counters[1].frames_received == 3)
        batch = await reader.receive()
        assert len(batch.frames) == 6
        assert sorted(peer for peer, _ in batch.frames) == [0, 0, 0, 1, 1, 1]


async def test_a_full_frame_does_not_hold_up_the_loop() -> None:
    """DESIGN, async: while a frame of thousands of votes is read, the event loop has its turns.

    A receive that is cancelled in the middle of it leaves the frame to the next one.
    """
    cluster = Loopback(2)
    instance = InstanceId("t", 1)
    digest = b"d" * 32
    proof = Proof(VoteSignature(BatchHeader(b"s" * 16, 1, b"g" * 64), 1, 0, ()))
    commits = tuple(
        Message(MessageType.COMMIT, instance, source, 1, digest, proof=proof) for source in (0, 1)
    )
    frame = Frame(certificates=(Certificate(instance, 1, digest, commits),) * 1_000)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(cluster.node(0))
        reader = await stack.enter_async_context(cluster.transport(1))
        await until(lambda: 1 in sender.fresh)
        await until(lambda: 0 in reader.connected)
        with suppress(TimeoutError):  # what there is but the frame
            async with asyncio.timeout(0.2):
                await reader.receive()
        await sender.transport.send(frame)
        await until(lambda: reader.counters[0].frames_received == 1)
        given_up = asyncio.create_task(reader.receive())
        for _ in range(4):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        other = asyncio.create_task(take_turns())
        batch = await reader.receive()
        other.cancel()
        assert [peer for peer, _ in batch.frames] == [0]
        assert len(batch.frames[0][1].certificates) == 1_000
        assert turns >= 3


async def test_a_closed_transport_says_so_and_leaves_no_task() -> None:
    """DESIGN, async: cancelling leaves nothing behind; sending and receiving then fail."""
    cluster = Loopback(2)
    before = asyncio.all_tasks()
    transport = cluster.transport(0)
    async with transport:
        waiting = asyncio.create_task(transport.receive())
        await until(lambda: transport.counters[1].dials > 0)
    with pytest.raises(TransportError):
        await waiting
    with pytest.raises(TransportError):
        await transport.send(numbered(1))
    with pytest.raises(TransportError):
        await transport.receive()
    assert asyncio.all_tasks() == before


async def test_cancelling_whoever_holds_the_transport_leaves_no_task() -> None:
    """DESIGN, async: `task.cancel()` at any moment, here while links are up and while they dial."""
    cluster = Loopback(3)
    before = asyncio.all_tasks()
    async with cluster.node(1) as peer:
        for reached in (0, 1):
            task = asyncio.create_task(_hold(cluster))
            if reached:
                await until(lambda: peer.transport.connected)
            else:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not peer.transport.streams)
    assert asyncio.all_tasks() == before


async def _hold(cluster: Loopback) -> None:
    async with cluster.transport(0) as transport:
        while True:
            await transport.receive()


async def test_a_port_in_use_is_one_clear_error() -> None:
    """Issue 2, bad input: a port in use is one line that names the key and the value."""
    cluster = Loopback(2)
    before = asyncio.all_tasks()
    async with cluster.transport(0) as transport:
        with pytest.raises(ClusterError, match=r"listen\.peer = '127\.0\.0\.1:\d+'"):
            await cluster.transport(0).__aenter__()
        assert transport.port > 0
    assert asyncio.all_tasks() == before


async def test_dialling_backs_off() -> None:
    """SCENARIOS M14: a peer that is away is dialled ever more rarely, with jitter."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, backoff_seconds_min=0.05, backoff_seconds_max=60.0)
    async with cluster.transport(0, limits=limits) as transport:
        started = asyncio.get_running_loop().time()
        await until(lambda: transport.counters[1].dials >= 4)
        assert asyncio.get_running_loop().time() - started >= 3 * limits.backoff_seconds_min


async def test_a_peer_that_dials_is_dialled_at_once() -> None:
    """SCENARIOS M14: a peer that is back does not wait until the other's next attempt is due.

    The next would come after half a minute at least; and a peer that dials again and again cuts no
    further wait short.
    """

    class Downs(NoEvents):
        def link_down(self, peer: int, why: str) -> None:
            del peer
            downs.append(why)

    downs: list[str] = []
    cluster = Loopback(2)
    limits = dataclasses.replace(
        QUICK, backoff_seconds_min=30.0, backoff_seconds_max=60.0, stable_seconds_min=3_600.0
    )
    async with cluster.node(0, limits=limits, events=Downs()) as waiting:
        dials = waiting.transport.counters[1]
        await until(lambda: downs)
        async with cluster.node(1) as peer, asyncio.timeout(20):
            await all_up([waiting, peer])
        assert dials.dials == 2
        async with cluster.node(1) as peer:
            await until(lambda: peer.fresh == [0])
            await peer.transport.send(numbered(1))
            await until(lambda: waiting.heard(1) == [1])
        assert dials.dials == 2


async def test_a_hello_that_does_not_come_is_not_waited_for() -> None:
    """SCENARIOS M14: a peer whose call ends without a word; the dialler gives up, and dials again.

    A handler that is cancelled has gRPC tell its caller nothing, not even that the call has ended.
    """
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, hello_seconds_max=0.2)
    calls = 0

    async def exchange(_requests: object, context: Any) -> None:
        nonlocal calls
        calls += 1
        await context.read()
        if calls <= 2:
            raise asyncio.CancelledError
        await context.write(cluster.encoded_hello(1))
        await asyncio.get_running_loop().create_future()

    server = aio.server()
    async with cluster.node(0, limits=limits) as node:
        try:
            await cluster.serve(server, 1, exchange)
            await until(lambda: node.fresh == [1])
            assert calls == 3
            assert node.transport.counters[1].dials >= calls
            assert node.transport.counters[1].links_up == 1
        finally:
            await server.stop(None)


async def test_half_open_tcp_is_found_on_both_sides_and_dialled_again() -> None:
    """SCENARIOS M14: half-open TCP -> keepalive finds it, reconnect with backoff."""
    cluster = Loopback(2)
    limits = dataclasses.replace(QUICK, keepalive_seconds=0.2, keepalive_timeout_seconds=0.2)
    proxy = Proxy(cluster.cluster.validators[1].peer)
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(cluster.node(1, limits=limits))
        cluster.move(1, await stack.enter_async_context(proxy.listening()))
        node = await stack.enter_async_context(cluster.node(0, limits=limits))
        await until(lambda: node.fresh == [1])
        proxy.cut()
        await until(lambda: not node.transport.connected)
        await until(lambda: peer.transport.streams == 0)
        proxy.mend()
        await until(lambda: node.fresh == [1, 1])
        await node.transport.send(numbered(8))
        await until(lambda: peer.heard(0) == [8])
