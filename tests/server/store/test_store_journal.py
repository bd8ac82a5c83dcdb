"""The vote journal: durable before anyone hears it, recovered whole, dead after a failing disk."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import pytest
from store_builders import (
    CLUSTER,
    VALIDATOR,
    FailingDisk,
    commit,
    crash_copy,
    decided,
    decision,
    evidence,
    flip,
    instance,
    newest_segment,
    oldest_segment,
    prepare,
    proposal,
)

from qbft.errors import InvariantViolation, JournalError
from qbft.replica.protocols import QuarantineRecord, Record, Standing, StandingRecord
from qbft.wire.journal import encode_journal_commit
from qbft_server.store.faults import FaultHook
from qbft_server.store.journal import JournalLimits, VoteJournal
from qbft_server.store.segments import HEADER_BYTES, SegmentHeader, SegmentLog

pytestmark = pytest.mark.real_clock

SMALL = JournalLimits(segment_bytes_max=HEADER_BYTES + 1, retained_bytes_max=1 << 30)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with an empty journal."""
    VoteJournal.create(tmp_path / "journal", CLUSTER, VALIDATOR)
    return tmp_path / "journal"


def opened(
    directory: Path, limits: JournalLimits | None = None, fault: FaultHook | None = None
) -> VoteJournal:
    """The journal, opened."""
    return VoteJournal.open(directory, CLUSTER, VALIDATOR, limits=limits, fault=fault)


def recovered(directory: Path) -> list[Record]:
    """What a process finds that starts after this one was killed."""
    with closing(opened(crash_copy(directory))) as journal:
        return list(journal.recover())


async def test_commits_are_recovered_in_order(directory: Path) -> None:
    """W1, W5: votes and proposals of undecided instances come back in the order of commits."""
    records: list[Record] = [
        proposal(1, b"x"),
        prepare(1, b"x"),
        prepare(2, b"y"),
        commit(1, b"x"),
        QuarantineRecord(instance(3), "a bug"),
    ]
    journal = opened(directory)
    assert list(journal.recover()) == []
    await journal.commit(records[:2])
    await journal.commit([])
    await journal.commit(records[2:])
    assert recovered(directory) == records
    await journal.commit([decided(1, b"x")])
    assert recovered(directory) == [records[2], records[4]]
    journal.close()


async def test_sequence_is_gapless_over_restarts_and_rotations(directory: Path) -> None:
    """DESIGN, signatures: own votes are numbered from 1; the number outlives deleted segments."""
    journal = opened(directory, SMALL)
    store_id = journal.store_id
    assert journal.next_sequence == 1
    await journal.commit([prepare(1), proposal(1), commit(1)])
    assert journal.next_sequence == 3
    await journal.commit([decided(1)])
    journal.live.settle(1)
    await journal.commit([prepare(2)])
    assert journal.segments_deleted == 2
    journal.close()
    journal = opened(directory)
    assert (journal.next_sequence, journal.store_id) == (4, store_id)
    journal.close()


async def test_a_standing_outlives_rotations_and_restarts(directory: Path) -> None:
    """HARDENING W7: that votes were lost, which ones, and where the numbers go on."""
    limits = JournalLimits(segment_bytes_max=HEADER_BYTES + 1, retained_bytes_max=HEADER_BYTES)
    journal = opened(directory, limits)
    assert journal.standing is Standing.UNVOTED
    await journal.commit([prepare(1)])
    assert journal.standing is Standing.COMPLETE
    lost = StandingRecord(
        lost=True, replaced=((bytes(16), 77),), next_sequence=78, floors=(("prices/btc", 5),)
    )
    await journal.commit([lost])
    assert (journal.standing, journal.next_sequence) == (Standing.LOST, 78)
    await journal.commit([prepare(2)])
    assert recovered(directory) == [lost, prepare(1), prepare(2)]
    for height in range(3, 9):
        await journal.commit([prepare(height)])
    assert journal.stats.checkpoints
    journal.close()
    journal = opened(directory, limits)
    assert (journal.standing, journal.next_sequence) == (Standing.LOST, 85)
    again = StandingRecord(lost=False, replaced=lost.replaced)
    await journal.commit([again])
    assert next(iter(journal.recover())) == again
    journal.close()
    journal = opened(directory, limits)
    assert (journal.standing, journal.next_sequence) == (Standing.COMPLETE, 85)
    journal.close()


async def test_that_the_key_is_shared_outlives_rotations_and_restarts(directory: Path) -> None:
    """Docs/adr/020: nothing that is written later, but another journal, lets it vote again."""
    limits = JournalLimits(segment_bytes_max=HEADER_BYTES + 1, retained_bytes_max=HEADER_BYTES)
    journal = opened(directory, limits)
    await journal.commit([prepare(1)])
    said = StandingRecord(lost=True, replaced=((bytes(16), 77),), next_sequence=78, shared=True)
    await journal.commit([said])
    for height in range(2, 5):
        for later in (proposal(height), decided(height)):
            await journal.commit([later])
        assert journal.stats.checkpoints
        journal.close()
        journal = opened(directory, limits)
        assert (journal.standing, journal.next_sequence) == (Standing.SHARED, 78)
        assert next(iter(journal.recover())) == said
    journal.close()


async def test_a_journal_that_replaces_another_says_so(tmp_path: Path) -> None:
    """HARDENING W7, K24: until its node has asked its peers it is without votes."""
    directory = tmp_path / "journal"
    VoteJournal.create(directory, CLUSTER, VALIDATOR, replaces=True)
    journal = opened(directory)
    assert (journal.standing, journal.next_sequence) == (Standing.LOST, 1)
    journal.close()


async def test_init_makes_private_files_once(tmp_path: Path) -> None:
    """HARDENING W7: only `init` creates, never over another; files 0600, directory 0700."""
    directory = tmp_path / "journal"
    with pytest.raises(JournalError, match="holds no vote journal"):
        opened(directory)
    directory.mkdir()
    with pytest.raises(JournalError, match="holds no vote journal"):
        opened(directory)
    assert list(directory.iterdir()) == []
    directory.rmdir()
    VoteJournal.create(directory, CLUSTER, VALIDATOR)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    journal = opened(directory)
    await journal.commit([prepare(1)])
    journal.close()
    with pytest.raises(JournalError, match="already holds a vote journal"):
        VoteJournal.create(directory, CLUSTER, VALIDATOR)
    assert recovered(directory) == [prepare(1)]


def test_store_ids_are_random(tmp_path: Path) -> None:
    """HARDENING W7: a replaced store has another id."""
    ids = set()
    for name in "ab":
        VoteJournal.create(tmp_path / name, CLUSTER, VALIDATOR)
        with closing(opened(tmp_path / name)) as journal:
            ids.add(journal.store_id)
            assert len(journal.store_id) == 16
    assert len(ids) == 2


_HOLDER = """
import sys
from pathlib import Path
from qbft_server.store.journal import VoteJournal
journal = VoteJournal.open(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3]))
print("open", flush=True)
sys.stdin.read()
"""


def test_k27_a_second_process_is_refused(directory: Path) -> None:
    """SCENARIOS K27, W8: two processes with one key would equivocate; the lock dies with one."""
    command = [sys.executable, "-c", _HOLDER, str(directory), CLUSTER.hex(), str(VALIDATOR)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match=rf"another process \(pid {holder.pid}\)"):
            opened(directory)
        holder.kill()
        holder.wait()
    opened(directory).close()


async def test_k21_torn_commit_was_never_said(directory: Path) -> None:
    """SCENARIOS K21: a torn commit is gone as a whole, and its sequence is given anew."""
    journal = opened(directory)
    await journal.commit([prepare(1)])
    await journal.commit([prepare(2), prepare(3)])
    journal.close()
    path = newest_segment(directory)
    os.truncate(path, path.stat().st_size - 1)
    journal = opened(directory)
    assert list(journal.recover()) == [prepare(1)]
    assert journal.next_sequence == 2
    assert journal.torn_bytes > 0
    journal.close()


async def test_k22_flip_in_the_middle_stops_the_start(directory: Path) -> None:
    """SCENARIOS K22: the journal is not opened, and the lock is free again."""
    journal = opened(directory)
    await journal.commit([prepare(1)])
    await journal.commit([prepare(2)])
    journal.close()
    flip(newest_segment(directory), HEADER_BYTES + 40)
    for _ in range(2):
        with pytest.raises(JournalError, match="lost votes"):
            opened(directory)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("label", ["before_append", "after_append"])
async def test_k23_failing_disk_ends_the_journal(directory: Path, code: int, label: str) -> None:
    """SCENARIOS K23: neither a failed write nor a failed fsync is tried again."""
    disk = FailingDisk(label, code, nth=2)
    journal = opened(directory, fault=disk)
    await journal.commit([prepare(1)])
    with pytest.raises(JournalError, match=os.strerror(code)):
        await journal.commit([prepare(2)])
    with pytest.raises(JournalError, match="voting stops"):
        await journal.commit([prepare(3)])
    assert disk.remaining == 0
    assert journal.next_sequence == 2
    assert list(journal.recover()) == [prepare(1)]
    journal.close()


_FULL = """
import asyncio, resource, sys
from pathlib import Path
from qbft.errors import JournalError
from qbft_server.store.journal import VoteJournal
from store_builders import CLUSTER, VALIDATOR, proposal
async def main():
    journal = VoteJournal.open(Path(sys.argv[1]), CLUSTER, VALIDATOR)
    await journal.commit([proposal(1, b"x" * 3000)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    for _ in range(2):
        try:
            await journal.commit([proposal(2, b"y" * 3000)])
        except JournalError as error:
            print(error)
asyncio.run(main())
"""


def test_k23_file_that_cannot_grow(directory: Path) -> None:
    """SCENARIOS K23, with the kernel's own error within a record: torn, then as before."""
    search = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(directory)],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(os.strerror(errno.EFBIG)) == 2
    with closing(opened(directory)) as journal:
        assert journal.torn_bytes > 0
        assert list(journal.recover()) == [proposal(1, b"x" * 3000)]


async def test_two_decisions_for_an_instance_stop_the_start(directory: Path) -> None:
    """HARDENING W4: conflicting decisions are an invariant violation; equal ones are not."""
    journal = opened(directory)
    await journal.commit([decided(1, b"x")])
    await journal.commit([decided(1, b"x", round_=2)])
    assert journal.live.pending(instance(1)) == decision(1, b"x")
    with pytest.raises(InvariantViolation, match="two decisions"):
        await journal.commit([decided(1, b"y")])
    with pytest.raises(JournalError, match="two decisions"):
        await journal.commit([prepare(2)])
    journal.close()
    with pytest.raises(InvariantViolation, match="two decisions"):
        opened(directory)
    journal.close()


async def test_decision_that_contradicts_the_table_stops_the_start(directory: Path) -> None:
    """HARDENING W4, across the two places where decisions are kept."""
    with closing(opened(directory)) as journal:
        await journal.commit([decided(1, b"x")])
    other = decision(1, b"y").certificate.value
    with pytest.raises(InvariantViolation, match="two decisions"):
        VoteJournal.open(directory, CLUSTER, VALIDATOR, settled_digest=lambda _: other)


async def test_evidence_outlives_decisions_rotations_and_restarts(directory: Path) -> None:
    """SCENARIOS B16: kept for ever, and once, whatever becomes of its instance and its segment."""
    limits = JournalLimits(segment_bytes_max=HEADER_BYTES + 1, retained_bytes_max=HEADER_BYTES)
    journal = opened(directory, limits)
    found: list[Record] = [evidence(1), evidence(1, source=0), evidence(2)]
    await journal.commit([prepare(1), *found[:2]])
    await journal.commit([found[2], decided(1)])
    journal.live.settle(1)
    assert list(journal.recover()) == found
    for height in range(3, 9):
        await journal.commit([prepare(height), evidence(1)])
    assert journal.stats.checkpoints
    journal.close()
    for _ in range(2):
        journal = opened(directory, limits)
        assert list(journal.recover()) == [*found, *map(prepare, range(3, 9))]
        journal.close()


async def test_segments_go_when_nothing_needs_them(directory: Path) -> None:
    """Issue 2, stage 3: a segment with an open instance or an unsettled decision is kept."""
    journal = opened(directory, SMALL)
    for height in range(5):
        await journal.commit([prepare(height)])
    for height in range(1, 5):
        await journal.commit([decided(height)])
    journal.live.settle(4)
    await journal.commit([prepare(10)])
    assert journal.segments_deleted == 0
    await journal.commit([decided(0)])
    await journal.commit([prepare(11)])
    assert journal.segments_deleted == 9
    assert recovered(directory) == [prepare(10), prepare(11)]
    journal.live.settle(1)
    await journal.commit([decided(10), decided(11)])
    journal.live.settle(2)
    await journal.commit([prepare(12)])
    assert newest_segment(directory) == oldest_segment(directory)
    assert recovered(directory) == [prepare(12)]
    journal.close()


async def test_checkpoint_frees_segments_held_by_an_old_instance(directory: Path) -> None:
    """What still matters is written once more: disk use stays bounded, order and numbers stay."""
    journal = opened(directory, JournalLimits(segment_bytes_max=2_000, retained_bytes_max=6_000))
    old: list[Record] = [proposal(0, b"old"), prepare(0, b"old"), prepare(1, b"old")]
    await journal.commit(old)
    for height in range(2, 300):
        await journal.commit([prepare(height)])
        await journal.commit([commit(height), decided(height)])
        if height < 299:
            journal.live.settle(1)
    assert journal.stats.checkpoints > 5
    assert journal.retained_bytes < 16_000
    late = prepare(0, b"old", round_=2)
    await journal.commit([late])
    sequence = journal.next_sequence
    journal.close()
    settled = {instance(height): decision(height).certificate.value for height in range(2, 299)}
    again = VoteJournal.open(directory, CLUSTER, VALIDATOR, settled_digest=settled.get)
    assert list(again.recover()) == [old[0], old[2], late]
    assert again.live.pending_decisions(0, 9) == [decision(299)]
    assert again.next_sequence == sequence == 2 + 2 * 298 + 2
    again.close()


async def test_an_instance_of_a_thousand_rounds_holds_no_more_than_one_of_few(
    directory: Path,
) -> None:
    """DESIGN, bounds: of its votes only the current ones matter, here and on disk (ADR 012)."""
    journal = opened(directory, JournalLimits(segment_bytes_max=4_000, retained_bytes_max=12_000))
    await journal.commit([proposal(0)])
    for round_ in range(1, 1_001):
        votes = [prepare(0, round_=round_)] if round_ != 7 else [commit(0, round_=7)]
        await journal.commit(votes)
        assert len(list(journal.recover())) <= 3
    assert journal.retained_bytes < 24_000
    expected = [proposal(0), commit(0, round_=7), prepare(0, round_=1_000)]
    assert recovered(directory) == list(journal.recover()) == expected
    assert journal.next_sequence == 1_001
    journal.close()


async def test_a_checkpoint_of_large_values_is_many_commits(directory: Path) -> None:
    """docs/adr/021: what is encoded at once is in memory twice, so it is little at a time."""
    journal = opened(directory, JournalLimits(segment_bytes_max=1 << 20, retained_bytes_max=1))
    values = [bytes([height]) * (400 << 10) for height in range(20)]
    for height, value in enumerate(values):
        await journal.commit([proposal(height, value)])
    assert journal.stats.checkpoints
    journal.close()
    sizes = RecordSizes()
    SegmentLog.open(directory, CLUSTER, VALIDATOR, sizes).close()
    assert max(sizes.sizes) < 2 << 20
    assert recovered(directory) == [proposal(height, value) for height, value in enumerate(values)]


class RecordSizes:
    """The lengths of the records of a log."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_segment(self, header: SegmentHeader) -> None:
        """Nothing to note."""

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """Note how long it is."""
        self.sizes.append(len(payload))


async def test_large_checkpoint_is_not_repeated_at_once(directory: Path) -> None:
    """More open records than `retained_bytes_max` must not be rewritten with each segment."""
    journal = opened(directory, JournalLimits(segment_bytes_max=1_000, retained_bytes_max=4_000))
    for height in range(100):
        await journal.commit([proposal(height, bytes([height]) * 1000)])
    assert journal.stats.rotations > 90
    assert journal.stats.checkpoints < 10
    assert len(recovered(directory)) == 100
    journal.close()


class SlowDisk:
    """A fault hook: a disk that takes its time while `seconds` is not 0."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.threads: list[bool] = []

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """Take the time."""
        if label == "after_append":
            self.threads.append(threading.current_thread() is not threading.main_thread())
            time.sleep(self.seconds)


async def test_slow_disk_is_moved_to_a_thread_and_back(directory: Path) -> None:
    """ADR 003: one slow fsync stalls the loop, the next ones do not, until all are fast again."""
    disk = SlowDisk(0.6)
    limits = JournalLimits(inline_seconds_max=0.5, pace_window_commits=4)
    journal = opened(directory, limits, disk)
    await journal.commit([prepare(1)])
    await journal.commit([prepare(2)])
    disk.seconds = 0.0
    for height in range(3, 9):
        await journal.commit([prepare(height)])
    assert disk.threads[:2] == [False, True]
    assert disk.threads[-1] is False
    assert journal.stats.thread_commits == disk.threads.count(True)
    assert journal.stats.sync_seconds_max > 0.03
    assert len(recovered(directory)) == 8
    journal.close()


async def test_large_commit_goes_to_a_thread(directory: Path) -> None:
    """DESIGN, async: work per turn is bounded; a commit of megabytes does not stall timers."""
    disk = SlowDisk(0.0)
    journal = opened(directory, JournalLimits(inline_bytes_max=1_000), disk)
    await journal.commit([proposal(1, b"x")])
    await journal.commit([proposal(2, b"x" * 2_000)])
    assert disk.threads == [False, True]
    journal.close()


class HeldDisk:
    """A fault hook: a disk that answers when it is let go."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.may_go_on = threading.Event()
        self.errno = 0

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """Take the time."""
        if label == "after_append":
            self.is_reached.set()
            assert self.may_go_on.wait(10)
            if self.errno:
                raise OSError(self.errno, os.strerror(self.errno))


async def test_cancelled_commit_is_durable_and_counted(directory: Path) -> None:
    """Cancelling cannot call a write back: it is waited for, its votes keep their numbers."""
    disk = HeldDisk()
    journal = opened(directory, JournalLimits(inline_bytes_max=0), disk)
    task = asyncio.create_task(journal.commit([prepare(1)]))
    await asyncio.to_thread(disk.is_reached.wait, 10)
    task.cancel()
    next_one = asyncio.create_task(journal.commit([prepare(2)]))
    closing_one = asyncio.create_task(journal.aclose())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    assert not next_one.done()
    disk.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await next_one
    await closing_one
    assert journal.next_sequence == 3
    assert recovered(directory) == [prepare(1), prepare(2)]
    with pytest.raises(JournalError, match="closed"):
        await journal.commit([prepare(3)])


async def test_failure_in_a_thread_is_a_journal_error(directory: Path) -> None:
    """SCENARIOS K23 holds wherever the commit runs."""
    disk = FailingDisk("after_append", errno.EIO)
    journal = opened(directory, JournalLimits(inline_bytes_max=0), disk)
    with pytest.raises(JournalError, match=os.strerror(errno.EIO)):
        await journal.commit([prepare(1)])
    journal.close()


async def test_failure_of_a_cancelled_commit_is_kept(directory: Path) -> None:
    """The canceller gets its cancellation, whoever commits next the failure."""
    disk = HeldDisk()
    disk.errno = errno.EIO
    journal = opened(directory, JournalLimits(inline_bytes_max=0), disk)
    task = asyncio.create_task(journal.commit([prepare(1)]))
    await asyncio.to_thread(disk.is_reached.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    disk.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(JournalError, match=os.strerror(errno.EIO)):
        await journal.commit([prepare(2)])
    assert journal.next_sequence == 1
    journal.close()


async def test_failed_rotation_ends_the_journal(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCENARIOS K23: a disk without room for a new segment stops the voting, and loses nothing."""
    journal = opened(directory, SMALL)
    await journal.commit([prepare(1)])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("qbft_server.store.segments._write_segment", fail)
    with pytest.raises(JournalError, match=os.strerror(errno.ENOSPC)):
        await journal.commit([prepare(2)])
    with pytest.raises(JournalError, match="voting stops"):
        await journal.commit([prepare(2)])
    assert recovered(directory) == [prepare(1)]
    journal.close()


async def test_counters_tell_the_cost(directory: Path) -> None:
    """Issue 2 asks for fsyncs per decision: one for each commit, whatever it holds."""
    journal = opened(directory)
    before = journal.fsyncs
    await journal.commit([prepare(height) for height in range(64)])
    await journal.commit([prepare(64)])
    assert journal.fsyncs - before == 2
    assert (journal.stats.commits, journal.stats.records) == (2, 65)
    assert 0 < journal.stats.sync_seconds_last <= journal.stats.sync_seconds_max
    assert journal.stats.bytes_written > 0
    journal.close()


async def test_ten_thousand_open_votes_are_recovered_soon(directory: Path) -> None:
    """A node with 10,000 undecided votes is back within 3 s of processor time (issue 4)."""
    journal = opened(directory)
    for start in range(0, 10_000, 250):
        await journal.commit([prepare(height) for height in range(start, start + 250)])
    journal.close()
    begun = time.process_time()
    journal = opened(directory)
    assert len(list(journal.recover())) == 10_000
    assert time.process_time() - begun < 3
    journal.close()


def test_unreadable_record_is_refused(directory: Path) -> None:
    """SCENARIOS K29: an intact record that this program does not understand is not skipped."""
    with closing(opened(directory)) as journal:
        journal._log.append(1, b"\xff\xff\xff what is this")
        journal._log.sync()
    with pytest.raises(JournalError, match="cannot be read"):
        opened(directory)


def test_record_of_unknown_kind_is_refused(directory: Path) -> None:
    """SCENARIOS K29: a kind of record that only a newer program knows is not skipped."""
    with closing(opened(directory)) as journal:
        journal._log.append(9, encode_journal_commit([prepare(1)]))
    with pytest.raises(JournalError, match="unknown kind 9"):
        opened(directory)


async def test_votes_missing_before_a_segment_are_noticed(directory: Path) -> None:
    """A header's sequence must follow from the votes before it."""
    journal = opened(directory)
    await journal.commit([prepare(1)])
    journal._next_sequence += 1
    await journal._rotate()
    journal.close()
    with pytest.raises(JournalError, match="lacks votes"):
        opened(directory)


async def test_disk_errors_at_the_start_are_journal_errors(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kind of error for whoever starts a node, and the lock is free after it."""
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot make"):
        VoteJournal.create(tmp_path / "file", CLUSTER, VALIDATOR)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(JournalError, match="cannot open"):
        opened(directory)
    monkeypatch.undo()
    opened(directory).close()


async def test_commit_above_the_limit_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN, bounds: a record has a largest size."""
    monkeypatch.setattr("qbft_server.store.segments.RECORD_BYTES_MAX", 1_000)
    journal = opened(directory)
    with pytest.raises(JournalError, match="is above 1000"):
        await journal.commit([proposal(1, b"x" * 1_000)])
    journal.close()
