"""A pretended network: seeded delay, loss, duplication and reordering between replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from qbft.transport import Batch, Frame


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """What the network does to a frame. Probabilities from 0 to 1, delays in milliseconds."""

    delay_ms_min: int = 1
    delay_ms_max: int = 30
    loss: float = 0.0
    duplication: float = 0.0


class SimNetwork:
    """Carries frames between transports; delivers nothing to a node that is down."""

    def __init__(self, nodes: int, random: Random, faults: NetworkFaults) -> None:
        self.faults = faults
        self.nodes = nodes
        self.observe: Callable[[int, int, Frame], None] | None = None
        """Is shown every frame that is sent: from, to, frame."""
        self._random = random
        self._up: dict[int, SimTransport] = {}

    def attach(self, index: int, crash_point: Callable[[str], None]) -> SimTransport:
        """Bring a node's links up; it and all others begin anew with each other."""
        transport = SimTransport(self, index, crash_point)
        for other in self._up.values():
            other.note_fresh(index)
            transport.note_fresh(other.index)
        self._up[index] = transport
        return transport

    def detach(self, index: int) -> None:
        """Take a node's links down, with all that is on its way to it."""
        self._up.pop(index, None)

    def carry(self, source: int, to: int, frame: Frame) -> None:
        """Deliver a frame later, perhaps twice, perhaps never."""
        if self.observe is not None:
            self.observe(source, to, frame)
        if self._random.random() < self.faults.loss:
            return
        copies = 2 if self._random.random() < self.faults.duplication else 1
        receiver = self._up.get(to)
        loop = asyncio.get_running_loop()
        for _ in range(copies):
            delay = self._random.randint(self.faults.delay_ms_min, self.faults.delay_ms_max)
            loop.call_later(delay / 1000, self._arrive, receiver, to, source, frame)

    def _arrive(self, receiver: SimTransport | None, to: int, source: int, frame: Frame) -> None:
        if receiver is not None and self._up.get(to) is receiver:
            receiver.take(source, frame)


class SimTransport:
    """One life of one node's links."""

    def __init__(self, network: SimNetwork, index: int, crash_point: Callable[[str], None]) -> None:
        self.index = index
        self._network = network
        self._crash_point = crash_point
        self._frames: list[tuple[int, Frame]] = []
        self._fresh: list[int] = []
        self._arrived = asyncio.Event()

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Send; the node may crash before the first copy or between two."""
        targets = [n for n in range(self._network.nodes) if n != self.index]
        for target in targets if to is None else [to]:
            self._crash_point("before_send")
            self._network.carry(self.index, target, frame)

    async def receive(self) -> Batch:
        """Give what has arrived."""
        while not self._frames and not self._fresh:
            self._arrived.clear()
            await self._arrived.wait()
        batch = Batch(tuple(self._frames), tuple(self._fresh))
        self._frames, self._fresh = [], []
        return batch

    def take(self, source: int, frame: Frame) -> None:
        """Let a frame arrive."""
        self._frames.append((source, frame))
        self._arrived.set()

    def note_fresh(self, peer: int) -> None:
        """Let a link come up."""
        self._fresh.append(peer)
        self._arrived.set()
