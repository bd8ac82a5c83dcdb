"""Following decisions as they come: those of a topic by height, or all in this node's order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import grpc

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.errors import BelowLowWaterMark
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.services.admission import Caller
from qbft_server.services.budgets import Budgets
from qbft_server.services.refusal import Refusal, invalid, refusal_of
from qbft_server.store.store import NodeStore

CURSOR_BYTES = 24
"""The id of a store, and a position in its order."""

WATCH_STEP_DECISIONS = 256
"""Entries of this node's order that are looked at in one go."""


class Watching:
    """Writes decisions to those who follow them."""

    def __init__(self, store: NodeStore, budgets: Budgets) -> None:
        self._store = store
        self._budgets = budgets

    def place(self, client: Caller) -> contextlib.AbstractContextManager[None]:
        """Hold one of the places for watches while the block lasts: so many at a time.

        Raises:
            Refusal: there is none now for this client.
        """
        return self._budgets.shares.place(client.name, self._budgets.watches)

    async def watch(self, start: InstanceId, client: Caller) -> None:
        """Write a topic's decisions from a height on, waiting at the first undecided one.

        Raises:
            Refusal: the topic's low-water mark is above the height it is at; there is no room.
        """
        with self.place(client):
            for height in range(start.height, HEIGHT_MAX + 1):
                try:
                    decision = await self._store.wait_for(InstanceId(start.topic, height))
                except BelowLowWaterMark as error:
                    raise refusal_of(error) from error
                await self._budgets.unread.write(decision_to_pb(decision), client)

    async def watch_all(self, cursor: bytes, client: Caller) -> None:
        """Write all decisions that the client may read, from a cursor of this node or the start.

        Raises:
            Refusal: it is no such cursor, or what should come next may have been deleted; there is
                no room.
        """
        async with contextlib.aclosing(self._follow(cursor, client)) as replies:
            with self.place(client):
                async for reply in replies:
                    await self._budgets.unread.write(reply, client)

    async def _follow(
        self, cursor: bytes, client: Caller
    ) -> AsyncGenerator[pb.WatchAllReply, None]:
        """Give what this client may read, as it comes."""
        position = self._read_cursor(cursor)
        forgiven = 0 if cursor else self._store.deleted_position
        while True:
            self._check_complete(max(position, forgiven))
            end = self._store.end
            entries = self._store.feed(position, WATCH_STEP_DECISIONS)
            for position, instance in entries:
                decision = (
                    self._store.get(instance)
                    if client.permissions.may_read(instance.topic)
                    else None
                )
                if decision is not None:
                    yield pb.WatchAllReply(
                        decision=decision_to_pb(decision),
                        cursor=self._store.store_id + position.to_bytes(8, "big"),
                    )
            if entries:
                await asyncio.sleep(0)  # where all of it is left out, nothing else waits
            else:
                await self._store.wait_for_decisions(end)

    def _check_complete(self, position: int) -> None:
        """See that nothing behind this position was deleted."""
        if self._store.deleted_position > position:
            raise Refusal(
                grpc.StatusCode.OUT_OF_RANGE,
                "decisions behind the cursor are not kept any more; begin without one",
            )

    def _read_cursor(self, cursor: bytes) -> int:
        if not cursor:
            return 0
        if len(cursor) != CURSOR_BYTES:
            raise invalid("the cursor is not one that WatchAll gave")
        store_id, position = cursor[:16], int.from_bytes(cursor[16:], "big")
        if store_id != self._store.store_id:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the cursor is of another node's order; begin without one, or ask that node",
            )
        if position > self._store.end:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "the cursor is beyond the last decision")
        return position
