"""What clients of this node have appended to one topic and does not stand there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from qbft.crypto.entries import (
    BATCH_ENTRIES_MAX,
    BATCH_OVERHEAD_BYTES,
    WINDOW_HEIGHTS,
    Entry,
    Key,
    is_standing_at,
)
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import QbftError
from qbft.ordered import Appended

BATCH_BYTES_AIM = 60 * 1024
"""A batch stays below it, so that its bytes travel with the votes, and below what a value may have;
an entry that is larger goes alone."""

LOSSES_MAX = 256
"""Heights that are decided without an entry that was to be proposed for them; then its client is
sent to another node."""

AHEAD_MAX = 4
"""Heights of a topic that are led here and opened by others, for which this node proposes what
waits here before it is their turn."""


class RequestIdUsed(QbftError):  # noqa: N818 - named for what the client meets
    """The same author has used this request id for another value."""


class NotStanding(QbftError):  # noqa: N818 - named for what the client meets
    """A signed entry may not stand at the next height: it is too late for it, or too early."""

    def __init__(self, until: int, next_height: int) -> None:
        super().__init__(
            f"signed to stand below height {until}, at most {WINDOW_HEIGHTS} heights before; the "
            f"topic is at {next_height}: sign it anew"
        )


class LostTooOften(QbftError):  # noqa: N818 - named for what the client meets
    """Other nodes' batches were decided again and again."""

    def __init__(self) -> None:
        super().__init__(f"{LOSSES_MAX} heights went to other nodes' batches")


class Opener(Protocol):
    """A client of this node, on whose account instances are opened."""

    @property
    def has_room(self) -> bool:
        """Whether it may open one more now."""
        ...

    async def propose(self, proposal: Proposal) -> Decision:
        """Have a batch decided, whosever is decided then, and wait for the decision.

        Raises:
            Busy: it may not open more; come back later.
            QbftError: what `Replica.propose` raises.
        """
        ...


@dataclass(slots=True, eq=False)
class Pending:
    """An entry, and the calls that wait for it: one client may have sent it twice.

    `opener` is the client that sent it first.
    """

    entry: Entry
    opener: Opener
    waiters: set[asyncio.Future[Appended]] = field(default_factory=set)
    since: int | None = None
    """The height for which it was to be proposed first."""

    def settle(self, appended: Appended) -> None:
        """It stands; whoever sent another value by this name is told so."""
        if appended.value != self.entry.value:
            self.fail(RequestIdUsed(f"this request id stands at {appended.position} already"))
            return
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(appended)

    def fail(self, error: Exception) -> None:
        """It does not, not by this node."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


class AppendQueue:
    """The entries of one topic that wait, in the order in which they came."""

    def __init__(self, topic: str, bytes_max: int) -> None:
        self.topic = topic
        self._bytes_aim = min(BATCH_BYTES_AIM, bytes_max)
        self.task: asyncio.Task[None] | None = None
        self.pending: dict[Key, Pending] = {}
        self.fresh: list[Key] = []
        """Those that came since it was last looked whether they stand already."""
        self._ahead: set[int] = set()

    def add(self, entry: Entry, opener: Opener) -> asyncio.Future[Appended]:
        """Let an entry wait; gives what tells where it stands.

        Raises:
            RequestIdUsed: another value waits by this name.
        """
        pending = self.pending.get(entry.key)
        if pending is None:
            pending = self.pending[entry.key] = Pending(entry, opener)
            self.fresh.append(entry.key)
        elif pending.entry.value != entry.value:
            raise RequestIdUsed("another value waits here by this request id")
        elif pending.entry.until < entry.until:
            pending.entry = entry
        waiter: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        pending.waiters.add(waiter)
        return waiter

    def leave(self, key: Key, waiter: asyncio.Future[Appended]) -> None:
        """Let a call end; without any other for its entry, that is proposed no more."""
        pending = self.pending.get(key)
        if pending is not None:
            pending.waiters.discard(waiter)
            if not pending.waiters:
                del self.pending[key]

    def settle(self, key: Key, appended: Appended) -> None:
        """Tell whoever waits for it."""
        self.pending.pop(key).settle(appended)

    def fail(self, error: Exception) -> None:
        """Tell everyone."""
        pending, self.pending = self.pending, {}
        for each in pending.values():
            each.fail(error)

    def batch(self, height: int) -> list[Entry]:
        """What to propose for the next height: the oldest, as many as fit; none if none is left.

        What may not stand there, or has waited for too many heights, is given up.
        """
        for key, pending in list(islice(self.pending.items(), BATCH_ENTRIES_MAX)):
            pending.since = height if pending.since is None else pending.since
            if not is_standing_at(pending.entry, height):
                self._drop(key, NotStanding(pending.entry.until, height))
            elif height - pending.since >= LOSSES_MAX:
                self._drop(key, LostTooOften())
        return self._chosen(height)

    def batch_ahead(self, height: int, next_height: int) -> list[Entry]:
        """What to propose for a height that somebody else has opened; none for too many of them."""
        self._ahead = {each for each in self._ahead if each >= next_height}
        if height < next_height or len(self._ahead) >= AHEAD_MAX:
            return []
        chosen = self._chosen(height)
        if chosen:
            self._ahead.add(height)
        return chosen

    def opener(self, batch: Sequence[Entry]) -> Opener:
        """On whose account a batch is opened: the first of its clients that may open one now.

        Where none may, the oldest entry's has to wait for its turn.
        """
        openers = [self.pending[entry.key].opener for entry in batch]
        return next((each for each in openers if each.has_room), openers[0])

    def _chosen(self, height: int) -> list[Entry]:
        chosen: list[Entry] = []
        size = BATCH_OVERHEAD_BYTES
        for pending in self.pending.values():
            if not is_standing_at(pending.entry, height):
                continue
            size += pending.entry.size
            if chosen and (size > self._bytes_aim or len(chosen) == BATCH_ENTRIES_MAX):
                break
            chosen.append(pending.entry)
        return chosen

    def _drop(self, key: Key, error: QbftError) -> None:
        self.pending.pop(key).fail(error)
