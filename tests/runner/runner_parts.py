"""Four processes over the in-memory transport, and transports that fail on purpose."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from qbft.core import Definition, Message, MessageType
from qbft.decision import Decision
from qbft.memory import MemoryNetwork, MemoryTransport
from qbft.runner import run
from qbft.timers import constant
from qbft.transport import Batch, Frame, Transport

DEFINITION = Definition(4, lambda instance, round_: (round_ - 1) % 4)
COMPARING = Definition(4, DEFINITION.leader, compares=True)
ROUND_MS = 1_000
HORIZON_SECONDS = 3_600
"""Rounds never end by themselves; a test that waits in vain does, on the virtual clock."""


async def part(
    transport: Transport, process: int, /, definition: Definition = DEFINITION, **settings: Any
) -> Decision:
    """One process's run of instance "here"; rounds last a second."""
    timer = constant(ROUND_MS)()
    async with asyncio.timeout(HORIZON_SECONDS):
        return await run(definition, "here", process, transport, timer=timer, **settings)


@asynccontextmanager
async def others(
    network: MemoryNetwork, *processes: int, **settings: Any
) -> AsyncIterator[list[Decision]]:
    """Processes that run, and go on after their decision, while the block lasts."""
    decisions: list[Decision] = []
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(
                part(network.transport(each), each, on_decision=decisions.append, **settings)
            )
            for each in processes
        ]
        try:
            yield decisions
        finally:
            for task in running:
                task.cancel()


def message(type_: MessageType, source: int, round_: int = 1, value: Any = "v") -> Message:
    """A message of instance "here" without justification."""
    return Message(type_, "here", source, round_, value)


async def tell(network: MemoryNetwork, to: int, *messages: Message) -> None:
    """Let messages arrive, each over its source's own link."""
    for each in messages:
        await network.transport(each.source).send(Frame(votes=(each,)), to)


class FailingTransport:
    """Works as the one it wraps, and counts, until told what to fail with on either side."""

    def __init__(self, inner: MemoryTransport) -> None:
        self.inner = inner
        self.send_error: BaseException | None = None
        self.receive_error: BaseException | None = None
        self.frames_received = 0

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Fail, or send."""
        if self.send_error is not None:
            raise self.send_error
        await self.inner.send(frame, to)

    async def receive(self) -> Batch:
        """Fail, or receive."""
        if self.receive_error is not None:
            raise self.receive_error
        batch = await self.inner.receive()
        self.frames_received += len(batch.frames)
        return batch


def leftovers() -> list[object]:
    """Tasks and timers that live, but for the test's own; unawaited coroutines warn, and fail."""
    gc.collect()
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    timers = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
    return [*tasks, *timers]
