"""Telling a program what was decided here, in this node's order (docs/APPLICATIONS.md).

At least once: a decision counts as told when the listener has returned, and whoever remembers the
position of the last one goes on behind it after a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never, Protocol

from qbft.decision import Decision
from qbft.replica.protocols import DecisionStore

PAGE_DECISIONS = 256


class DecisionListener(Protocol):
    """Who is told what was decided."""

    async def decided(self, decision: Decision, position: int) -> None:
        """Take a decision, and its position in this node's order; returning acknowledges it.

        After a restart the last ones may come again. What it raises ends the telling.
        """
        ...


class FollowedStore(DecisionStore, Protocol):
    """A store that can be followed."""

    async def wait_for_decisions(self, after: int) -> int:
        """Wait until `end` is above `after`; returns it."""
        ...


async def _note_nowhere(position: int) -> None:
    """Keep no place: the default."""


async def tell_decisions(
    store: FollowedStore,
    listener: DecisionListener,
    *,
    after: int = 0,
    note: Callable[[int], Awaitable[None]] = _note_nowhere,
) -> Never:
    """Tell of each decision behind a position, one after the other, until cancelled.

    What retention has deleted meanwhile is passed over. `note` is told of each position that has
    been dealt with. The place belongs to this store: another one counts anew.
    """
    position = min(after, store.end)
    while True:
        end = await store.wait_for_decisions(position)
        page = store.feed(position, PAGE_DECISIONS)
        for at, instance in page:
            decision = store.get(instance)
            if decision is not None:
                await listener.decided(decision, at)
            position = at
            await note(at)
        if not page:
            position = end  # retention has deleted the rest
            await note(end)
