"""The driver: one rhythm for every machine (DESIGN, one driver).

A turn drains what has arrived, lets the machine step, commits its records, and only then sends;
then it handles due timers, always. Under load turns take more at once and share the cost of the
commit, the signature and the frame; when idle a lone message goes straight through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from qbft.errors import first_of
from qbft.replica.protocols import Journal
from qbft.replica.turn import Machine
from qbft.transport import Batch, Transport

ROUNDING = 1e-3
"""Makes a timer that fires at its very millisecond read that millisecond, not the one before."""


def now_ms() -> int:
    """The running loop's monotonic clock in milliseconds: virtual where the loop's is."""
    return int(asyncio.get_running_loop().time() * 1000 + ROUNDING)


class Driver:
    """Runs one machine over one transport, and a journal where votes must survive."""

    def __init__(
        self, machine: Machine, transport: Transport, journal: Journal | None = None
    ) -> None:
        self._machine = machine
        self._transport = transport
        self._journal = journal
        self._batch = Batch()
        self._taken = asyncio.Event()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Ask for a turn: something was given to the machine from outside."""
        self._wake.set()

    async def run(self) -> None:
        """Drive until cancelled, or until a part fails.

        Raises:
            TransportError: the transport is gone.
            JournalError: the journal is gone; no vote has left that is not in it.
            InvariantViolation: a bug that must stop the node.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump())
                await self._turns(tasks)
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def _pump(self) -> None:
        while True:
            self._batch = await self._transport.receive()
            self._wake.set()
            await self._taken.wait()
            self._taken.clear()

    async def _turns(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        machine = self._machine
        while True:
            self._take_batch()
            machine.run_due(now_ms())
            turn = machine.end_turn(now_ms())
            if turn.records and self._journal is not None:
                await self._journal.commit(turn.records)
            for peer, frame in turn.frames:
                await self._transport.send(frame, peer)
            machine.turn_done(now_ms())
            for work in turn.work:
                tasks.create_task(self._work(work))
            due_ms = machine.next_due_ms
            timer = loop.call_at(due_ms / 1000, self._wake.set) if due_ms is not None else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            self._wake.clear()

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._wake.set()

    def _take_batch(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not batch.frames and not batch.fresh:
            return
        self._taken.set()
        now = now_ms()
        for peer in batch.fresh:
            self._machine.link_up(peer, now)
        for peer, frame in batch.frames:
            self._machine.receive(peer, frame, now)
