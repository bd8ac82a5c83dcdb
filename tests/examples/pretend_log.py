"""An ordered topic in one process, with what the examples use of the client; no node, no disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from qbft.core import InstanceId
from qbft.crypto.certificate import Certificate
from qbft.crypto.entries import Entry
from qbft.decision import Decision
from qbft.ordered import Appended, LogEntry, Position


class PretendLog:
    """Every entry gets a height of its own, a moment after it was appended."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self._changed = asyncio.Condition()

    async def append(self, topic: str, value: bytes, request_id: bytes | None = None) -> Appended:
        """As `Client.append`."""
        await asyncio.sleep(0.01)
        height = len(self.entries)
        name = request_id or b"%d" % height
        decision = Decision(None, Certificate(InstanceId(topic, height), 1, bytes(32), ()))
        self.entries.append(LogEntry(Position(height, 0), Entry(name, value), decision))
        async with self._changed:
            self._changed.notify_all()
        return self.entries[-1]

    async def watch_entries(self, topic: str) -> AsyncGenerator[LogEntry, None]:
        """As `Client.watch_entries`."""
        seen = 0
        while True:
            while seen == len(self.entries):
                async with self._changed:
                    await self._changed.wait()
            seen += 1
            yield self.entries[seen - 1]
