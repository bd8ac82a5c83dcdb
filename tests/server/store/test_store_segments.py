"""The segment files: what is torn is cut off, what is damaged is refused, nothing is half-read."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_builders import CLUSTER, VALIDATOR, flip, newest_segment

from qbft.errors import JournalError
from qbft_server.store.segments import (
    HEADER_BYTES,
    MAGIC,
    RECORD_OVERHEAD_BYTES,
    SegmentHeader,
    SegmentLog,
)

STORE = b"s" * 16


class Recorder:
    """A reader that keeps what it is told."""

    def __init__(self) -> None:
        self.headers: list[SegmentHeader] = []
        self.records: list[tuple[int, bytes]] = []

    def on_segment(self, header: SegmentHeader) -> None:
        """Keep the header."""
        self.headers.append(header)

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """Keep the record."""
        self.records.append((kind, payload))


def reopen(directory: Path, cluster: bytes = CLUSTER, validator: int = VALIDATOR) -> Recorder:
    """What a fresh process reads."""
    recorder = Recorder()
    SegmentLog.open(directory, cluster, validator, recorder).close()
    return recorder


def write(log: SegmentLog, *payloads: bytes) -> None:
    """Append and sync each."""
    for payload in payloads:
        log.append(1, payload)
        log.sync()


def rotate(log: SegmentLog, floor: int | None) -> None:
    """Begin a segment."""
    log.rotate(floor=floor, next_sequence=1, settled=0)


@pytest.fixture
def log(tmp_path: Path) -> SegmentLog:
    """An empty log."""
    SegmentLog.create(tmp_path, CLUSTER, VALIDATOR, STORE)
    return SegmentLog.open(tmp_path, CLUSTER, VALIDATOR, Recorder())


def test_what_was_written_is_read_in_order(tmp_path: Path, log: SegmentLog) -> None:
    """Records come back whole, in order, over several segments, empty ones too."""
    write(log, b"", b"a", b"b" * 5000)
    rotate(log, 1)
    rotate(log, 1)
    write(log, b"c")
    log.close()
    found = reopen(tmp_path)
    assert found.records == [(1, b""), (1, b"a"), (1, b"b" * 5000), (1, b"c")]
    assert [header.number for header in found.headers] == [1, 2, 3]
    assert {header.store_id for header in found.headers} == {STORE}


def test_one_record_is_one_write_and_one_sync(
    log: SegmentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN, votes survive: one commit is one record, one write, one fdatasync."""
    calls: list[str] = []
    pwritev = os.pwritev

    def counted(*arguments: Any) -> int:
        calls.append("write")
        return pwritev(*arguments)

    monkeypatch.setattr(os, "pwritev", counted)
    monkeypatch.setattr(
        "qbft_server.store.segments._datasync", lambda fd: calls.append("fdatasync")
    )
    write(log, b"payload" * 100)
    assert calls == ["write", "fdatasync"]


def test_a_short_write_is_completed(
    tmp_path: Path, log: SegmentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may take less than all at once; the record is whole all the same."""
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: pwritev(fd, [parts[0][:5]], at))
    write(log, b"x" * 300)
    log.close()
    monkeypatch.undo()
    assert reopen(tmp_path).records == [(1, b"x" * 300)]


@pytest.mark.parametrize("fill", [b"", b"\x00", b"\xff", b"garbage"])
def test_k21_tail_torn_at_every_byte_is_cut_off(
    tmp_path: Path, log: SegmentLog, fill: bytes
) -> None:
    """SCENARIOS K21: the last record torn anywhere goes, all before it stay, writing goes on.

    What the disk shows instead of the missing part may be nothing, zeros or anything.
    """
    write(log, b"first", b"second")
    whole = newest_segment(tmp_path).read_bytes()
    write(log, b"third" * 7)
    torn = newest_segment(tmp_path).read_bytes()
    log.close()
    for end in range(len(whole), len(torn)):
        rest = (fill * len(torn))[: len(torn) - end]
        newest_segment(tmp_path).write_bytes(torn[:end] + rest)
        if newest_segment(tmp_path).read_bytes() == torn:
            continue
        recorder = Recorder()
        again = SegmentLog.open(tmp_path, CLUSTER, VALIDATOR, recorder)
        assert recorder.records == [(1, b"first"), (1, b"second")]
        assert again.torn_bytes == end - len(whole) + len(rest)
        assert newest_segment(tmp_path).read_bytes() == whole
        write(again, b"other")
        again.close()
        assert reopen(tmp_path).records[2:] == [(1, b"other")]


def test_k22_bit_flip_before_a_later_record_is_a_lost_disk(tmp_path: Path, log: SegmentLog) -> None:
    """SCENARIOS K22: whatever byte of a record is damaged, if another was begun, votes are lost."""
    write(log, b"first", b"second", b"third")
    log.close()
    path = newest_segment(tmp_path)
    last = path.stat().st_size - RECORD_OVERHEAD_BYTES - len(b"third")
    for offset in range(HEADER_BYTES, last):
        flip(path, offset, offset % 8)
        before = path.read_bytes()
        with pytest.raises(JournalError, match="lost votes"):
            reopen(tmp_path)
        assert path.read_bytes() == before
        flip(path, offset, offset % 8)
    assert len(reopen(tmp_path).records) == 3


def test_damage_before_a_torn_tail_is_a_lost_disk(tmp_path: Path, log: SegmentLog) -> None:
    """A record whose successor was begun had been synced, even where the successor is torn."""
    write(log, b"first", b"second", b"third")
    log.close()
    path = newest_segment(tmp_path)
    os.truncate(path, path.stat().st_size - 3)
    flip(path, path.stat().st_size - RECORD_OVERHEAD_BYTES - 3)
    with pytest.raises(JournalError, match="lost votes"):
        reopen(tmp_path)


def test_flip_in_the_header_is_a_lost_disk(tmp_path: Path, log: SegmentLog) -> None:
    """No byte of a header can change unseen."""
    log.close()
    path = newest_segment(tmp_path)
    for offset in range(HEADER_BYTES):
        flip(path, offset)
        with pytest.raises(JournalError):
            reopen(tmp_path)
        flip(path, offset)
    os.truncate(path, HEADER_BYTES - 1)
    with pytest.raises(JournalError, match="lost votes"):
        reopen(tmp_path)


def test_a_floor_above_the_newest_segment_deletes_nothing(tmp_path: Path, log: SegmentLog) -> None:
    """HARDENING W7: a journal that says that none of it is needed is refused, and stays."""
    write(log, b"first")
    log.close()
    path = newest_segment(tmp_path)
    data = path.read_bytes()
    wrong = replace(log.header, floor=log.header.number + 1).encode() + data[HEADER_BYTES:]
    path.write_bytes(wrong)
    with pytest.raises(JournalError, match="lost votes"):
        reopen(tmp_path)
    assert path.read_bytes() == wrong


def test_tail_of_an_older_segment_cannot_be_torn(tmp_path: Path, log: SegmentLog) -> None:
    """A segment is closed only after its last record is synced."""
    write(log, b"first")
    old = newest_segment(tmp_path)
    rotate(log, 1)
    log.close()
    os.truncate(old, old.stat().st_size - 1)
    with pytest.raises(JournalError, match="lost votes"):
        reopen(tmp_path)


def test_missing_segments_are_lost(tmp_path: Path, log: SegmentLog) -> None:
    """HARDENING W7: neither a segment in the middle nor the one at the floor may be missing."""
    for number in range(1, 5):
        write(log, b"%d" % number)
        rotate(log, 2)
    log.close()
    assert sorted(int(path.stem) for path in tmp_path.glob("*.segment")) == [2, 3, 4, 5]
    for number in (2, 3, 4):
        path = tmp_path / f"{number:012d}.segment"
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(JournalError, match="missing"):
            reopen(tmp_path)
        path.write_bytes(content)
    assert [payload for _, payload in reopen(tmp_path).records] == [b"2", b"3", b"4"]


def test_segment_of_another_store_is_refused(tmp_path: Path, log: SegmentLog) -> None:
    """A file copied from elsewhere is not this journal's, even of the same validator."""
    write(log, b"mine")
    rotate(log, 1)
    log.close()
    other = tmp_path / "other"
    other.mkdir()
    SegmentLog.create(other, CLUSTER, VALIDATOR, b"t" * 16)
    (tmp_path / f"{1:012d}.segment").write_bytes(newest_segment(other).read_bytes())
    with pytest.raises(JournalError, match="does not belong"):
        reopen(tmp_path)


def test_older_state_of_a_segment_is_lost(tmp_path: Path, log: SegmentLog) -> None:
    """SCENARIOS K26, in part: an older segment restored beside a newer one lacks records."""
    old = newest_segment(tmp_path)
    write(log, b"first")
    backup = old.read_bytes()
    write(log, b"second")
    rotate(log, 1)
    log.close()
    old.write_bytes(backup)
    with pytest.raises(JournalError, match="missing"):
        reopen(tmp_path)


def test_what_a_crash_left_is_tidied(tmp_path: Path, log: SegmentLog) -> None:
    """A half-made segment, and segments below the floor, are removed at open."""
    rotate(log, 1)
    first = tmp_path / f"{1:012d}.segment"
    content = first.read_bytes()
    rotate(log, None)
    log.close()
    first.write_bytes(content)
    (tmp_path / f"{2:012d}.segment").write_bytes(content)
    (tmp_path / f"{4:012d}.tmp").write_bytes(b"half")
    reopen(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{3:012d}.segment"]


def test_what_a_loss_of_power_left_below_the_floor_is_not_a_lost_disk(
    tmp_path: Path, log: SegmentLog
) -> None:
    """HARDENING W7 is about votes, and nothing below the floor is needed for any.

    Deletions are not synced: here that of segment 2 has reached the disk, not those of 1 and 3.
    """
    first = newest_segment(tmp_path)
    rotate(log, 1)
    rotate(log, 1)
    third = newest_segment(tmp_path)
    contents = {path: path.read_bytes() for path in (first, third)}
    rotate(log, None)
    write(log, b"vote")
    log.close()
    for path, content in contents.items():
        path.write_bytes(content)
    assert reopen(tmp_path).records == [(1, b"vote")]
    assert [path.name for path in tmp_path.iterdir()] == [f"{4:012d}.segment"]


@pytest.mark.parametrize("name", ["x", "7", "-00000000007", "\u0661" * 12, "000000000001 (copy)"])
def test_a_stray_file_is_named_and_left_alone(tmp_path: Path, log: SegmentLog, name: str) -> None:
    """Whoever put it there is told in a line: it may be votes, so that it is not passed over."""
    log.close()
    stray = tmp_path / f"{name}.segment"
    stray.write_bytes(b"whatever")
    with pytest.raises(JournalError, match=f"{re.escape(str(stray))} is no segment"):
        reopen(tmp_path)
    with pytest.raises(JournalError, match="is no segment"):
        SegmentLog.create(tmp_path, CLUSTER, VALIDATOR, STORE)
    assert stray.read_bytes() == b"whatever"


def test_k29_another_version_is_refused_and_left_alone(tmp_path: Path, log: SegmentLog) -> None:
    """SCENARIOS K29: a newer format is refused by name of its version, never half-read."""
    log.close()
    path = newest_segment(tmp_path)
    path.write_bytes(struct.pack(">8sH", MAGIC, 2) + b"who knows what a newer program writes" * 9)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="format version 2"):
        reopen(tmp_path)
    assert path.read_bytes() == before


def test_foreign_cluster_and_validator_are_refused(tmp_path: Path, log: SegmentLog) -> None:
    """HARDENING W7: the votes of one key in one cluster are of no use to another."""
    log.close()
    with pytest.raises(JournalError, match="belongs to the cluster"):
        reopen(tmp_path, cluster=bytes(32))
    with pytest.raises(JournalError, match="belongs to validator 2, this node is 3"):
        reopen(tmp_path, validator=3)


def hostile_copy_of_file(path: Path) -> bytes:
    """A whole segment of another store."""
    return path.read_bytes()


def hostile_own_record(_: Path) -> bytes:
    """Records with a guessed marker and the right numbers."""
    return (b"\x00" * 8 + struct.pack(">IQB", 0, 3, 1) + bytes(16)) * 50


@pytest.mark.parametrize("make", [hostile_copy_of_file, hostile_own_record])
def test_a_value_cannot_look_like_a_record(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    """A client's bytes in a torn record must not pass for a later record: that would end a node.

    The client may know the format and records of other nodes, not this segment's marker.
    """
    other = tmp_path / "other"
    mine = tmp_path / "mine"
    for directory in (other, mine):
        directory.mkdir()
        SegmentLog.create(directory, CLUSTER, VALIDATOR, STORE)
    foreign = SegmentLog.open(other, CLUSTER, VALIDATOR, Recorder())
    write(foreign, b"1", b"2", b"3")
    foreign.close()
    log = SegmentLog.open(mine, CLUSTER, VALIDATOR, Recorder())
    write(log, b"first", make(newest_segment(other)) + b"tail")
    log.close()
    os.truncate(newest_segment(mine), newest_segment(mine).stat().st_size - 1)
    assert reopen(mine).records == [(1, b"first")]


def test_last_record_is_made_durable_at_open(tmp_path: Path, log: SegmentLog) -> None:
    """After a failed fsync the last record may be in memory only: open writes and syncs it."""
    log.append(1, b"never synced")
    log.close()
    recorder = Recorder()
    again = SegmentLog.open(tmp_path, CLUSTER, VALIDATOR, recorder)
    again.close()
    assert recorder.records == [(1, b"never synced")]
    assert again.fsyncs == 2, "the directory's and the record's"


def test_a_segments_name_is_made_durable_before_it_is_trusted(
    tmp_path: Path, log: SegmentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING W7: killed between a segment's rename and the sync of its directory.

    The next life finds the segment in the page cache. Were it written to, and the older ones
    deleted, with its name not durable, a loss of power would take all votes.
    """
    first = newest_segment(tmp_path)
    content = first.read_bytes()
    rotate(log, None)
    log.close()
    first.write_bytes(content)
    calls: list[str] = []

    def synced(fd: int) -> None:
        calls.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "record")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "unlink", lambda path, **_: calls.append(path.name))
    reopen(tmp_path)
    assert calls == ["directory", first.name, "record"]


def test_failed_rotation_leaves_the_log_readable(
    tmp_path: Path, log: SegmentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while a segment is begun: no half-made file, all records still there."""
    write(log, b"first")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        rotate(log, 1)
    monkeypatch.undo()
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == [f"{1:012d}.segment"]
    assert reopen(tmp_path).records == [(1, b"first")]
