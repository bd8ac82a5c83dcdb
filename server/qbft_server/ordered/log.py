"""How far an ordered topic has come on this node, and which requests stand in its last heights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from qbft.core import InstanceId
from qbft.crypto.entries import Entry, Key, entries_of
from qbft.decision import Decision
from qbft.ordered import Position, Window

READ_STEP_DECISIONS = 8
"""Decisions that are read in one piece of work of the event loop."""


class LogStore(Protocol):
    """What is read of a node's store."""

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance, or None."""
        ...

    def low_water_mark(self, topic: str) -> int:
        """The lowest height of the topic that is still kept."""
        ...

    async def first_undecided(self, topic: str, from_height: int = 0) -> int:
        """The first height, from one on or the mark, that is not decided here."""
        ...

    async def wait_for(self, instance: InstanceId) -> Decision:
        """Wait until the instance is decided.

        Raises:
            BelowLowWaterMark: it is not kept any more.
        """
        ...


class TopicLog:
    """One topic as it is read in order; `first_height` is this epoch's first."""

    def __init__(self, topic: str, store: LogStore, first_height: int) -> None:
        self.topic = topic
        self._store = store
        self._first_height = first_height
        self._window: Window | None = None

    def __len__(self) -> int:
        """How many request ids it remembers."""
        return 0 if self._window is None else len(self._window)

    @property
    def next(self) -> InstanceId:
        """The first height that was not read yet."""
        return InstanceId(self.topic, self._next_height)

    @property
    def _next_height(self) -> int:
        return self._first_height if self._window is None else self._window.next_height

    def place(self, key: Key) -> Position | None:
        """Where a request of the last heights stands."""
        return None if self._window is None else self._window.place(key)

    async def begin(self, end: int) -> None:
        """Go to the first undecided height, and remember the requests of the last before it.

        What was read before is used as far as it reaches.

        Raises:
            DecisionsError: the decisions cannot be read.
        """
        kept = max(self._first_height, self._store.low_water_mark(self.topic))
        begin = Window.begin(end, kept)
        window = self._window
        if window is None or window.next_height < begin:
            window = Window(begin)
        async for _ in self._read(window):
            pass
        self._window = window

    async def read_on(self) -> AsyncIterator[tuple[Decision, tuple[Entry, ...]]]:
        """Read what has been decided since, height by height.

        Raises:
            DecisionsError: the decisions cannot be read.
        """
        if self._window is None or self._next_height < self._store.low_water_mark(self.topic):
            await self.begin(await self._store.first_undecided(self.topic, self._next_height))
        assert self._window is not None  # noqa: S101 - `begin` has made it
        async for read in self._read(self._window):
            yield read

    async def _read(self, window: Window) -> AsyncIterator[tuple[Decision, tuple[Entry, ...]]]:
        count = 0
        while True:
            instance = InstanceId(self.topic, window.next_height)
            decision = self._store.get(instance)
            if decision is None:
                return
            entries = entries_of(decision.value)
            window.take(entries)
            yield decision, entries
            count += 1
            if count % READ_STEP_DECISIONS == 0:
                await asyncio.sleep(0)
