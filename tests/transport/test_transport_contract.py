"""One suite for every transport: the contract of `qbft.transport.Transport`.

In memory on the virtual clock; over gRPC on loopback, with mutual TLS, on the real one.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import ClassVar

import pytest
from transport_kinds import collect, links, numbered, send_now, until_fresh

from qbft.errors import TransportError
from qbft.memory import BATCH_FRAMES_MAX


class Contract:
    """What every transport keeps; see its subclasses."""

    kind: ClassVar[str]

    async def test_each_link_keeps_its_order(self) -> None:
        """DESIGN, one driver: what a node sends reaches every other node once, in order."""
        async with links(self.kind, 3) as net:
            for number in range(1, 201):
                await net.transports[number % 2].send(numbered(number))
            got = await collect(net.transports[2], 200)
            assert [number for peer, number in got if peer == 0] == list(range(2, 201, 2))
            assert [number for peer, number in got if peer == 1] == list(range(1, 201, 2))
            assert [number for _, number in await collect(net.transports[0], 100)] == list(
                range(1, 201, 2)
            )

    async def test_a_frame_for_one_reaches_one(self) -> None:
        """`send(frame, to)` is for one, `send(frame)` for all but oneself, on one ordered link."""
        async with links(self.kind, 3) as net:
            sender, other, target = net.transports
            await sender.send(numbered(1), to=2)
            await sender.send(numbered(2))
            await sender.send(numbered(3), to=2)
            await sender.send(numbered(4))
            assert await collect(target, 4) == [(0, number) for number in (1, 2, 3, 4)]
            assert await collect(other, 2) == [(0, 2), (0, 4)]

    async def test_sending_never_waits_for_a_slow_peer(self) -> None:
        """DESIGN, reliable links: a peer that does not read costs a bounded queue, no time."""
        async with links(self.kind, 3, queue_frames=50) as net:
            sender, quick, _ = net.transports
            for number in range(1, 301):
                send_now(sender, numbered(number))
                assert await collect(quick, 1) == [(0, number)]

    async def test_a_full_queue_loses_and_reports_fresh_when_it_has_drained(self) -> None:
        """DESIGN, reliable links: the first frames arrive, the loss is told, then it goes on.

        Between the loss and its report nothing is queued, for a frame may promise (`covers`) that
        the receiver lacks nothing.
        """
        async with links(self.kind, 2, queue_frames=10) as net:
            sender, peer = net.transports
            for number in range(1, 16):
                send_now(sender, numbered(number))
            assert await collect(peer, 10) == [(0, number) for number in range(1, 11)]
            send_now(sender, numbered(50))
            assert await until_fresh(sender) == (1,)
            send_now(sender, numbered(51))
            assert await collect(peer, 1) == [(0, 51)]

    async def test_a_loss_is_reported_once(self) -> None:
        """A link that lost many frames is fresh once; one that lost none, never."""
        async with links(self.kind, 3, queue_frames=10) as net:
            sender, lagging, _ = net.transports
            for number in range(1, 31):
                send_now(sender, numbered(number), to=1)
            await collect(lagging, 10)
            assert await until_fresh(sender) == (1,)
            await net.transports[2].send(numbered(1), to=0)
            async with asyncio.timeout(60):
                batch = await sender.receive()
            assert batch.fresh == ()
            assert [peer for peer, _ in batch.frames] == [2]

    async def test_batches_are_bounded_and_peers_served_in_turn(self) -> None:
        """DESIGN, one driver: a flood of one peer delays the others' by few, not by all."""
        async with links(self.kind, 3) as net:
            for number in range(1, 201):
                await net.transports[0].send(numbered(number), to=2)
            for number in range(1, 4):
                await net.transports[1].send(numbered(number), to=2)
            await net.arrived(2, 0, 200)
            await net.arrived(2, 1, 3)
            async with asyncio.timeout(60):
                batch = await net.transports[2].receive()
            assert len(batch.frames) == BATCH_FRAMES_MAX
            peers = [peer for peer, _ in batch.frames]
            assert sorted(peers[:6]) == [0, 0, 0, 1, 1, 1]
            assert all(one != other for one, other in pairwise(peers[:6]))

    async def test_a_closed_transport_raises(self) -> None:
        """DESIGN, errors: whoever waits, receives or sends hears that nothing will ever come."""
        async with links(self.kind, 2) as net:
            closing, other = net.transports
            waiting = asyncio.create_task(closing.receive())
            await asyncio.sleep(0)
            await net.close(0)
            with pytest.raises(TransportError):
                await waiting
            with pytest.raises(TransportError):
                await closing.receive()
            with pytest.raises(TransportError):
                await closing.send(numbered(1))
            send_now(other, numbered(2))

    async def test_cancelling_a_receive_loses_nothing(self) -> None:
        """DESIGN, async: a receive cancelled at any moment leaves its frames to the next."""
        async with links(self.kind, 2) as net:
            sender, receiver = net.transports
            taken: list[tuple[int, int]] = []
            for number in range(1, 31):
                waiting = asyncio.create_task(receiver.receive())
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                await sender.send(numbered(number), to=1)
                if number % 2:
                    await net.arrived(1, 0, number)
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    taken += [(peer, frame.acknowledged) for peer, frame in waiting.result().frames]
            taken += await collect(receiver, 30 - len(taken))
            assert taken == [(0, number) for number in range(1, 31)]

    async def test_a_peer_that_is_gone_costs_nothing(self) -> None:
        """SCENARIOS M15: with one peer closed, sending goes on at once, and the others hear all."""
        async with links(self.kind, 3, queue_frames=20) as net:
            sender, other, _ = net.transports
            await net.close(2)
            for number in range(1, 101):
                send_now(sender, numbered(number))
                assert await collect(other, 1) == [(0, number)]


class TestMemory(Contract):
    """In memory, on the virtual clock."""

    kind = "memory"


@pytest.mark.real_clock
class TestGrpc(Contract):
    """Over gRPC on loopback, with mutual TLS."""

    kind = "grpc"
