"""The driver: one rhythm for every machine (DESIGN, one driver).

A turn drains some of what has arrived, lets the machine step, handles due timers, always, commits
the machine's records, and only then sends. Under load a turn waits a moment for company: turns take
more at once and share the cost of the commit, the signature and the frame. When idle a lone message
goes straight through.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from qbft.errors import first_of
from qbft.replica.bounds import Bites, Bound
from qbft.replica.protocols import Journal
from qbft.replica.turn import Machine
from qbft.transport import Frame, Transport

ROUNDING = 1e-3
"""Makes a timer that fires at its very millisecond read that millisecond, not the one before."""

PENDING_FRAMES_MAX = 64
"""With so many frames waiting for their turn no further batch is fetched."""


def now_ms() -> int:
    """The running loop's monotonic clock in milliseconds: virtual where the loop's is."""
    return int(asyncio.get_running_loop().time() * 1000 + ROUNDING)


def _note_nothing(late_seconds: float) -> None:
    """Note nothing: the default."""


class Driver:
    """Runs one machine over one transport, and a journal where votes must survive.

    `note_lateness` is told in every turn how many seconds a timer that fell due since it could have
    been handled has waited at most (DESIGN, async: at most 50 ms).
    """

    def __init__(
        self,
        machine: Machine,
        transport: Transport,
        journal: Journal | None = None,
        note_lateness: Callable[[float], None] = _note_nothing,
    ) -> None:
        self.bites = Bites()
        self._machine = machine
        self._transport = transport
        self._journal = journal
        self._note_lateness = note_lateness
        self._waits_since: float | None = None
        self._frames: deque[tuple[int, Frame]] = deque()
        self._fresh: dict[int, None] = {}
        self._taken = asyncio.Event()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Ask for a turn: something was given to the machine from outside."""
        self._wake.set()

    async def run(self) -> None:
        """Drive until cancelled, or until a part fails; it leaves no task and no timer behind.

        Raises:
            TransportError: the transport is gone.
            JournalError: the journal is gone; no vote has left that is not in it.
            InvariantViolation: a bug that must stop the node.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump())
                while True:
                    await self._turn(tasks)
                    await self._rest()
        except BaseExceptionGroup as group:
            error = first_of(group)
            raise error from error.__cause__

    async def _pump(self) -> None:
        """Fetch what arrives, up to a bound: the rest waits at its links."""
        while True:
            batch = await self._transport.receive()
            self._frames.extend(batch.frames)
            self._fresh.update(dict.fromkeys(batch.fresh))
            self._wake.set()
            if len(self._frames) >= PENDING_FRAMES_MAX:
                self.bites.note(Bound.PENDING_FRAMES_MAX)
                self._taken.clear()
                await self._taken.wait()

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        machine = self._machine
        self._drain()
        now = self._look_at_the_clock()
        machine.run_due(now)
        turn = machine.end_turn(now)
        if turn.records and self._journal is not None:
            await self._journal.commit(turn.records)
        for peer, frame in turn.frames:
            await self._transport.send(frame, peer)
        machine.turn_done(now_ms())
        for work in turn.work:
            tasks.create_task(work()).add_done_callback(lambda _: self._wake.set())

    def _look_at_the_clock(self) -> int:
        """Tell how long a due timer may have waited, now that they are handled; gives the time."""
        now = asyncio.get_running_loop().time()
        if self._waits_since is not None:
            self._note_lateness(now - self._waits_since)
        self._waits_since = now
        return int(now * 1000 + ROUNDING)

    def _drain(self) -> None:
        """Hand over what has arrived, as much as fits into this turn."""
        machine, frames = self._machine, self._frames
        now = now_ms()
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            for peer in fresh:
                machine.link_up(peer, now)
        while frames and not machine.is_saturated:
            peer, frame = frames.popleft()
            machine.receive(peer, frame, now)
        if not self._frames:
            self._taken.set()

    async def _rest(self) -> None:
        """Wait until there is something to do; let others run even if there is already."""
        due_ms = self._machine.next_due_ms
        has_more = bool(self._frames) and not self._machine.is_saturated
        if has_more or (due_ms is not None and due_ms <= now_ms()):
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_at(due_ms / 1000, self._wake.set) if due_ms is not None else None
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._waits_since = loop.time()
        if due_ms is not None:
            self._waits_since = min(self._waits_since, due_ms / 1000)
        self._wake.clear()
        linger_ms = self._machine.linger_ms
        if linger_ms:
            await asyncio.sleep(linger_ms / 1000)
