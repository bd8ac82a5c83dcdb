"""Telling a program what was decided here, in this node's order (docs/APPLICATIONS.md).

At least once: a decision counts as told when the listener has returned, and whoever remembers the
position of the last one goes on behind it after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never, Protocol

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.replica.protocols import DecisionStore

PAGE_DECISIONS = 16
"""So many are read before others have their turn on the loop: a listener need not wait at all."""


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


def _all(instance: InstanceId) -> bool:
    """Tell of every instance: the default."""
    return True


async def tell_decisions(
    store: FollowedStore,
    listener: DecisionListener,
    *,
    after: int = 0,
    note: Callable[[int], Awaitable[None]] = _note_nowhere,
    concerns: Callable[[InstanceId], bool] = _all,
) -> Never:
    """Tell of each decision behind a position, one after the other, until cancelled.

    What does not concern the listener is passed over unread, and so is what retention has deleted
    meanwhile. `note` is told of each position that has been dealt with. The place belongs to this
    store: another one counts anew.

    Raises:
        QbftError: the store cannot read a decision.
    """
    position = min(after, store.end)
    while True:
        end = await store.wait_for_decisions(position)
        page = store.feed(position, PAGE_DECISIONS)
        for at, instance in page:
            decision = store.get(instance) if concerns(instance) else None
            if decision is not None:
                await listener.decided(decision, at)
            position = at
            await note(at)
        if not page:
            position = end  # retention has deleted the rest
            await note(end)
        await asyncio.sleep(0)
