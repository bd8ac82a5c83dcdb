"""The whole store: decisions answer from their commit on, and follow into SQLite."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
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

from qbft.decision import Decision
from qbft.errors import InvariantViolation, JournalError, QbftError
from qbft.replica.protocols import DecisionRecord, DecisionStore, Journal, MarkRecord
from qbft_server.store.decisions import DecisionsError, DecisionTable
from qbft_server.store.faults import FaultHook
from qbft_server.store.journal import JournalLimits
from qbft_server.store.limits import StoreLimits
from qbft_server.store.live import value_bytes
from qbft_server.store.segments import HEADER_BYTES
from qbft_server.store.store import DECISIONS_FILE, JOURNAL_DIRECTORY, NodeStore

pytestmark = pytest.mark.real_clock

DEADLINE_S = 10
AT_ONCE = StoreLimits(flush_interval_ms=0, flush_retry_ms=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an empty store."""
    NodeStore.create(tmp_path / "node", CLUSTER, VALIDATOR)
    return tmp_path / "node"


def opened(
    directory: Path, limits: StoreLimits | None = None, fault: FaultHook | None = None
) -> NodeStore:
    """The store, without its task."""
    return NodeStore.open(directory, CLUSTER, VALIDATOR, limits=limits, fault=fault)


@asynccontextmanager
async def running(
    directory: Path, limits: StoreLimits | None = None, fault: FaultHook | None = None
) -> AsyncIterator[NodeStore]:
    """A store with its task, as a node keeps it."""
    async with aclosing(opened(directory, limits, fault)) as store:
        task = asyncio.create_task(store.run())
        try:
            yield store
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def all_moved(store: NodeStore) -> None:
    """Wait until SQLite has all."""
    await until(lambda: not store.journal.live.pending_count)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)


def feed_of(heights: Sequence[int], first: int = 1) -> tuple[tuple[int, object], ...]:
    """A feed of these heights."""
    return tuple((position, instance(h)) for position, h in enumerate(heights, first))


async def test_it_is_what_a_replica_needs(directory: Path) -> None:
    """`NodeStore` is both protocols of the replica."""
    async with running(directory) as store:
        journal: Journal = store
        decisions: DecisionStore = store
        assert (journal.next_sequence, len(journal.store_id)) == (1, 16)
        assert (decisions.end, list(journal.recover())) == (0, [])


async def test_decision_answers_from_its_commit_on(directory: Path) -> None:
    """DESIGN: with its record in the journal a decision is durable, and given to who asks."""
    async with aclosing(opened(directory)) as store:
        assert store.get(instance(1)) is None
        await store.commit([prepare(1), commit(1)])
        assert store.get(instance(1)) is None
        await store.commit([decided(1), prepare(2)])
        await store.commit([decided(5), decided(3)])
        store.add([decision(1), decision(5)])
        assert store.get(instance(1)) == decision(1)
        assert store.end == 3
        assert store.feed(0, 10) == feed_of([1, 5, 3])
        assert store.feed(1, 1) == feed_of([5], first=2)
        assert store.list_topic(instance(1).topic, 2, 9) == (decision(3), decision(5))
        assert store.list_topic("other", 0, 9) == ()


async def test_topics_are_those_of_decisions_and_marks(directory: Path) -> None:
    """They count for the limit of their prefix (DESIGN, retention), wherever they are kept."""
    async with aclosing(opened(directory)) as store:
        assert set(store.topics()) == set()
        other = Decision(b"v", replace(decision(1).certificate, instance=instance(1, "other")))
        await store.commit([decided(1), decided(2), DecisionRecord(other)])
        assert set(store.topics()) == {"other", "prices/btc"}
        await store._flush()
        await store.commit([MarkRecord("third", 4), prepare(7)])
        assert sorted(store._table.topics()) == ["other", "prices/btc"]
    async with aclosing(opened(directory)) as store:
        assert set(store.topics()) == {"other", "prices/btc", "third"}


async def test_answers_are_the_same_before_while_and_after_moving(directory: Path) -> None:
    """Where a decision is kept must not show: not in the feed, in a list, or in its position."""
    heights = [7, 2, 9, 4, 1, 8]
    limits = StoreLimits(flush_decisions_max=2)
    topic = instance(0).topic
    async with aclosing(opened(directory, limits)) as store:
        await store.commit([decided(height) for height in heights])
        for moved in range(0, 8, 2):
            assert store.feed(0, 99) == feed_of(heights)
            assert store.feed(3, 2) == feed_of([4, 1], first=4)
            assert store.list_topic(topic, 2, 3) == (decision(2), decision(4), decision(7))
            sizes = store.list_sizes(topic, 2, 3)
            assert [height for height, _ in sizes] == [2, 4, 7]
            for height, size in sizes:
                value = value_bytes(decision(height))
                assert value <= size < value + 1_000
                assert value <= store.size(instance(height)) < value + 1_000
            assert store.size(instance(3)) == store.size(instance(99)) == 0
            assert store.highest("", 9) == (instance(9),)
            assert [store.get(instance(height)) for height in heights] == list(
                map(decision, heights)
            )
            assert store.end == 6
            assert store.journal.live.pending_count == max(6 - moved, 0)
            assert await store._flush()


async def test_the_first_undecided_height(directory: Path) -> None:
    """docs/adr/017: below it there is no gap, wherever its decisions are kept by now.

    A higher one may be decided out of turn; that hides no gap.
    """
    async with running(directory, AT_ONCE) as store:
        assert await store.first_undecided("prices/btc") == 0
        stored = [*range(40), *range(50, 60), 90]
        await store.commit([decided(height) for height in stored])
        await until(lambda: not store.journal.live.pending_count)
        assert await store.first_undecided("prices/btc") == 40
        assert await store.first_undecided("prices/btc", 55) == 60
        assert await store.first_undecided("prices/btc", 91) == 91
        assert await store.first_undecided("prices/eth", 7) == 7
    async with aclosing(opened(directory)) as store:
        await store.commit([decided(height) for height in range(40, 50)])
        assert store.journal.live.pending_count == 10
        assert await store.first_undecided("prices/btc") == 60
        await store._marks._set(MarkRecord("prices/btc", 70))
        assert await store.first_undecided("prices/btc") == 70


async def test_requests_outside_all_bounds_are_answered(directory: Path) -> None:
    """A peer's cursor may be any number of 64 bits: it finds what there is, or nothing."""
    async with aclosing(opened(directory)) as store:
        await store.commit([decided(1), decided(2)])
        await store._flush()
        await store.commit([decided(3)])
        topic = instance(0).topic
        assert store.feed(2**64 - 1, 2**64 - 1) == ()
        assert store.feed(-(2**64), 2**64) == feed_of([1, 2, 3])
        assert store.feed(0, -1) == ()
        assert store.list_topic(topic, 2**64, 2**64) == ()
        assert store.list_topic(topic, -(2**64), 2**64) == tuple(map(decision, (1, 2, 3)))
        assert store.list_topic(topic, 0, -1) == ()
        assert store.list_sizes(topic, 2**64, 2**64) == store.list_sizes(topic, 0, -1) == ()
        assert len(store.list_sizes(topic, -(2**64), 2**64)) == 3


async def test_table_that_cannot_be_read_stops_the_voting(directory: Path) -> None:
    """Whether an instance is decided must be known before its records are kept (HARDENING W4)."""
    async with aclosing(opened(directory)) as store:
        store._table._writer.execute("DROP TABLE decisions")
        for records in ([decided(1)], [prepare(1)], [prepare(2)]):
            with pytest.raises(JournalError, match="voting stops"):
                await store.commit(records)


async def test_restart_keeps_decisions_positions_and_open_votes(directory: Path) -> None:
    """Killed with some decisions in SQLite and some not, everything is where it was."""
    limits = StoreLimits(flush_decisions_max=3)
    async with aclosing(opened(directory, limits)) as store:
        await store.commit([proposal(1), prepare(1), prepare(10)])
        await store.commit([decided(height) for height in (3, 1, 2, 6, 5)])
        await store._flush()
        copy = crash_copy(directory)
        table = DecisionTable.open(copy / DECISIONS_FILE)
        assert table.end == 3
        table.close()
    async with running(copy, AT_ONCE) as store:
        assert list(store.recover()) == [prepare(10)]
        assert store.feed(0, 9) == feed_of([3, 1, 2, 6, 5])
        assert store.get(instance(6)) == decision(6)
        await all_moved(store)
        assert store.feed(0, 9) == feed_of([3, 1, 2, 6, 5])
        await store.commit([decided(4)])
        assert store.feed(5, 9) == feed_of([4], first=6)


async def test_clean_end_moves_everything(directory: Path) -> None:
    """After `aclose` nothing waits, and the lock is free."""
    async with running(directory) as store:
        await store.commit([decided(height) for height in range(2_500)])
    async with running(directory) as store:
        assert store.journal.live.pending_count == 0
        assert store.end == 2_500
        assert store.get(instance(1_234)) == decision(1_234)


async def test_segments_go_once_sqlite_has_their_decisions(directory: Path) -> None:
    """Issue 2, stage 3: deleted only when SQLite has synced all it needs; K28 reads go on."""
    journal = JournalLimits(segment_bytes_max=HEADER_BYTES + 1)
    limits = StoreLimits(flush_interval_ms=0, journal=journal)
    async with running(directory, limits) as store:
        for height in range(20):
            await store.commit([prepare(height), decided(height)])
            await all_moved(store)
        assert store.journal.segments_deleted == 19
        assert len(list((directory / JOURNAL_DIRECTORY).glob("*.segment"))) == 1
    async with running(directory) as store:
        assert store.feed(0, 99) == feed_of(range(20))
        await store.commit([prepare(3), proposal(3)])
        assert store.journal.live.open_count == 0
        assert list(store.recover()) == []


async def test_second_decision_is_refused_before_it_is_written(directory: Path) -> None:
    """HARDENING W4: another digest stops the node, wherever the first one is kept by now."""
    async with aclosing(opened(directory)) as store:
        with pytest.raises(InvariantViolation, match="two decisions"):
            await store.commit([decided(1, b"x"), decided(1, b"y")])
        await store.commit([decided(1, b"x"), decided(1, b"x", round_=2)])
        for _ in range(2):
            with pytest.raises(InvariantViolation, match="two decisions"):
                await store.commit([decided(1, b"y")])
            await store.commit([decided(1, b"x", round_=3)])
            assert store.end == 1
            assert store.get(instance(1)) == decision(1, b"x")
            await store._flush()
        with pytest.raises(InvariantViolation, match="two decisions"):
            store.add([decision(1, b"y")])
        with pytest.raises(InvariantViolation, match="not journaled"):
            store.add([decision(2)])
    async with aclosing(opened(directory)) as store:
        assert store.feed(0, 9) == feed_of([1])


async def test_waiting_for_decisions(directory: Path) -> None:
    """`Watch` waits for positions; a commit without a decision wakes nobody for nothing."""
    async with running(directory, AT_ONCE) as store, asyncio.timeout(DEADLINE_S):
        waiters = [asyncio.create_task(store.wait_for_decisions(after)) for after in (0, 1)]
        await store.commit([prepare(1)])
        await asyncio.sleep(0)
        assert not any(waiter.done() for waiter in waiters)
        await store.commit([decided(1)])
        assert await waiters[0] == 1
        await all_moved(store)
        assert not waiters[1].done()
        await store.commit([decided(2), decided(3)])
        assert await waiters[1] == 3
        assert await store.wait_for_decisions(2) == 3


@pytest.mark.parametrize(
    ("method", "is_late"),
    [("begin", False), ("insert", False), ("commit", False), ("commit", True)],
)
async def test_sqlite_that_cannot_write_loses_nothing(
    directory: Path, method: str, is_late: bool
) -> None:
    """SCENARIOS K23: counted and tried again; decisions stay in the journal and answer."""
    async with running(directory, AT_ONCE) as store:
        Reluctant(store, 3, method, is_late=is_late)
        await store.commit([decided(1), decided(2)])
        assert store.get(instance(2)) == decision(2)
        await all_moved(store)
        assert store.stats.flush_failures == 3
        assert store.stats.flushes == 1
        assert store.feed(0, 9) == feed_of([1, 2])


async def test_end_with_sqlite_that_cannot_write_loses_nothing(directory: Path) -> None:
    """The next start finds in the journal what SQLite did not take."""
    async with aclosing(opened(directory)) as store:
        Reluctant(store, 9)
        await store.commit([decided(1), prepare(2)])
    async with running(directory) as store:
        assert store.feed(0, 9) == feed_of([1])
        assert list(store.recover()) == [prepare(2)]


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(
            StoreLimits(pending_decisions_max=3), marks=pytest.mark.bites("pending_decisions_max")
        ),
        pytest.param(
            StoreLimits(pending_bytes_max=300), marks=pytest.mark.bites("pending_bytes_max")
        ),
    ],
)
async def test_waiting_decisions_are_bounded(directory: Path, limits: StoreLimits) -> None:
    """DESIGN, bounds: when too many wait, a commit moves some first; if it cannot, voting stops."""
    async with aclosing(opened(directory, limits)) as store:
        for height in range(8):
            await store.commit([decided(height, b"x" * 100)])
        assert store.journal.live.pending_count == 2
        assert store.stats.full_waits == 2
        await store.commit([decided(8, b"x" * 100)])
        Reluctant(store, 1)
        with pytest.raises(JournalError, match="voting stops"):
            await store.commit([decided(9)])
        assert store.end == 9
        assert store.get(instance(9)) is None


async def test_k23_reads_go_on_after_the_journal_failed(directory: Path) -> None:
    """SCENARIOS K23: a full disk stops the voting, keeps serving reads; the next start is whole."""
    disk = FailingDisk("before_append", errno.ENOSPC, nth=3)
    async with running(directory, AT_ONCE, disk) as store:
        await store.commit([decided(1)])
        await store.commit([decided(2)])
        for _ in range(2):
            with pytest.raises(JournalError, match=os.strerror(errno.ENOSPC)):
                await store.commit([decided(3)])
        await all_moved(store)
        assert store.get(instance(1)) == decision(1)
        assert store.get(instance(3)) is None
        assert store.feed(0, 9) == feed_of([1, 2])
    async with running(directory) as store:
        assert store.feed(0, 9) == feed_of([1, 2])
        await store.commit([decided(3)])


async def test_full_batch_does_not_wait_for_the_interval(directory: Path) -> None:
    """A burst is moved at once, so that what waits in memory stays small."""
    limits = StoreLimits(flush_interval_ms=3_600_000, flush_decisions_max=5)
    async with running(directory, limits) as store:
        await store.commit([decided(height) for height in range(5)])
        await all_moved(store)
    limits_bytes = StoreLimits(flush_interval_ms=3_600_000, flush_bytes_max=100)
    async with running(directory, limits_bytes) as store:
        await store.commit([decided(5, b"x" * 80), decided(6, b"x" * 80)])
        await until(lambda: store.stats.flushes > 0)
        assert store.journal.live.pending_count == 1


async def test_cancelling_the_mover_leaves_the_books_right(directory: Path) -> None:
    """A batch under way is waited for and counted; nothing is moved twice or lost."""
    async with aclosing(opened(directory, AT_ONCE)) as store:
        for height in range(40):
            task = asyncio.create_task(store.run())
            await store.commit([decided(height)])
            for _ in range(height % 8):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store._table.end == store._settled
            assert not store._table._writer.in_transaction
        assert store.feed(0, 99) == feed_of(range(40))
    async with running(directory) as store:
        assert store.feed(0, 99) == feed_of(range(40))


async def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """A table of another store, or an old one, would let a node vote again on what it decided."""
    one, two = tmp_path / "one", tmp_path / "two"
    limits = StoreLimits(
        flush_interval_ms=0, journal=JournalLimits(segment_bytes_max=HEADER_BYTES + 1)
    )
    for directory in (one, two):
        NodeStore.create(directory, CLUSTER, VALIDATOR)
    backup = (one / DECISIONS_FILE).read_bytes()
    async with running(one, limits) as store:
        for height in range(3):
            await store.commit([decided(height)])
            await all_moved(store)
    (two / DECISIONS_FILE).write_bytes((one / DECISIONS_FILE).read_bytes())
    with pytest.raises(DecisionsError, match="another node's store"):
        opened(two)
    (one / DECISIONS_FILE).write_bytes(backup)
    for _ in range(2):
        with pytest.raises(JournalError, match="restored from a backup"):
            opened(one)
    (one / DECISIONS_FILE).unlink()
    with pytest.raises(QbftError, match="does not exist"):
        opened(one)


async def test_a_table_of_another_store_is_refused_before_its_decisions_are_compared(
    tmp_path: Path,
) -> None:
    """A table of another cluster decides otherwise: that is a mistake of the operator, no bug.

    HARDENING W4 keeps an invariant violation for what must never be.
    """
    one, two = tmp_path / "one", tmp_path / "two"
    for directory, value in ((one, b"x"), (two, b"y")):
        NodeStore.create(directory, CLUSTER, VALIDATOR)
        async with aclosing(opened(directory)) as store:
            await store.commit([decided(1, value)])
    (two / DECISIONS_FILE).write_bytes((one / DECISIONS_FILE).read_bytes())
    with pytest.raises(DecisionsError, match="another node's store"):
        opened(two)


def test_init_never_overwrites(directory: Path) -> None:
    """Issue 2, stage 4: `init` refuses a directory that has a store."""
    with pytest.raises(JournalError, match="already holds"):
        NodeStore.create(directory, CLUSTER, VALIDATOR)
