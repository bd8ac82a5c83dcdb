"""The in-memory transport: bounded, ordered links between the nodes of one process.

For tests, examples and embedding; the contract is `qbft.transport.Transport`'s, which the gRPC
transport keeps as well.
"""

from __future__ import annotations

import asyncio
from collections import deque

from qbft.errors import TransportError
from qbft.transport import Batch, Frame

QUEUE_FRAMES_MAX = 1_024
"""Frames that wait on one link; a further one is lost and the link lags."""

BATCH_FRAMES_MAX = 64
"""Frames handed over at once."""


class MemoryNetwork:
    """Links between all of `nodes` nodes; each link holds at most `queue_frames_max` frames."""

    def __init__(self, nodes: int, queue_frames_max: int = QUEUE_FRAMES_MAX) -> None:
        self.queue_frames_max = queue_frames_max
        self._transports = [MemoryTransport(self, index) for index in range(nodes)]

    def transport(self, index: int) -> MemoryTransport:
        """Give one node's end of its links."""
        return self._transports[index]

    def peers(self, index: int) -> list[MemoryTransport]:
        """Give the ends of all others."""
        return [other for other in self._transports if other.index != index]

    def carry(self, source: int, to: int, frame: Frame) -> None:
        """Bring a frame from one node to another: a worse network overrides this."""
        self._transports[source].put(self._transports[to], frame)


class MemoryTransport:
    """One node's links to all others.

    After a loss nothing is queued on that link until the loss has been reported as `fresh`, so that
    what the sender promises in a frame (`Frame.covers`) holds when it arrives.
    """

    def __init__(self, network: MemoryNetwork, index: int) -> None:
        self.index = index
        self._network = network
        self._inboxes: dict[int, deque[Frame]] = {}
        self._turns: deque[int] = deque()
        self._lagging: set[int] = set()
        self._fresh: set[int] = set()
        self._arrived = asyncio.Event()
        self._closed = False

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Queue a frame for one peer, or for all; a full or closed link loses it.

        Raises:
            TransportError: this end is closed.
        """
        if self._closed:
            raise TransportError(f"the links of node {self.index} are closed")
        targets = [peer.index for peer in self._network.peers(self.index)] if to is None else [to]
        for target in targets:
            self._network.carry(self.index, target, frame)

    async def receive(self) -> Batch:
        """Wait for frames, or for a lagging link to drain; peers take turns.

        Raises:
            TransportError: this end is closed.
        """
        while not self._closed:
            batch = self._take()
            if batch.frames or batch.fresh:
                return batch
            self._arrived.clear()
            await self._arrived.wait()
        raise TransportError(f"the links of node {self.index} are closed")

    def close(self) -> None:
        """Close this end: waiting and later calls fail, and what arrives is lost."""
        self._closed = True
        self._inboxes.clear()
        self._arrived.set()

    def put(self, peer: MemoryTransport, frame: Frame) -> None:
        """Put a frame on the link to a peer, or lose it there."""
        if peer.index in self._lagging or not peer._queue(self.index, frame):
            self._lagging.add(peer.index)

    def _queue(self, source: int, frame: Frame) -> bool:
        """Queue a frame of a peer if there is room."""
        if self._closed:
            return False
        inbox = self._inboxes.get(source)
        if inbox is None:
            inbox = self._inboxes[source] = deque()
            self._turns.append(source)
        if len(inbox) >= self._network.queue_frames_max:
            return False
        inbox.append(frame)
        self._arrived.set()
        return True

    def _take(self) -> Batch:
        """Take one frame of each peer in turn, until there is none or the batch is full."""
        frames: list[tuple[int, Frame]] = []
        turns, idle = self._turns, 0
        while idle < len(turns) and len(frames) < BATCH_FRAMES_MAX:
            source = turns[0]
            turns.rotate(-1)
            inbox = self._inboxes[source]
            if not inbox:
                idle += 1
                continue
            idle = 0
            frames.append((source, inbox.popleft()))
            if not inbox:
                self._network.transport(source)._note_drained(self.index)  # noqa: SLF001 - one module
        fresh, self._fresh = tuple(sorted(self._fresh)), set()
        self._lagging.difference_update(fresh)
        return Batch(tuple(frames), fresh)

    def _note_drained(self, peer: int) -> None:
        """Hear that a link is empty again; if it had lost something, that is to be reported."""
        if peer in self._lagging:
            self._fresh.add(peer)
            self._arrived.set()
