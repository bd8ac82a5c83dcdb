"""The two transports of this project behind one set of words."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from loopback import QUICK, Loopback, until

from qbft.memory import BATCH_FRAMES_MAX, MemoryNetwork
from qbft.transport import Frame, Transport
from qbft_server.peers import GrpcTransport

DEADLINE_SECONDS = 60.0
"""After which a wait has failed: of the virtual clock here, of the real one there."""


class Links:
    """Nodes whose links are up; what came up at the start has been reported."""

    def __init__(self, transports: list[Transport]) -> None:
        self.transports = transports

    async def arrived(self, to: int, source: int, frames: int) -> None:
        """Wait until so many frames of a node are there to be received."""
        raise NotImplementedError

    async def close(self, index: int) -> None:
        """Close one node's transport."""
        raise NotImplementedError


class MemoryLinks(Links):
    """In memory: what was sent has arrived, and there is nothing to come up."""

    def __init__(self, nodes: int, queue_frames: int) -> None:
        network = MemoryNetwork(nodes, queue_frames)
        self._ends = [network.transport(index) for index in range(nodes)]
        super().__init__(list(self._ends))

    async def arrived(self, to: int, source: int, frames: int) -> None:
        """Nothing to wait for."""

    async def close(self, index: int) -> None:
        """Close one end."""
        self._ends[index].close()


class GrpcLinks(Links):
    """On loopback with mutual TLS."""

    def __init__(self, transports: list[GrpcTransport], stacks: list[AsyncExitStack]) -> None:
        super().__init__(list(transports))
        self._ends = transports
        self._stacks = stacks
        self._before: dict[tuple[int, int], int] = {}

    async def arrived(self, to: int, source: int, frames: int) -> None:
        """Wait for the counter of that peer."""
        counters = self._ends[to].counters[source]
        await until(lambda: counters.frames_received >= frames, DEADLINE_SECONDS)

    async def close(self, index: int) -> None:
        """Leave its block."""
        await self._stacks[index].aclose()


@asynccontextmanager
async def links(kind: str, nodes: int, queue_frames: int = 1_000) -> AsyncIterator[Links]:
    """Nodes with links between all; at most so many frames wait on one."""
    if kind == "memory":
        yield MemoryLinks(nodes, queue_frames)
        return
    limits = dataclasses.replace(
        QUICK, outgoing_frames_max=queue_frames, batch_frames_max=BATCH_FRAMES_MAX
    )
    cluster = Loopback(nodes)
    async with AsyncExitStack() as all_stacks:
        stacks = [await all_stacks.enter_async_context(AsyncExitStack()) for _ in range(nodes)]
        ends = [
            await stack.enter_async_context(cluster.transport(index, limits=limits))
            for index, stack in enumerate(stacks)
        ]
        for end in ends:
            await _all_up(end, nodes - 1)
        yield GrpcLinks(ends, stacks)


async def _all_up(end: Transport, peers: int) -> None:
    up: set[int] = set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(up) < peers:
            up.update((await end.receive()).fresh)


def numbered(number: int) -> Frame:
    """A frame that can be told from others."""
    return Frame(acknowledged=number)


def send_now(transport: Transport, frame: Frame, to: int | None = None) -> None:
    """Send, and fail if that waits for anything at all."""
    sending = transport.send(frame, to)
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
    raise AssertionError("sending waits")


async def collect(transport: Transport, frames: int) -> list[tuple[int, int]]:
    """Receive until there are so many frames: (sender, number) of each, in order."""
    got: list[tuple[int, int]] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(got) < frames:
            batch = await transport.receive()
            assert batch.frames or batch.fresh, "an empty batch"
            got += [(peer, frame.acknowledged) for peer, frame in batch.frames]
    return got


async def until_fresh(transport: Transport) -> tuple[int, ...]:
    """Receive until a link is reported fresh."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            fresh = (await transport.receive()).fresh
            if fresh:
                return fresh
