"""Retention: what the operator lets go of goes, and nothing else (DESIGN, retention)."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_builders import (
    CLUSTER,
    VALIDATOR,
    FailingDisk,
    Reluctant,
    commit,
    crash_copy,
    decided,
    decision,
    instance,
    prepare,
    proposal,
)

from qbft.core.messages import InstanceId
from qbft.errors import BelowLowWaterMark, InvariantViolation, JournalError, QbftError
from qbft.replica.protocols import MarkRecord, QuarantineRecord
from qbft_server.store.decisions import DecisionTable
from qbft_server.store.faults import FaultHook
from qbft_server.store.journal import JournalLimits
from qbft_server.store.limits import StoreLimits
from qbft_server.store.retention import Retention, RetentionRule, choose_mark
from qbft_server.store.segments import HEADER_BYTES
from qbft_server.store.store import DECISIONS_FILE, JOURNAL_DIRECTORY, NodeStore
from qbft_server.store.upkeep import ABANDONED, abandon_instances

pytestmark = pytest.mark.real_clock

DEADLINE_S = 10
TOPIC = instance(0).topic
FAST = StoreLimits(flush_interval_ms=0, flush_retry_ms=1, retain_interval_ms=1)
TEN = RetentionRule("prices/", keep_decisions=10)
DAY_S = 86_400


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an empty store."""
    NodeStore.create(tmp_path / "node", CLUSTER, VALIDATOR)
    return tmp_path / "node"


@asynccontextmanager
async def keeping(
    directory: Path,
    *rules: RetentionRule,
    undecided: Iterable[InstanceId] = (),
    limits: StoreLimits = FAST,
    fault: FaultHook | None = None,
) -> AsyncIterator[NodeStore]:
    """A store with its tasks, as a node keeps it."""
    async with aclosing(
        NodeStore.open(directory, CLUSTER, VALIDATOR, limits=limits, fault=fault)
    ) as store:
        tasks = [
            asyncio.create_task(store.run()),
            asyncio.create_task(store.retain(Retention(rules), lambda: undecided)),
        ]
        try:
            yield store
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def until_mark(store: NodeStore, height: int) -> None:
    """Wait until the topic's mark is there, and nothing below it is left."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            rows = store._table.oldest(TOPIC, 1)
            low = rows[0][0] if rows else height
            is_there = (
                store.low_water_mark(TOPIC) == height and not store.journal.live.pending_marks
            )
            if is_there and low >= height:
                return
            await asyncio.sleep(0.001)


async def settle(store: NodeStore) -> None:
    """Let retention look so often that it has done all that it will."""
    async with asyncio.timeout(DEADLINE_S):
        while store.journal.live.pending_count:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)


HOUR_OLD = [(height, 10_000 - 3_600) for height in (3, 5, 6, 9, 12)]


@pytest.mark.parametrize(
    ("rule", "spare", "undecided_min", "mark"),
    [
        (RetentionRule("", keep_decisions=3), 2, None, 6),
        (RetentionRule("", keep_decisions=3), 0, None, None),
        (RetentionRule("", keep_decisions=1), 99, None, 12),
        (RetentionRule("", keep_decisions=1), 99, 6, 6),
        (RetentionRule("", keep_decisions=1), 99, 4, 4),
        (RetentionRule("", keep_decisions=1), 99, 3, None),
        (RetentionRule("", keep_decisions=1), 99, 1, None),
        (RetentionRule("", keep_seconds=3_600), 99, None, 12),
        (RetentionRule("", keep_seconds=3_601), 99, None, None),
        (RetentionRule("", keep_decisions=3, keep_seconds=3_600), 2, None, 6),
        (RetentionRule("", keep_decisions=3, keep_seconds=3_601), 2, None, None),
    ],
)
def test_the_mark_follows_the_policy(
    rule: RetentionRule, spare: int, undecided_min: int | None, mark: int | None
) -> None:
    """Counts and age, whatever the heights are; nothing undecided is passed; the last row stays."""
    assert (
        choose_mark(rule, HOUR_OLD, spare=spare, now_s=10_000, undecided_min=undecided_min) == mark
    )


@given(
    heights=st.sets(st.integers(0, 40), min_size=1),
    spare=st.integers(0, 50),
    undecided=st.none() | st.integers(0, 40),
)
def test_a_mark_lets_go_of_no_more_than_it_may(
    heights: set[int], spare: int, undecided: int | None
) -> None:
    """For every topic: at most `spare` go, none at or above an undecided height, one stays."""
    rows = [(height, 0) for height in sorted(heights)]
    rule = RetentionRule("", keep_decisions=1)
    mark = choose_mark(rule, rows, spare=spare, now_s=0, undecided_min=undecided)
    if mark is None:
        return
    gone = [height for height in heights if height < mark]
    assert 0 < len(gone) <= spare
    assert len(gone) < len(heights)
    assert undecided is None or mark <= undecided


def test_the_longest_prefix_rules() -> None:
    """Policies are per topic prefix; a topic that none names is kept for ever."""
    wide, narrow = RetentionRule("a/", keep_decisions=1), RetentionRule("a/b", keep_decisions=9)
    retention = Retention([wide, narrow])
    assert retention.rule_of("a/c") == wide
    assert retention.rule_of("a/bc") == narrow
    assert retention.rule_of("b") is None
    retention.add("b", 1_000)
    retention.add("a/b", 9)
    retention.add("a/c", 2)
    assert retention.next_topics() == ["a/c"]
    assert retention.next_topics() == []


async def test_the_highest_so_many_are_kept(directory: Path) -> None:
    """SCENARIOS K28: what is below the mark is gone, and said to be, after a restart too."""
    async with keeping(directory, TEN) as store:
        await store.commit([decided(height) for height in range(0, 60, 2)])
        await until_mark(store, 40)
        kept = tuple(decision(height) for height in range(40, 60, 2))
        assert store.list_topic(TOPIC, 0, 99) == kept
        assert [height for height, _ in store.list_sizes(TOPIC, 0, 99)] == list(range(40, 60, 2))
        assert store.get(instance(38)) is None
        assert store.size(instance(38)) == 0
        assert store.is_below_mark(instance(38))
        assert not store.is_below_mark(instance(40))
        assert store.low_water_mark("other") == 0
        assert store.stats.deleted == 20
        assert store.end == 30
        assert store.feed(0, 99) == tuple((n // 2 + 1, instance(n)) for n in range(40, 60, 2))
        assert store.deleted_position == 20
    async with keeping(directory) as store:
        assert store.low_water_mark(TOPIC) == 40
        assert store.get(instance(38)) is None
        assert store.is_below_mark(instance(38))
        assert store.list_topic(TOPIC, 0, 99) == kept
        assert (store.end, store.deleted_position) == (30, 20)
        await store.commit([decided(60)])
        assert store.feed(30, 9) == ((31, instance(60)),)


async def test_a_topic_without_a_policy_is_kept_for_ever(directory: Path) -> None:
    """No mark moves but by the operator's policy."""
    async with keeping(directory, RetentionRule("weights/", keep_decisions=1)) as store:
        await store.commit([decided(height) for height in range(50)])
        await settle(store)
        assert store.low_water_mark(TOPIC) == 0
        assert len(store.list_topic(TOPIC, 0, 99)) == 50


async def test_old_decisions_go(directory: Path) -> None:
    """Age is counted from when a decision was stored here; the highest one stays."""
    async with keeping(directory) as store:
        await store.commit([decided(height) for height in range(5)])
    with closing(sqlite3.connect(directory / DECISIONS_FILE)) as connection, connection:
        connection.execute(
            "UPDATE decisions SET stored_s = stored_s - ? WHERE height < 3", (DAY_S,)
        )
    async with keeping(directory, RetentionRule("", keep_seconds=DAY_S - 60)) as store:
        await until_mark(store, 3)
        assert store.list_topic(TOPIC, 0, 9) == (decision(3), decision(4))


async def test_nothing_undecided_is_passed(directory: Path) -> None:
    """Neither what this node has voted in, nor what its replica has open."""
    async with keeping(directory, TEN, undecided=[instance(25)]) as store:
        await store.commit([prepare(15)])
        await store.commit([decided(height) for height in range(60) if height not in (15, 25)])
        await until_mark(store, 15)
        await settle(store)
        assert store.low_water_mark(TOPIC) == 15
        await store.commit([decided(15)])
        await until_mark(store, 25)
        await settle(store)
        assert store.low_water_mark(TOPIC) == 25


async def test_what_the_operator_abandons_by_name_is_passed(directory: Path) -> None:
    """Its votes are kept until then: they bind this node as long as it may vote there."""
    async with keeping(directory) as store:
        await store.commit([prepare(3), commit(3)])
        assert len(list(store.recover())) == 2
        await store.commit([QuarantineRecord(instance(3), "given up", abandoned=True)])
        await store.commit([QuarantineRecord(instance(8), "a bug of the engine")])
        assert [type(record) for record in store.recover()] == [QuarantineRecord] * 2
    async with keeping(directory, TEN) as store:
        await store.commit([decided(height) for height in range(60) if height not in (3, 8)])
        await until_mark(store, 8)
        assert list(store.recover()) == [QuarantineRecord(instance(8), "a bug of the engine")]


async def test_a_mark_is_journaled_before_anything_goes(directory: Path) -> None:
    """Killed in between, the next life has the mark and finishes; a failed commit deletes nothing.

    DESIGN: journaled before anything is deleted.
    """
    async with keeping(directory) as store:
        await store.commit([decided(height) for height in range(30)])
    disk = FailingDisk("after_append", errno.EIO)
    async with keeping(directory, TEN, fault=disk) as store:
        async with asyncio.timeout(DEADLINE_S):
            while disk.remaining:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert store._table.counts() == {TOPIC: 30}
        with pytest.raises(JournalError):
            await store.commit([decided(99)])
        copy = crash_copy(directory)
    async with aclosing(NodeStore.open(copy, CLUSTER, VALIDATOR)) as store:
        assert store.low_water_mark(TOPIC) == 20, "what is in the file is there after the crash"
        assert store.list_topic(TOPIC, 0, 99) == tuple(map(decision, range(20, 30)))
        assert store.journal.live.pending_marks == [MarkRecord(TOPIC, 20)]
        task = asyncio.create_task(store.retain(Retention([TEN]), lambda: ()))
        await until_mark(store, 20)
        task.cancel()
        assert store._table.counts() == {TOPIC: 10}


@pytest.mark.parametrize("rules", [(), (RetentionRule("", keep_decisions=100),)])
async def test_a_mark_is_carried_out_whatever_the_policy_is_by_now(
    directory: Path, rules: tuple[RetentionRule, ...]
) -> None:
    """Killed after it was journaled: the next life may have no rule for it, or one that keeps more.

    DESIGN: a mark is for ever. Left to the journal alone it would hold its segments there, and the
    decisions that nobody is given any more in SQLite; a topic may also have none there.
    """
    journal = JournalLimits(segment_bytes_max=HEADER_BYTES + 1)
    limits = replace(FAST, delete_decisions_max=4, journal=journal)
    async with keeping(directory, limits=limits) as store:
        await store.commit([decided(height) for height in range(30)])
        await settle(store)
    async with aclosing(NodeStore.open(directory, CLUSTER, VALIDATOR)) as store:
        await store.commit([MarkRecord(TOPIC, 20), MarkRecord("none/stored", 7)])
        copy = crash_copy(directory)
    async with keeping(copy, *rules, limits=limits) as store:
        assert len(store.journal.live.pending_marks) == 2
        Reluctant(store, 3, "delete_below")
        await until_mark(store, 20)
        assert store.stats.flush_failures == 3
        assert store.list_topic(TOPIC, 0, 99) == tuple(map(decision, range(20, 30)))
        await store.commit([prepare(40)])
        assert len(list((copy / JOURNAL_DIRECTORY).glob("*.segment"))) == 1
        assert store._table.marks() == {TOPIC: 20, "none/stored": 7}


async def test_nothing_below_a_mark_is_voted_on(directory: Path) -> None:
    """A replica that tries has a bug, and is stopped before the vote is durable."""
    async with keeping(directory, TEN) as store:
        await store.commit([decided(height) for height in range(30)])
        await until_mark(store, 20)
        with pytest.raises(InvariantViolation, match="below its topic's mark"):
            await store.commit([prepare(19)])
        await store.commit([prepare(31)])


async def test_whoever_waits_below_a_mark_is_told(directory: Path) -> None:
    """A watch at an instance that will never be decided here must not wait for ever."""
    async with keeping(directory, TEN) as store:
        waiting = asyncio.create_task(store.wait_for(instance(7)))
        await store.commit([decided(height) for height in range(30) if height != 7])
        await until_mark(store, 20)
        with pytest.raises(BelowLowWaterMark, match="from height 20 on"):
            await waiting
        with pytest.raises(BelowLowWaterMark):
            await store.wait_for(instance(8))


async def test_a_mark_that_sqlite_does_not_have_outlives_checkpoints(directory: Path) -> None:
    """The journal keeps it until SQLite has synced it, whatever happens to its segments."""
    journal = JournalLimits(segment_bytes_max=HEADER_BYTES + 1, retained_bytes_max=1)
    limits = StoreLimits(journal=journal)
    async with aclosing(NodeStore.open(directory, CLUSTER, VALIDATOR, limits=limits)) as store:
        await store.commit([MarkRecord(TOPIC, 5)])
        for height in range(10, 20):
            await store.commit([prepare(height)])
        assert store.journal.stats.checkpoints
        copy = crash_copy(directory)
    async with aclosing(NodeStore.open(copy, CLUSTER, VALIDATOR)) as store:
        assert store.low_water_mark(TOPIC) == 5


async def test_journal_and_store_stay_bounded(directory: Path) -> None:
    """Issue 4: with small segments, neither grows with what was decided before.

    4,000 decisions write more than 8 MB into the journal, and would be 6 MB of rows; at no time are
    more than 1 MiB of either on the disk.
    """
    journal = JournalLimits(segment_bytes_max=64 << 10, retained_bytes_max=256 << 10)
    limits = StoreLimits(flush_interval_ms=1, retain_interval_ms=1, journal=journal)
    rule = RetentionRule("", keep_decisions=100)
    value = bytes(500)
    most = 0
    async with keeping(directory, rule, limits=limits) as store:
        for start in range(0, 4_000, 20):
            heights = range(start, start + 20)
            await store.commit([proposal(h, value) for h in heights])
            await store.commit([record for h in heights for record in (prepare(h), commit(h))])
            await store.commit([decided(height, value) for height in heights])
            await asyncio.sleep(0.002)
            most = max(most, store.journal.retained_bytes)
            most = max(most, (directory / DECISIONS_FILE).stat().st_size)
        await until_mark(store, 3_900)
        assert store.journal.stats.bytes_written > 8 << 20
        assert store._table.counts() == {TOPIC: 100}
    assert most < 1 << 20


async def test_a_store_of_the_version_before_is_taken_over(tmp_path: Path, directory: Path) -> None:
    """DESIGN, section 4: one version back is read; its decisions count as stored now."""
    async with keeping(directory) as store:
        await store.commit([decided(height) for height in range(3)])
        store_id = store.store_id
    _make_version_1(directory / DECISIONS_FILE)
    before_s = int(time.time())
    async with keeping(directory) as store:
        assert store.store_id == store_id
        assert store.feed(0, 9) == tuple((h + 1, instance(h)) for h in range(3))
        assert store.end == 3
        assert all(stored_s >= before_s for _, stored_s in store._table.oldest(TOPIC, 9))
        await store.commit([decided(3)])
    async with keeping(directory, RetentionRule("", keep_decisions=1)) as store:
        await until_mark(store, 3)


async def test_an_old_store_in_use_is_not_touched(directory: Path) -> None:
    """The program that wrote it may be running: it is upgraded by whoever holds the lock."""
    async with keeping(directory):
        pass
    _make_version_1(directory / DECISIONS_FILE)
    async with aclosing(NodeStore.open(directory, CLUSTER, VALIDATOR)):
        _make_version_1(directory / DECISIONS_FILE)
        with pytest.raises(JournalError, match="in use by another process"):
            NodeStore.open(directory, CLUSTER, VALIDATOR)
        assert DecisionTable.is_old(directory / DECISIONS_FILE)


def _make_version_1(path: Path) -> None:
    """What the version before has written."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE marks; DROP TABLE reached; ALTER TABLE decisions DROP COLUMN stored_s;"
            "PRAGMA user_version = 1;"
        )


async def test_the_operator_gives_instances_up_by_name(directory: Path) -> None:
    """All that are named or none; only what this node has voted in and nobody has decided here."""
    async with keeping(directory) as store:
        await store.commit([prepare(1), prepare(2), decided(3)])
    for named, why in (
        ([1, 3], "/3: it is decided"),
        ([1, 4], "/4: this node has no vote in it"),
    ):
        with pytest.raises(QbftError, match=why):
            await abandon_instances(directory, CLUSTER, VALIDATOR, list(map(instance, named)))
    await abandon_instances(directory, CLUSTER, VALIDATOR, [instance(1)])
    with pytest.raises(QbftError, match="given up before"):
        await abandon_instances(directory, CLUSTER, VALIDATOR, [instance(1)])
    async with keeping(directory) as store:
        assert list(store.journal.live.undecided(TOPIC)) == [instance(2)]
        assert list(store.recover())[-1] == QuarantineRecord(instance(1), ABANDONED, abandoned=True)
        await store.commit([MarkRecord(TOPIC, 2)])
    with pytest.raises(QbftError, match="low-water mark, which is 2"):
        await abandon_instances(directory, CLUSTER, VALIDATOR, [instance(1)])
