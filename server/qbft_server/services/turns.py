"""Whose turn it is to open an instance, where several clients want to.

An instance that is opened costs every node the same, whoever wanted it, and a node takes up what
comes in the order in which it comes. So the client that opens a thousand at once would have all
others wait for its thousand. Where clients compete, each has as many under way as any other, and
opens the next one when one of them is decided. A client that has the node to itself need not wait.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound

OPENING_SECONDS_MAX = 1.0
"""Nobody waits for his turn because of instances that take longer than this; and who has opened
none for so long does not compete."""


@dataclass(slots=True, eq=False)
class _Line:
    """One client: what it has under way, and what waits for its turn."""

    client: str
    under_way: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    competes_until: float = 0.0
    leaving: asyncio.TimerHandle | None = None


class Turn:
    """One instance under way; it ends once, when it is decided or takes too long.

    One that is given back has opened nothing, so that its client does not compete for it.
    """

    def __init__(self, turns: Turns, line: _Line) -> None:
        self._turns: Turns | None = turns
        self._line = line
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(OPENING_SECONDS_MAX, self.end)

    def end(self) -> None:
        """Let the next one have its place."""
        self._end(has_opened=True)

    def give_back(self) -> None:
        """Let the next one have its place, which was not used."""
        self._end(has_opened=False)

    def _end(self, *, has_opened: bool) -> None:
        if self._turns is not None:
            turns, self._turns = self._turns, None
            self._late.cancel()
            turns.ended(self._line, has_opened=has_opened)


class Turns:
    """Gives turns to clients that compete, to open so many instances at once."""

    def __init__(self, at_once_max: int, bites: Bites) -> None:
        self._at_once_max = at_once_max
        self._bites = bites
        self._lines: dict[str, _Line] = {}
        self._waiting: dict[str, _Line] = {}

    def is_to_wait(self, client: str) -> bool:
        """Whether this client may not open one more now."""
        line = self._lines.get(client)
        return line is not None and self._is_to_wait(line)

    async def turn(self, client: str) -> Turn:
        """Wait until this client may open one more."""
        line = self._lines.setdefault(client, _Line(client))
        if line.leaving is not None:
            line.leaving.cancel()
            line.leaving = None
        if self._is_to_wait(line):
            self._bites.note(NodeBound.OPENINGS_AT_ONCE_MAX)
            await self._wait(line)
        else:
            line.under_way += 1
        return Turn(self, line)

    def ended(self, line: _Line, *, has_opened: bool) -> None:
        """One of this client's is not under way any more."""
        loop = asyncio.get_running_loop()
        if has_opened:
            line.competes_until = loop.time() + OPENING_SECONDS_MAX
        line.under_way -= 1
        self._go_on(line)
        if line.under_way or line.waiting:
            return
        if line.competes_until > loop.time():
            line.leaving = loop.call_at(line.competes_until, self._leave, line)
        else:
            self._leave(line)

    def _part(self) -> float:
        """How many each may have under way."""
        competing = len(self._lines)
        return math.inf if competing <= 1 else max(1, self._at_once_max // competing)

    def _is_its_turn(self, line: _Line) -> bool:
        return line.under_way < self._part()

    def _is_to_wait(self, line: _Line) -> bool:
        return bool(line.waiting) or not self._is_its_turn(line)

    def _go_on(self, line: _Line) -> None:
        """Let those go on whose turn it is."""
        while line.waiting and self._is_its_turn(line):
            waiter = line.waiting.popleft()
            if not waiter.done():
                line.under_way += 1
                waiter.set_result(None)
        if not line.waiting:
            self._waiting.pop(line.client, None)

    def _leave(self, line: _Line) -> None:
        """This client does not compete any more: what it left is for those that wait.

        Only if there is more for each now, which is seldom: many may leave in one moment.
        """
        before = self._part()
        del self._lines[line.client]
        if self._part() > before:
            for each in tuple(self._waiting.values()):
                self._go_on(each)

    async def _wait(self, line: _Line) -> None:
        waiter = asyncio.get_running_loop().create_future()
        line.waiting.append(waiter)
        self._waiting[line.client] = line
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # its turn came meanwhile, and is another's now
                self.ended(line, has_opened=False)
            raise
