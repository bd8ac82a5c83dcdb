"""The low-water marks: up to where a topic is kept no more, and how what is below goes (DESIGN).

The operator's policy (`retention`) says what may go. A topic's mark is journaled first, and then
what is below it is deleted, a little at a time; from that moment the mark alone answers for it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain

from qbft.core.messages import InstanceId
from qbft.errors import JournalError
from qbft.replica.protocols import MarkRecord
from qbft_server.store.decisions import DecisionTable
from qbft_server.store.journal import VoteJournal
from qbft_server.store.limits import StoreLimits, StoreStats
from qbft_server.store.retention import Retention, choose_mark
from qbft_server.store.threads import in_thread


class LowWaterMarks:
    """The marks of a store, on its journal and its table.

    `writing` is held by whoever writes to the table; `moved()` is called when a mark has moved.
    """

    def __init__(
        self,
        journal: VoteJournal,
        table: DecisionTable,
        limits: StoreLimits,
        stats: StoreStats,
        *,
        writing: asyncio.Lock,
        moved: Callable[[], None],
    ) -> None:
        self.deleted_position = table.deleted_position
        """The highest position that was deleted."""
        self._marks = dict(journal.live.marks)
        self._retention = Retention()
        self._journal = journal
        self._table = table
        self._limits = limits
        self._stats = stats
        self._writing = writing
        self._moved = moved

    @property
    def by_topic(self) -> Mapping[str, int]:
        """The marks of all topics that have one."""
        return self._marks

    def of(self, topic: str) -> int:
        """The lowest height of the topic that is still kept."""
        return self._marks.get(topic, 0)

    def is_passed(self, instance: InstanceId) -> bool:
        """Whether the instance is below its topic's mark."""
        return instance.height < self._marks.get(instance.topic, 0)

    def note_stored(self, topic: str) -> None:
        """Take note of one more decision of a topic in the table."""
        self._retention.add(topic, 1)

    async def keep_to(
        self, retention: Retention, undecided: Callable[[], Iterable[InstanceId]]
    ) -> None:
        """Move marks as a policy has it, until cancelled.

        `undecided` gives instances that no mark may pass. What an earlier life has begun is
        finished first, whatever the policy is by now. Ends where the journal has failed, or nothing
        is ever to be deleted.
        """
        live = self._journal.live
        if retention.is_empty and not live.pending_marks:
            return
        counts: dict[str, int] = {}
        async with self._writing:
            await _waited(lambda: counts.update(self._table.counts()))
            for topic, count in counts.items():
                retention.add(topic, count)
            self._retention = retention
        while live.pending_marks or not retention.is_empty:
            try:
                await self._finish()
            except sqlite3.Error:
                self._stats.flush_failures += 1
            for topic in retention.next_topics():
                try:
                    while await self._move(topic, undecided):  # noqa: ASYNC110 - others' turn
                        await asyncio.sleep(0)
                except JournalError:
                    return
                except sqlite3.Error:
                    self._stats.flush_failures += 1
                retention.add(topic, 0)
            await asyncio.sleep(self._limits.retain_interval_ms / 1_000)

    async def _finish(self) -> None:
        """Carry out the marks that only the journal holds, so that it need not keep them."""
        for mark in self._journal.live.pending_marks:
            has_more = True
            while has_more:
                async with self._writing:
                    has_more = await self._delete_below(mark.topic)

    async def _move(self, topic: str, undecided: Callable[[], Iterable[InstanceId]]) -> bool:
        """Move one topic's mark by one step; whether there may be more to do at once."""
        rule = self._retention.rule_of(topic)
        limit = self._limits.delete_decisions_max
        rows: list[tuple[int, int]] = []
        async with self._writing:
            await _waited(lambda: rows.extend(self._table.oldest(topic, limit + 1)))
            kept = [row for row in rows if row[0] >= self.of(topic)]
            mark = None
            if rule is not None and kept == rows:
                spare, now_s = self._retention.spare_of(topic), int(time.time())
                choose = partial(choose_mark, rule, rows, spare=spare, now_s=now_s)
                mark = choose(undecided_min=None)
                if mark is not None:  # only then it is worth asking what is in the way
                    mark = choose(undecided_min=self._undecided_min(topic, undecided()))
            if mark is not None:
                await self._set(MarkRecord(topic, mark))
            elif kept == rows:
                return False
            await self._delete_below(topic)
        return True

    def _undecided_min(self, topic: str, undecided: Iterable[InstanceId]) -> int | None:
        """The lowest height of the topic that no mark may pass."""
        live = self._journal.live
        waiting = (instance for instance, _ in live.pending_items())
        heights = (
            instance.height
            for instance in chain(undecided, live.undecided(topic), waiting)
            if instance.topic == topic
        )
        return min(heights, default=None)

    async def _set(self, mark: MarkRecord) -> None:
        """Vote no more below it, from this moment; then make it durable; then tell who waits."""
        self._marks[mark.topic] = mark.height
        await self._journal.commit([mark])
        self._moved()

    async def _delete_below(self, topic: str) -> bool:
        """Delete some of what is below a topic's mark, which is journaled; may there be more?"""
        mark = self.of(topic)
        limit = self._limits.delete_decisions_max
        deleted: list[int] = []
        await _waited(lambda: deleted.extend(self._table.delete_below(topic, mark, limit)))
        self._journal.live.settle_mark(MarkRecord(topic, mark))
        self.deleted_position = max([self.deleted_position, *deleted])
        self._retention.add(topic, -len(deleted))
        self._stats.deleted += len(deleted)
        return len(deleted) == limit


async def _waited(work: Callable[[], object]) -> None:
    """Run blocking work in a thread; a cancellation meanwhile is passed on when it has ended."""
    if await in_thread(work):
        raise asyncio.CancelledError
