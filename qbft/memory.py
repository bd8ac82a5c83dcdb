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
    """Links between all of `nodes` nodes."""

    def __init__(self, nodes: int, queue_frames_max: int = QUEUE_FRAMES_MAX) -> None:
        self._transports = [MemoryTransport(self, index) for index in range(nodes)]
        self.queue_frames_max = queue_frames_max

    def transport(self, index: int) -> MemoryTransport:
        """Give one node's end of its links."""
        return self._transports[index]

    def peers(self, index: int) -> list[MemoryTransport]:
        """Give the ends of all others."""
        return [other for other in self._transports if other.index != index]


class MemoryTransport:
    """One node's links to all others."""

    def __init__(self, network: MemoryNetwork, index: int) -> None:
        self.index = index
        self._network = network
        self._inboxes: dict[int, deque[Frame]] = {}
        self._lagging: set[int] = set()
        self._fresh: list[int] = []
        self._arrived = asyncio.Event()
        self._closed = False

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Queue a frame at one peer, or at all; a full or closed link loses it.

        Raises:
            TransportError: this end is closed.
        """
        if self._closed:
            raise TransportError(f"the links of node {self.index} are closed")
        if to is None:
            for peer in self._network.peers(self.index):
                self._offer(peer, frame)
        else:
            self._offer(self._network.transport(to), frame)

    async def receive(self) -> Batch:
        """Wait for frames, or for a lagging link to drain; peers take turns.

        Raises:
            TransportError: this end is closed.
        """
        while not self._fresh and not any(self._inboxes.values()):
            if self._closed:
                raise TransportError(f"the links of node {self.index} are closed")
            self._arrived.clear()
            await self._arrived.wait()
        frames: list[tuple[int, Frame]] = []
        while len(frames) < BATCH_FRAMES_MAX and any(self._inboxes.values()):
            for source in sorted(self._inboxes):
                if self._inboxes[source] and len(frames) < BATCH_FRAMES_MAX:
                    frames.append((source, self._inboxes[source].popleft()))
        fresh, self._fresh = tuple(self._fresh), []
        for source, inbox in self._inboxes.items():
            if not inbox:
                self._network.transport(source)._drained(self.index)  # noqa: SLF001 - one module
        return Batch(tuple(frames), fresh)

    def close(self) -> None:
        """Close this end: waiting and later calls fail, and what arrives is lost."""
        self._closed = True
        self._inboxes.clear()
        self._fresh.clear()
        self._arrived.set()

    def _offer(self, peer: MemoryTransport, frame: Frame) -> None:
        if not peer._take(self.index, frame):
            self._lagging.add(peer.index)

    def _take(self, source: int, frame: Frame) -> bool:
        """Take a frame if there is room."""
        inbox = self._inboxes.setdefault(source, deque())
        if self._closed or len(inbox) >= self._network.queue_frames_max:
            return False
        inbox.append(frame)
        self._arrived.set()
        return True

    def _drained(self, peer: int) -> None:
        """Hear that a link which lagged is empty again."""
        if peer in self._lagging:
            self._lagging.discard(peer)
            self._fresh.append(peer)
            self._arrived.set()
