"""The replies of one stream of proposals, between those who decide and the one who writes them."""

from __future__ import annotations

import asyncio

from qbft.decision import Decision
from qbft.replica.bounds import Bites
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.bounds import NodeBound
from qbft_server.store.live import value_bytes

STREAM_IN_FLIGHT_MAX = 1_024
"""Proposals of one stream that are not answered yet, written replies being answers."""

STREAM_WAITING_BYTES_MAX = 1 << 20
"""Values of decisions and words of refusals that wait to be written, above which no further
proposal is read."""

Outcome = tuple[int, Decision | pb.Failure]
"""The request's id, and what became of it: an exception would keep the request as long as it waits,
and longer, by its traceback."""


class Replies:
    """A bounded queue: who does not read its replies is not read from (DESIGN, bounds).

    Decisions stay what they are until they are written: many requests may share one.
    """

    def __init__(self, bites: Bites | None = None) -> None:
        self._bites = bites or Bites()
        self._waiting: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._places = asyncio.Semaphore(STREAM_IN_FLIGHT_MAX)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._bytes = 0

    async def place(self) -> None:
        """Wait until a further proposal may be read; a written reply makes its place free."""
        if not self._has_room.is_set():
            self._bites.note(NodeBound.STREAM_WAITING_BYTES_MAX)
        await self._has_room.wait()
        if self._places.locked():
            self._bites.note(NodeBound.STREAM_IN_FLIGHT_MAX)
        await self._places.acquire()

    def put(self, outcome: Outcome) -> None:
        """Have it written."""
        self._waiting.put_nowait(outcome)
        self._account(_size(outcome))

    def end(self) -> None:
        """Say that nothing more comes."""
        self._waiting.put_nowait(None)

    async def take(self) -> Outcome | None:
        """The next one to write; None at the end."""
        return await self._waiting.get()

    def written(self, outcome: Outcome) -> None:
        """It has been written."""
        self._places.release()
        self._account(-_size(outcome))

    def _account(self, size: int) -> None:
        self._bytes += size
        if self._bytes < STREAM_WAITING_BYTES_MAX:
            self._has_room.set()
        else:
            self._has_room.clear()


def reply_to(request_id: int, outcome: Decision | pb.Failure) -> pb.ProposeStreamReply:
    """Say what became of a proposal of a stream."""
    if isinstance(outcome, Decision):
        return pb.ProposeStreamReply(id=request_id, decision=decision_to_pb(outcome))
    return pb.ProposeStreamReply(id=request_id, failure=outcome)


def _size(outcome: Outcome) -> int:
    result = outcome[1]
    return value_bytes(result) if isinstance(result, Decision) else result.ByteSize()
