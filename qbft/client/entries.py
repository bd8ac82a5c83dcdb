"""Reading an ordered topic in order, entry by entry (docs/ORDERED.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from qbft.client.asking import Asking
from qbft.client.watching import watch
from qbft.crypto.entries import entries_of
from qbft.decision import Decision
from qbft.ordered import LogEntry, Position, Window


async def watch_entries(
    asking: Asking,
    topic: str,
    after: Position | None,
    *,
    void: bool,
    node: int | None,
    stall: float,
) -> AsyncGenerator[LogEntry, None]:
    """Follow an ordered topic from behind a position, or from where it begins, for ever.

    Raises:
        ValueError: topic or node is outside what there can be.
        ClientError: see `Client.watch_entries`.
    """
    first = asking.cluster.first_height(topic)
    begin = Window.begin(first if after is None else after.height, first)
    async with (
        aclosing(watch(asking, topic, begin, node=node, stall=stall)) as decisions,
        aclosing(_entries(decisions, begin, after, void=void)) as entries,
    ):
        async for entry in entries:
            yield entry


async def _entries(
    decisions: AsyncIterable[Decision], begin: int, after: Position | None, *, void: bool
) -> AsyncGenerator[LogEntry, None]:
    """Read a topic's decisions, height by height from `begin` on, as entries in order.

    Those up to `after` are left out, and void ones unless they are asked for.
    """
    window = Window(begin)
    async for decision in decisions:
        height, entries = window.next_height, entries_of(decision.value)
        for index, is_void in enumerate(window.take(entries)):
            position = Position(height, index)
            if (after is None or position > after) and (void or not is_void):
                yield LogEntry(position, entries[index], decision, is_void)
