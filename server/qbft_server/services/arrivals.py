"""Requests on their way: a call is there as soon as its headers are, its request when it comes.

Whoever calls may send all of a request but its last byte, and take as long as he likes. gRPC keeps
what has come of it: of a request that nobody reads as much as the window of its stream, of one that
is being read up to a whole message. So few are read at a time, and each for so long at most. What
has come already is read in no time, so that who sends what he asks for has not to wait for others
who do; and those who do not make way.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from typing import Any

import grpc
from grpc import aio

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.services.admission import Caller
from qbft_server.services.refusal import Refusal, full, invalid
from qbft_server.telemetry.load import Held

ARRIVALS_MAX = 48
"""Requests of clients that are being read at once, each of which may occupy a whole message; no
client has more than half of what it has and nobody does. Others wait ..."""

SLOW_ARRIVAL_SECONDS_MAX = 0.5
"""... and where all places are taken, one that has been read for longer than this makes way for
them: the first of the client that has the most ..."""

ARRIVAL_SECONDS_MAX = 10.0
"""... and any, waiting or read, is given up after this."""

LOOK_SECONDS = 0.1
RETRY_MS = 1_000
NO_MESSAGE = "the request is no message of that kind"


class Arrivals:
    """Reads requests, so many at once."""

    def __init__(self, most: int, bites: Bites) -> None:
        self._most = most
        self._bites = bites
        self._held = Held()
        self._reading: dict[asyncio.Timeout, tuple[str, float]] = {}
        self._line: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, caller: Caller) -> Any:
        """The request of a call, which is its first message.

        Raises:
            Refusal: there is none, or none of its kind, or it did not come in time.
        """
        name, makes_way = caller.name, False
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS_MAX) as limit:
                if name in self._line or not self._has_room(name):
                    await self._wait(name)
                else:
                    self._held.add(name)
                self._reading[limit] = name, asyncio.get_running_loop().time()
                try:
                    request = await caller.context.read()
                finally:
                    makes_way = self._reading.pop(limit, None) is None
                    self._held.remove(name)
                    self._go_on()
        except TimeoutError as error:
            if makes_way:
                raise full("too many requests are on their way here", RETRY_MS) from error
            self._bites.note(NodeBound.ARRIVAL_SECONDS_MAX)
            raise Refusal(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the request did not come within {ARRIVAL_SECONDS_MAX:g} s",
            ) from error
        if request is None or request is aio.EOF:  # type: ignore[attr-defined] # the stubs lack it
            raise invalid(NO_MESSAGE)
        return request

    def _has_room(self, client: str) -> bool:
        """Whether there is a place that this client may have."""
        free, own = self._most - self._held.total, self._held.by_client.get(client, 0)
        return free > 0 and (not own or 2 * (own + 1) <= own + free)

    async def _wait(self, client: str) -> None:
        """Wait for a place; clients get one in turn."""
        self._bites.note(NodeBound.ARRIVALS_MAX)
        waiter = asyncio.get_running_loop().create_future()
        self._line.setdefault(client, deque()).append(waiter)
        self._look_later()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._leave(client, waiter)
            else:  # its place came meanwhile, and is another's now
                self._held.remove(client)
                self._go_on()
            raise

    def _leave(self, client: str, waiter: asyncio.Future[None]) -> None:
        """One of this client's waits no more."""
        waiting = self._line.get(client)
        if waiting is not None and waiter in waiting:
            waiting.remove(waiter)
            if not waiting:
                del self._line[client]

    def _go_on(self) -> None:
        """Give the places that are free to those that wait."""
        while (client := next(filter(self._has_room, self._line), None)) is not None:
            waiting = self._line[client]
            waiter = waiting.popleft()
            if waiting:
                self._line.move_to_end(client)
            else:
                del self._line[client]
            if not waiter.done():
                self._held.add(client)
                waiter.set_result(None)

    def _look_later(self) -> None:
        """See to it that those make way that have been read for long."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOOK_SECONDS, self._make_way)

    def _make_way(self) -> None:
        """Give up as many of those that have been read for long as there are that wait."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        slow = {
            limit: client
            for limit, (client, since) in self._reading.items()
            if since + SLOW_ARRIVAL_SECONDS_MAX <= now
        }
        crowd = Counter(client for client, _ in self._reading.values())
        wanted = sum(map(len, self._line.values())) if self._held.total >= self._most else 0
        for _ in range(min(wanted, len(slow))):
            limit = max(slow, key=lambda each: crowd[slow[each]])
            crowd[slow.pop(limit)] -= 1
            del self._reading[limit]
            limit.reschedule(now)
        if self._line:
            self._look_later()
