"""The vote journal: what this node has said, durable before anyone hears it (HARDENING W1).

One commit is one record of the segments, one write and one fdatasync. Where it runs, in the event
loop or in a thread, follows from how fast the disk is: docs/adr/003-where-the-commit-runs.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from qbft.core.messages import InstanceId
from qbft.distribution import Distribution
from qbft.errors import JournalError, QbftError
from qbft.replica.protocols import Record, Standing, StandingRecord, VoteRecord
from qbft.wire.journal import decode_journal_commit, encode_journal_commit
from qbft_server.store.faults import FaultHook, kinds_of
from qbft_server.store.live import LiveRecords, value_bytes_in
from qbft_server.store.segments import SegmentHeader, SegmentLog, sync_directory
from qbft_server.store.threads import in_thread

STORE_ID_BYTES = 16
_COMMIT = 1
_CHECKPOINT = 2  # records written once more, so that older segments can go; no new votes

_CHECKPOINT_RECORDS_MAX = 256
"""Records that are written once more in one commit ..."""

_CHECKPOINT_BYTES_MAX = 1 << 20
"""... and bytes of values, above which no further record joins it: they are all in memory twice."""

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """When the journal changes its ways."""

    segment_bytes_max: int = 16 << 20
    """At this size a segment is closed, and another one begun."""

    retained_bytes_max: int = 64 << 20
    """When the segments kept exceed this, what still matters is written once more, so that one old
    undecided instance holds no disk."""

    inline_bytes_max: int = 1 << 20
    """A larger commit runs in a thread ..."""

    inline_seconds_max: float = 0.02
    """... and so does any after an fsync that took longer than this ..."""

    pace_window_commits: int = 64
    """... within the last so many commits."""


SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""What is told apart of how long disks take."""


@dataclass(slots=True)
class JournalStats:
    """Counters of one life of the journal; seconds are of write and fsync together."""

    commits: int = 0
    thread_commits: int = 0
    records: int = 0
    bytes_written: int = 0
    sync_seconds_last: float = 0.0
    sync_seconds_max: float = 0.0
    commit_seconds: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    fsync_seconds: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    """Of these, the fsync alone."""
    rotations: int = 0
    checkpoints: int = 0


class VoteJournal:
    """`qbft.replica.protocols.Journal` over segment files; see `NodeStore` for the whole store."""

    def __init__(
        self,
        *,
        log: SegmentLog,
        live: LiveRecords,
        next_sequence: int,
        lock_fd: int,
        limits: JournalLimits,
        fault: FaultHook | None,
    ) -> None:
        self.live = live
        self.stats = JournalStats()
        self.settled_position = log.header.settled
        self._log = log
        self._next_sequence = next_sequence
        self._lock_fd = lock_fd
        self._limits = limits
        self._fault = fault
        self._turn = asyncio.Lock()
        self._failure: str | None = None
        self._recent_seconds: deque[float] = deque(maxlen=limits.pace_window_commits)
        self._checkpoint_bytes = 0

    @staticmethod
    def create(
        directory: Path, cluster_id: bytes, validator: int, *, replaces: bool = False
    ) -> None:
        """Make an empty journal with a random store id; only `init` does (HARDENING W7).

        With `replaces` it says that its validator had another one, whose votes are lost.

        Raises:
            JournalError: there is one already, or the disk refuses.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = _acquire_lock(directory)
            try:
                store_id = secrets.token_bytes(STORE_ID_BYTES)
                SegmentLog.create(directory, cluster_id, validator, store_id)
                if replaces:
                    _write_lost(directory, cluster_id, validator)
                sync_directory(directory.parent)
            finally:
                os.close(lock_fd)
        except OSError as error:
            raise JournalError(f"cannot make a vote journal in {directory}: {error}") from error

    @staticmethod
    @contextlib.contextmanager
    def unused(directory: Path) -> Iterator[None]:
        """Keep any process from opening a journal, or what is left of it, while the block lasts.

        Raises:
            JournalError: a process holds it.
        """
        if not directory.is_dir():
            yield
            return
        lock_fd = _acquire_lock(directory)
        try:
            yield
        finally:
            os.close(lock_fd)

    @classmethod
    def open(
        cls,
        directory: Path,
        cluster_id: bytes,
        validator: int,
        *,
        check_store: Callable[[bytes], None] = lambda _: None,
        settled_digest: Callable[[InstanceId], object | None] = lambda _: None,
        marks: Mapping[str, int] | None = None,
        limits: JournalLimits | None = None,
        fault: FaultHook | None = None,
    ) -> VoteJournal:
        """Open the journal that `init` made; never makes one.

        `check_store` raises where what is kept elsewhere is not of the store with this id; nothing
        is read before. `settled_digest` gives what was decided where the decision is durable
        elsewhere; `marks` are the low-water marks that are.

        Raises:
            JournalError: there is none; it is damaged, foreign or of another version; or another
                process holds it (SCENARIOS K22, K27, K29).
            InvariantViolation: it holds two decisions for one instance.
        """
        try:
            if not SegmentLog.exists(directory):
                raise JournalError(
                    f"{directory} holds no vote journal; `qbft init` makes one, a node never does"
                )
            lock_fd = _acquire_lock(directory)
            try:
                replay = _Replay(directory, LiveRecords(settled_digest, marks), check_store)
                log = SegmentLog.open(directory, cluster_id, validator, replay)
            except BaseException:
                os.close(lock_fd)
                raise
        except OSError as error:
            raise JournalError(f"cannot open the vote journal in {directory}: {error}") from error
        return cls(
            log=log,
            live=replay.live,
            next_sequence=replay.next_sequence,
            lock_fd=lock_fd,
            limits=limits or JournalLimits(),
            fault=fault,
        )

    @property
    def store_id(self) -> bytes:
        """16 random bytes that name this journal, fixed when it was created."""
        return self._log.header.store_id

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next own vote gets; votes are numbered from 1, gapless."""
        return self._next_sequence

    @property
    def standing(self) -> Standing:
        """Whether it holds every vote that this node's key has cast (HARDENING W7)."""
        said = self.live.standing
        if said is not None and said.shared:
            return Standing.SHARED
        if said is not None and said.lost:
            return Standing.LOST
        return Standing.UNVOTED if self._next_sequence == 1 else Standing.COMPLETE

    @property
    def fsyncs(self) -> int:
        """How often this journal has made the disk write, rotations included."""
        return self._log.fsyncs

    @property
    def torn_bytes(self) -> int:
        """The length of the torn tail that was cut off at open (HARDENING W6)."""
        return self._log.torn_bytes

    @property
    def retained_bytes(self) -> int:
        """The bytes of all segments on disk."""
        return self._log.retained_bytes

    @property
    def segments_deleted(self) -> int:
        """How many segments that nothing needed any more were deleted."""
        return self._log.segments_deleted

    def recover(self) -> Iterable[Record]:
        """The standing, evidence, then the records of undecided instances as they came."""
        said, live = self.live.standing, self.live
        return [*([said] if said is not None else []), *live.evidence(), *live.open_records()]

    async def commit(self, records: Sequence[Record]) -> None:
        """Make all records durable before returning.

        A commit that is cancelled while a thread writes it is durable all the same.

        Raises:
            JournalError: not durable, and never will be; every later commit raises too, for after
                a failed fsync nothing can be known of the file (HARDENING W7).
        """
        if not records:
            return
        async with self._turn:
            if self._failure is not None:
                raise JournalError(self._failure)
            payload = encode_journal_commit(records)
            kinds = kinds_of(records) if self._fault else ()
            interrupted = False
            try:
                if self._log.size_bytes >= self._limits.segment_bytes_max:
                    interrupted |= await self._rotate()
                write = partial(self._write, payload, kinds)
                if self._is_slow or len(payload) > self._limits.inline_bytes_max:
                    self.stats.thread_commits += 1
                    interrupted |= await in_thread(write)
                else:
                    write()
            except (OSError, JournalError, asyncio.CancelledError) as error:
                cause = error.__cause__ or error
                self._failure = f"the vote journal has failed, voting stops: {cause}"
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise JournalError(self._failure) from error
            try:
                self._note(records, len(payload))
            except QbftError as error:
                self._failure = f"the vote journal has failed, voting stops: {error}"
                raise
        if interrupted:
            raise asyncio.CancelledError

    async def aclose(self) -> None:
        """Wait for a commit that is under way, then give files and lock back."""
        async with self._turn:
            self.close()

    def close(self) -> None:
        """Give files and lock back at once; no commit may be under way."""
        if self._lock_fd >= 0:
            self._failure = "the vote journal is closed"
            self._log.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    @property
    def _is_slow(self) -> bool:
        return max(self._recent_seconds, default=0.0) > self._limits.inline_seconds_max

    def _write(self, payload: bytes, kinds: Collection[str]) -> None:
        """One write, one fdatasync; in the loop or in a thread, never two at once."""
        begun = time.perf_counter()
        if self._fault:
            self._fault("before_append", kinds)
        self._log.append(_COMMIT, payload)
        if self._fault:
            self._fault("after_append", kinds)
        appended = time.perf_counter()
        self._log.sync()
        self.stats.fsync_seconds.add(time.perf_counter() - appended)
        if self._fault:
            self._fault("after_fsync", kinds)
        seconds = time.perf_counter() - begun
        self._recent_seconds.append(seconds)
        self.stats.commit_seconds.add(seconds)
        self.stats.sync_seconds_last = seconds
        self.stats.sync_seconds_max = max(seconds, self.stats.sync_seconds_max)

    def _note(self, records: Sequence[Record], payload_bytes: int) -> None:
        self.stats.commits += 1
        self.stats.records += len(records)
        self.stats.bytes_written += payload_bytes
        self._next_sequence = _sequence_after(self._next_sequence, records)
        self.live.apply(self._log.header.number, records)

    async def _rotate(self) -> bool:
        """Begin a new segment; returns whether this task was cancelled meanwhile.

        It costs two commits where the disk is fast, and is done in the loop; else in a thread.
        """
        retained_max = max(self._limits.retained_bytes_max, 2 * self._checkpoint_bytes)
        floor = self.live.floor()
        is_checkpoint = floor is not None and self._log.retained_bytes > retained_max
        records = list(self.live.records()) if is_checkpoint else []
        number = self._log.header.number + 1
        rotate = partial(
            self._log.rotate,
            floor=None if is_checkpoint else floor,
            next_sequence=self._next_sequence,
            settled=self.settled_position,
            records=_checkpoint(records),
        )
        interrupted = False
        if is_checkpoint or self._is_slow:
            interrupted = await in_thread(rotate)
        else:
            rotate()
        self.stats.rotations += 1
        if is_checkpoint:
            self.stats.checkpoints += 1
            self._checkpoint_bytes = self._log.size_bytes
            self.live.moved_to(number)
        return interrupted


class _Replay:
    """Rebuilds, from the segments, which records matter and which sequence comes next."""

    def __init__(
        self,
        directory: Path,
        live: LiveRecords,
        check_store: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.live = live
        self.next_sequence = 0
        self._directory = directory
        self._check_store = check_store

    def on_segment(self, header: SegmentHeader) -> None:
        self._check_store(header.store_id)
        if self.next_sequence not in (0, header.next_sequence):
            raise JournalError(f"{self._directory}: segment {header.number} lacks votes before it")
        self.next_sequence = header.next_sequence

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        try:
            records = decode_journal_commit(payload)
        except ValueError as error:
            raise JournalError(
                f"{self._directory}: a whole record of segment {header.number} cannot be read: "
                f"{error}; was it written by a newer program?"
            ) from error
        if kind == _COMMIT:
            self.next_sequence = _sequence_after(self.next_sequence, records)
        elif kind != _CHECKPOINT:
            raise JournalError(f"{self._directory}: a record of unknown kind {kind}")
        self.live.apply(header.number, records)


def _sequence_after(sequence: int, records: Iterable[Record]) -> int:
    """The number of the next vote, when the next one before these records had this number."""
    for record in records:
        if isinstance(record, VoteRecord):
            sequence += 1
        elif isinstance(record, StandingRecord):
            sequence = max(sequence, record.next_sequence)
    return sequence


def _write_lost(directory: Path, cluster_id: bytes, validator: int) -> None:
    """Say in a new journal that votes of its validator are lost."""
    replay = _Replay(directory, LiveRecords(lambda _: None))
    log = SegmentLog.open(directory, cluster_id, validator, replay)
    try:
        log.append(_COMMIT, encode_journal_commit([StandingRecord(lost=True)]))
        log.sync()
    finally:
        log.close()


def _checkpoint(records: Sequence[Record]) -> Iterator[tuple[int, bytes]]:
    """The payloads that hold these records; encoded as they are asked for, in the thread."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += value_bytes_in(record)
        if len(chunk) >= _CHECKPOINT_RECORDS_MAX or size > _CHECKPOINT_BYTES_MAX:
            yield _CHECKPOINT, encode_journal_commit(chunk)
            chunk, size = [], 0
    if chunk:
        yield _CHECKPOINT, encode_journal_commit(chunk)


def _acquire_lock(directory: Path) -> int:
    """Take the directory for this process; two with one key would contradict each other (W8)."""
    path = directory / _LOCK
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise JournalError(
            f"{directory} is in use by another process (pid {holder or 'unknown'}); two nodes with "
            "one key would contradict each other: stop that one first"
        ) from None
    with contextlib.suppress(OSError):  # the pid is for people; a full disk must not matter here
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
