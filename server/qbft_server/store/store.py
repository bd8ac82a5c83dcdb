"""A node's store: the vote journal, and the decisions that follow it into SQLite.

A decision is durable with the commit of its record and answerable from then on. A background task
moves decisions into SQLite; a segment of the journal is deleted when SQLite has synced all that it
alone held. Where SQLite cannot write, decisions stay in the journal, and the task tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from qbft.core.messages import HEIGHT_MAX, InstanceId, Value
from qbft.decision import Decision
from qbft.errors import BelowLowWaterMark, InvariantViolation, JournalError
from qbft.replica.bounds import Bites
from qbft.replica.protocols import DecisionRecord, Record, Standing, VoteRecord
from qbft_server.bounds import NodeBound
from qbft_server.store.decisions import DecisionsError, DecisionTable, RecentDecisions
from qbft_server.store.faults import FaultHook
from qbft_server.store.journal import VoteJournal
from qbft_server.store.limits import StoreLimits, StoreStats
from qbft_server.store.live import check_same, instance_of, value_bytes
from qbft_server.store.marks import LowWaterMarks
from qbft_server.store.retention import Retention
from qbft_server.store.threads import in_thread

JOURNAL_DIRECTORY = "journal"
DECISIONS_FILE = "decisions.sqlite3"
COUNTED_HEIGHTS = 16_384
"""Heights that are looked through in one piece of work of the event loop."""


class NodeStore:
    """Both `Journal` and `DecisionStore` of `qbft.replica.protocols`, on one directory.

    Its owner keeps `run()` in a task of its own and ends with `aclose()`.
    """

    def __init__(self, journal: VoteJournal, table: DecisionTable, limits: StoreLimits) -> None:
        self.journal = journal
        self.stats = StoreStats()
        self.bites = Bites()
        self._table = table
        self._limits = limits
        self._settled = table.end
        self._recent = RecentDecisions(limits.recent_decisions_max, limits.recent_bytes_max)
        self._flushing = asyncio.Lock()
        self._marks = LowWaterMarks(
            journal, table, limits, self.stats, writing=self._flushing, moved=self._wake_passed
        )
        self._changed = asyncio.Event()
        self._awaited: dict[InstanceId, set[asyncio.Future[None]]] = {}
        self._has_work = asyncio.Event()
        self._is_urgent = asyncio.Event()
        journal.settled_position = self._settled
        if journal.live.pending_count:
            self._has_work.set()

    @staticmethod
    def create(
        directory: Path, cluster_id: bytes, validator: int, *, replaces: bool = False
    ) -> None:
        """Make an empty store; only `init` does (HARDENING W7).

        With `replaces` it says that its validator had another one, whose votes are lost.

        Raises:
            QbftError: there is one already, or the disk refuses.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"cannot make {directory}: {error.strerror}") from error
        VoteJournal.create(directory / JOURNAL_DIRECTORY, cluster_id, validator, replaces=replaces)
        journal = VoteJournal.open(directory / JOURNAL_DIRECTORY, cluster_id, validator)
        try:
            path = directory / DECISIONS_FILE
            DecisionTable.create(path, cluster_id, validator, journal.store_id)
        finally:
            journal.close()

    @classmethod
    def open(
        cls,
        directory: Path,
        cluster_id: bytes,
        validator: int,
        *,
        limits: StoreLimits | None = None,
        fault: FaultHook | None = None,
    ) -> NodeStore:
        """Open the store that `init` made; blocks while it reads the journal.

        Raises:
            QbftError: there is none; it is damaged, foreign or of another version; its parts do
                not belong together; or another process holds it.
            InvariantViolation: it holds two decisions for one instance.
        """
        limits = limits or StoreLimits()
        with contextlib.ExitStack() as undo:
            if DecisionTable.is_old(directory / DECISIONS_FILE):
                with VoteJournal.unused(directory / JOURNAL_DIRECTORY):
                    DecisionTable.upgrade(directory / DECISIONS_FILE)
            table = DecisionTable.open(directory / DECISIONS_FILE)
            undo.callback(table.close)
            journal = VoteJournal.open(
                directory / JOURNAL_DIRECTORY,
                cluster_id,
                validator,
                check_store=partial(table.check_owner, cluster_id, validator),
                settled_digest=table.digest,
                marks=table.marks(),
                limits=limits.journal,
                fault=fault,
            )
            undo.callback(journal.close)
            if table.end < journal.settled_position:
                raise JournalError(
                    f"{directory / DECISIONS_FILE} ends at {table.end}, but decisions up to "
                    f"{journal.settled_position} were stored there: it was lost or restored from a "
                    "backup, and this node must not vote again: see docs/OPERATIONS.md"
                )
            store = cls(journal, table, limits)
            undo.pop_all()
        return store

    def restore(self, decisions: Iterable[Decision], marks: Mapping[str, int]) -> int:
        """Take over the decisions and marks of a backup, all or none; blocks, in no running node.

        Only a store that has never held a vote or a decision does: what is taken over must not
        meet what was decided here, and a node with votes of its own needs no backup. Gives how
        many decisions there are.

        Raises:
            QbftError: this one has; or the disk refuses; or whatever `decisions` raises.
        """
        if (
            self.next_sequence != 1
            or self.end
            or self._marks.by_topic
            or self.journal.live.open_count
        ):
            raise DecisionsError(
                "this store has been used: restore right after `qbft init --replace`, before the "
                "node is started"
            )
        return self._table.restore(decisions, marks)

    async def run(self) -> None:
        """Move decisions into SQLite, in batches, off the critical path, until cancelled."""
        while True:
            await self._has_work.wait()
            if not self._is_urgent.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.flush_interval_ms / 1_000):
                        await self._is_urgent.wait()
            self._is_urgent.clear()
            if not await self._flush():
                await asyncio.sleep(self._limits.flush_retry_ms / 1_000)
            if not self.journal.live.pending_count:
                self._has_work.clear()

    async def retain(
        self, retention: Retention, undecided: Callable[[], Iterable[InstanceId]]
    ) -> None:
        """Apply the operator's policy, off the critical path, until cancelled; see `LowWaterMarks`.

        `undecided` gives the instances that are open or not durably decided: no mark passes them.
        """
        await self._marks.keep_to(retention, undecided)

    async def aclose(self) -> None:
        """Move what SQLite takes, wait for what is under way, and give files and lock back."""
        try:
            while self.journal.live.pending_count and await self._flush():
                pass
        finally:
            await self.journal.aclose()
            self._table.close()

    @property
    def store_id(self) -> bytes:
        """16 random bytes that name this store, fixed when it was created."""
        return self.journal.store_id

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next own vote gets; votes are numbered from 1, gapless."""
        return self.journal.next_sequence

    @property
    def standing(self) -> Standing:
        """Whether its journal holds every vote that this node's key has cast (HARDENING W7)."""
        return self.journal.standing

    def recover(self) -> Iterable[Record]:
        """The standing, evidence, then the records of undecided instances as they came."""
        return self.journal.recover()

    async def commit(self, records: Sequence[Record]) -> None:
        """Make all records durable; decisions among them are answered from then on.

        Raises:
            JournalError: not durable, and never will be.
            InvariantViolation: a second decision for an instance; nothing was written (W4).
        """
        before = self.end
        try:
            self._check_marks(records)
            self._check_decisions(records)
            await self._make_room()
            await self.journal.commit(records)
        except DecisionsError as error:
            raise JournalError(f"voting stops: {error}") from error
        finally:
            if self.end > before:
                self._announce(records)

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance, or None; None where it is not kept any more."""
        if self.is_below_mark(instance):
            return None
        decision = self.journal.live.pending(instance) or self._recent.get(instance)
        if decision is None and not self.journal.live.is_open(instance):
            decision = self._table.get(instance)
            if decision is not None:
                self._recent.put(instance, decision)
        return decision

    def digest(self, instance: InstanceId) -> Value | None:
        """What was decided of an instance, or None; value and certificate are not read for it."""
        if self.is_below_mark(instance):
            return None
        known = self.journal.live.pending(instance) or self._recent.peek(instance)
        if known is not None:
            return known.certificate.value
        return None if self.journal.live.is_open(instance) else self._table.digest(instance)

    def position(self, instance: InstanceId) -> int | None:
        """Its position in this node's order; None where it is not decided, or not kept."""
        if self.is_below_mark(instance):
            return None
        place = self.journal.live.place(instance)
        return self._table.position(instance) if place is None else self._settled + place

    def size(self, instance: InstanceId) -> int:
        """About how many bytes a decision has, which is not read for it; 0 where there is none."""
        if self.is_below_mark(instance):
            return 0
        known = self.journal.live.pending(instance) or self._recent.peek(instance)
        return self._table.size(instance) if known is None else value_bytes(known)

    def add(self, decisions: Sequence[Decision]) -> None:
        """See that these decisions are known; their commit has made them so.

        Raises:
            InvariantViolation: one was never committed, or with another value.
        """
        for decision in decisions:
            instance = instance_of(DecisionRecord(decision))
            known = self.get(instance)
            if known is None:
                raise InvariantViolation(f"the decision of {instance} was not journaled")
            check_same(instance, known.certificate.value, decision.certificate.value)

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """(position, instance) of decisions in this node's order, positions above `after`."""
        after = min(max(after, 0), self.end)
        limit = min(max(limit, 0), self.end)
        found = self._table.feed(after, limit, self._settled)
        start = max(after - self._settled, 0)
        pending = self.journal.live.pending_decisions(start, limit - len(found))
        for position, decision in enumerate(pending, self._settled + start + 1):
            found.append((position, instance_of(DecisionRecord(decision))))
        return tuple(found)

    def list_topic(self, topic: str, from_height: int, limit: int) -> tuple[Decision, ...]:
        """At most `limit` decisions of a topic, by height from `from_height` on."""
        from_height, limit = self._kept_part(topic, from_height, limit)
        found = {
            instance_of(DecisionRecord(decision)).height: decision
            for decision in self._table.list_topic(topic, from_height, limit, self._settled)
        }
        found |= self._pending_part(topic, from_height)
        return tuple(found[height] for height in sorted(found)[:limit])

    def list_sizes(self, topic: str, from_height: int, limit: int) -> tuple[tuple[int, int], ...]:
        """(height, about how many bytes) of what `list_topic` would give, nothing of it read."""
        from_height, limit = self._kept_part(topic, from_height, limit)
        found = dict(self._table.list_sizes(topic, from_height, limit, self._settled))
        for height, decision in self._pending_part(topic, from_height).items():
            found[height] = value_bytes(decision)
        return tuple(sorted(found.items())[:limit])

    def _kept_part(self, topic: str, from_height: int, limit: int) -> tuple[int, int]:
        """(from height, limit) of a list, without what is not kept and what is none."""
        from_height = min(max(from_height, self.low_water_mark(topic)), HEIGHT_MAX)
        return from_height, min(max(limit, 0), self.end)

    def _pending_part(self, topic: str, from_height: int) -> dict[int, Decision]:
        """By height, the decisions of a list that are not settled yet."""
        return {
            instance.height: decision
            for instance, decision in self.journal.live.pending_items()
            if instance.topic == topic and instance.height >= from_height
        }

    def highest(self, after: str, limit: int) -> tuple[InstanceId, ...]:
        """The highest decided instance of each topic, of so many topics in order above `after`."""
        highest = dict(self._table.highest(after, limit))
        for instance, _ in self.journal.live.pending_items():
            if instance.topic > after:
                known = highest.get(instance.topic, 0)
                highest[instance.topic] = max(instance.height, known)
        return tuple(InstanceId(topic, highest[topic]) for topic in sorted(highest)[:limit])

    @property
    def end(self) -> int:
        """The position of the last decision; 0 when there is none. Also how many there are."""
        return self._settled + self.journal.live.pending_count

    def topics(self) -> Iterable[str]:
        """The topics of which there is a decision or a low-water mark, some of them twice."""
        yield from self._table.topics()
        yield from self._marks.by_topic
        for instance, _ in self.journal.live.pending_items():
            yield instance.topic

    def low_water_mark(self, topic: str) -> int:
        """The lowest height of the topic that is still kept; below it nothing is voted on."""
        return self._marks.of(topic)

    def low_water_marks(self) -> Mapping[str, int]:
        """The marks of all topics that have one."""
        return self._marks.by_topic

    def is_below_mark(self, instance: InstanceId) -> bool:
        """Whether the instance is not kept any more."""
        return self._marks.is_passed(instance)

    @property
    def deleted_position(self) -> int:
        """The highest position that was deleted: before it, the feed has gaps."""
        return self._marks.deleted_position

    async def wait_for_decisions(self, after: int) -> int:
        """Wait until `end` is above `after`; returns it."""
        while self.end <= after:
            await self._changed.wait()
        return self.end

    async def first_undecided(self, topic: str, from_height: int = 0) -> int:
        """The first height of a topic, from one on or its mark, that is not decided here.

        Counted a piece at a time, however many there are below it.

        Raises:
            DecisionsError: the decisions cannot be read.
        """
        height = max(from_height, self.low_water_mark(topic))
        if self.get(InstanceId(topic, height)) is None:  # as is usual for who has asked before
            return height
        while height <= HEIGHT_MAX:
            last = min(height + COUNTED_HEIGHTS - 1, HEIGHT_MAX)
            gap = self._table.first_gap(topic, height, last)
            if gap is None:
                height = last + 1
            elif self.journal.live.pending(InstanceId(topic, gap)) is not None:
                height = gap + 1
            else:
                return gap
            await asyncio.sleep(0)
        return height

    async def wait_for(self, instance: InstanceId) -> Decision:
        """Wait until this instance is decided; others' decisions cost the waiter nothing.

        Raises:
            BelowLowWaterMark: it is not kept any more.
        """
        while (decision := self.get(instance)) is None:
            if self.is_below_mark(instance):
                raise BelowLowWaterMark(instance, self.low_water_mark(instance.topic))
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._awaited.setdefault(instance, set())
            waiting.add(waiter)
            try:
                await waiter
            finally:
                waiting.discard(waiter)
                if not waiting and self._awaited.get(instance) is waiting:
                    del self._awaited[instance]
        return decision

    def _check_marks(self, records: Sequence[Record]) -> None:
        """Refuse a vote on what was given up, before it is written (DESIGN, retention)."""
        if not self._marks.by_topic:
            return
        for record in records:
            if isinstance(record, VoteRecord) and self.is_below_mark(instance_of(record)):
                raise InvariantViolation(f"a vote on {instance_of(record)}, below its topic's mark")

    def _check_decisions(self, records: Sequence[Record]) -> None:
        """Refuse a second, different decision before it is written."""
        digests: dict[InstanceId, object] = {}
        for record in records:
            if not isinstance(record, DecisionRecord):
                continue
            instance, digest = instance_of(record), record.decision.certificate.value
            if instance not in digests:
                digests[instance] = self._known_digest(instance) or digest
            check_same(instance, digests[instance], digest)

    def _known_digest(self, instance: InstanceId) -> object | None:
        if self.journal.live.is_open(instance):
            return None
        pending = self.journal.live.pending(instance)
        return pending.certificate.value if pending else self._table.digest(instance)

    async def _make_room(self) -> None:
        live, limits = self.journal.live, self._limits
        while (
            is_many := live.pending_count >= limits.pending_decisions_max
        ) or live.pending_bytes >= limits.pending_bytes_max:
            self.stats.full_waits += 1
            self.bites.note(
                NodeBound.PENDING_DECISIONS_MAX if is_many else NodeBound.PENDING_BYTES_MAX
            )
            if not await self._flush():
                raise JournalError(
                    f"{live.pending_count} decisions wait for {DECISIONS_FILE}, which cannot be "
                    "written; voting stops"
                )

    def _announce(self, records: Sequence[Record]) -> None:
        """Wake whoever waits for decisions, and the task that moves them."""
        self._changed.set()
        self._changed = asyncio.Event()
        if self._awaited:
            for record in records:
                if isinstance(record, DecisionRecord):
                    self._wake(instance_of(record))
        self._has_work.set()
        live, limits = self.journal.live, self._limits
        if (
            live.pending_count >= limits.flush_decisions_max
            or live.pending_bytes >= limits.flush_bytes_max
        ):
            self._is_urgent.set()

    def _wake(self, instance: InstanceId) -> None:
        """Have those who wait for the instance look again."""
        for waiter in self._awaited.pop(instance, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _wake_passed(self) -> None:
        """Have those look again who wait for what a mark has passed."""
        for instance in list(self._awaited):
            if self.is_below_mark(instance):
                self._wake(instance)

    async def _flush(self) -> bool:
        """Move one batch; returns whether SQLite took it."""
        async with self._flushing:
            batch = self._next_batch()
            begun = time.perf_counter()
            try:
                interrupted = await self._store(batch)
            except sqlite3.Error:
                self.stats.flush_failures += 1
                return False
            self._settle(batch, time.perf_counter() - begun)
        if interrupted:
            raise asyncio.CancelledError
        return True

    async def _store(self, batch: Sequence[Decision]) -> bool:
        """Write the batch in the loop, a little at a time, and let a thread wait for the disk.

        Returns whether this task was cancelled while the thread waited.
        """
        chunk = self._limits.insert_decisions_max
        try:
            stored = self._table.begin() - self._settled
            for start in range(max(stored, 0), len(batch), chunk):
                self._table.insert(self._settled + 1 + start, batch[start : start + chunk])
                await asyncio.sleep(0)
            return await in_thread(self._table.commit)
        except BaseException:
            self._table.abandon()
            raise

    def _next_batch(self) -> list[Decision]:
        batch: list[Decision] = []
        size = 0
        waiting = self.journal.live.pending_decisions(0, self._limits.flush_decisions_max)
        for decision in waiting:
            size += value_bytes(decision)
            if batch and size > self._limits.flush_bytes_max:
                break
            batch.append(decision)
        return batch

    def _settle(self, batch: Sequence[Decision], seconds: float) -> None:
        """The batch is synced in SQLite: the journal need not keep it."""
        self.journal.live.settle(len(batch))
        self._settled += len(batch)
        self.journal.settled_position = self._settled
        for decision in batch:
            instance = instance_of(DecisionRecord(decision))
            self._table.note_stored(instance)
            self._marks.note_stored(instance.topic)
            self._recent.put(instance, decision)
        self.stats.flushes += 1
        self.stats.flush_seconds_last = seconds
        self.stats.flush_seconds_max = max(seconds, self.stats.flush_seconds_max)
        self.stats.flush_seconds.add(seconds)
