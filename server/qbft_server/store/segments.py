"""Append-only segments of checksummed, numbered records (DESIGN, votes survive; HARDENING W6, W7).

A log is a directory of files `NNNNNNNNNNNN.segment`. Each begins with a header that names format
version, cluster, validator and store, and goes on with records:

    marker (8) | payload length (4) | record number (8) | kind (1) | checksum (16) | payload

The marker is 8 random bytes of that segment, unknown outside this disk, so that nothing a client
puts into a value can look like the beginning of a record. A record is begun only after the one
before is synced; hence a bad record with no other beginning behind it is a torn tail, cut off at
open, and a bad record with anything begun behind it was once durable: the disk has lost votes.

A header also says the `floor`: the oldest segment still needed when that segment was begun. What is
below the floor of the newest segment may be deleted; what is above it and missing was lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

from qbft.errors import JournalError

RECORD_BYTES_MAX = 1 << 30
"""One commit in the journal."""

FORMAT_VERSION = 1
MAGIC = b"QBFTVOTE"
_MARKER_BYTES = 8
_CHECKSUM_BYTES = 16
_PREFIX = struct.Struct(">8sH")  # magic and format version: the same in every version
_HEADER = struct.Struct(">8sH32sI16sQQQQQ8s")
HEADER_BYTES = _HEADER.size + _CHECKSUM_BYTES
_FRAME = struct.Struct(">IQB")
RECORD_OVERHEAD_BYTES = _MARKER_BYTES + _FRAME.size + _CHECKSUM_BYTES
_FRAME_END = _MARKER_BYTES + _FRAME.size

_datasync = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself.

    `number` counts segments from 1, `floor` is the oldest one still needed when this one was begun.
    `first_record` is the number of its first record; `next_sequence` and `settled` are the owner's
    state at that point: the next vote's sequence, and the last position of a decision that is
    durable outside this log.
    """

    cluster_id: bytes
    validator: int
    store_id: bytes
    number: int = 1
    floor: int = 1
    first_record: int = 1
    next_sequence: int = 1
    settled: int = 0
    marker: bytes = b""

    def encode(self) -> bytes:
        """The bytes at the beginning of the file."""
        body = _HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            self.cluster_id,
            self.validator,
            self.store_id,
            self.number,
            self.floor,
            self.first_record,
            self.next_sequence,
            self.settled,
            self.marker,
        )
        return body + _checksum(body)

    @classmethod
    def decode(cls, path: Path, data: bytes) -> SegmentHeader:
        """Read a header.

        Raises:
            JournalError: it is damaged, or of another format version (SCENARIOS K29).
        """
        if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
            _lost(path, "its header is damaged")
        _, version = _PREFIX.unpack_from(data)
        if version != FORMAT_VERSION:
            raise JournalError(
                f"{path} has format version {version}, this program reads only {FORMAT_VERSION}; "
                "use the program that wrote it"
            )
        body = data[: _HEADER.size]
        if _checksum(body) != data[_HEADER.size : HEADER_BYTES]:
            _lost(path, "its header is damaged")
        header = cls(*_HEADER.unpack(body)[2:])
        if header.floor > header.number:  # or the segment itself would go as one below the floor
            _lost(path, "its header is damaged")
        return header


class LogReader(Protocol):
    """Who is told, oldest first, what a log holds when it is opened."""

    def on_segment(self, header: SegmentHeader) -> None:
        """A segment begins."""
        ...

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """A whole, intact record of that segment."""
        ...


class SegmentLog:
    """The open log: one writer, no thread of its own, every call blocks.

    `header` is the newest segment's, `size_bytes` its length, `retained_bytes` that of all segments
    kept, `torn_bytes` what was cut off at open, `fsyncs` how often the disk was made to write.
    """

    def __init__(self, directory: Path, header: SegmentHeader, fd: int, size_bytes: int) -> None:
        self.header = header
        self.size_bytes = size_bytes
        self.torn_bytes = 0
        self.fsyncs = 0
        self.segments_deleted = 0
        self._directory = directory
        self._fd = fd
        self._next_record = header.first_record
        self._closed_bytes: dict[int, int] = {}

    @property
    def retained_bytes(self) -> int:
        """The bytes of all segments that are kept, the newest one included."""
        return sum(self._closed_bytes.values()) + self.size_bytes

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether there is a log in this directory.

        Raises:
            JournalError: a file there is named like a segment, and is none.
        """
        return bool(_numbers(directory))

    @staticmethod
    def check_owner(directory: Path, cluster_id: bytes, validator: int) -> None:
        """See that the log, which exists, is this validator's; nothing is held or changed.

        Raises:
            JournalError: it is another's, or of another version, or damaged.
            OSError: it cannot be read.
        """
        header = _read_header(directory, max(_numbers(directory)))
        _check_owner(directory, header, cluster_id, validator)

    @staticmethod
    def create(directory: Path, cluster_id: bytes, validator: int, store_id: bytes) -> None:
        """Make the first, empty segment of a new log, durably.

        Raises:
            JournalError: there is a log already.
            OSError: the disk refuses.
        """
        if SegmentLog.exists(directory):
            raise JournalError(f"{directory} already holds a vote journal; nothing was changed")
        header = SegmentHeader(cluster_id, validator, store_id, marker=_new_marker())
        os.close(_write_segment(directory, header, ())[0])

    @classmethod
    def open(
        cls, directory: Path, cluster_id: bytes, validator: int, reader: LogReader
    ) -> SegmentLog:
        """Open an existing log, tell the reader all it holds, cut off a torn tail.

        The newest segment's name may not be durable, where its process was killed in between: it is
        made so before older segments go, and before a record is appended to what might vanish.

        Raises:
            JournalError: there is none; it is damaged, foreign or of another version; or a stray
                file is beside it.
            OSError: the disk refuses.
        """
        sync_directory(directory)
        numbers = _numbers(directory)
        if not numbers:
            _lost(directory, "there is no segment")
        newest = _read_header(directory, numbers[-1])
        _check_owner(directory, newest, cluster_id, validator)
        needed = [n for n in numbers if n >= newest.floor]
        if needed != list(range(newest.floor, newest.number + 1)):
            _lost(directory, f"of the segments {newest.floor} to {newest.number} some are missing")
        deleted = _delete(directory, (n for n in numbers if n < newest.floor))
        for leftover in directory.glob("*.tmp"):
            leftover.unlink()
        fd = os.open(_path(directory, newest.number), os.O_RDWR)
        try:
            log = cls(directory, newest, fd, HEADER_BYTES)
            log.fsyncs = 1  # the directory's
            log.segments_deleted = deleted
            log._read(reader)
        except BaseException:
            os.close(fd)
            raise
        return log

    def _read(self, reader: LogReader) -> None:
        """Read the segments from the floor on and make sure of the last record."""
        newest = self.header
        self._next_record = -1
        for number in range(newest.floor, newest.number + 1):
            path = _path(self._directory, number)
            data = path.read_bytes()
            header = SegmentHeader.decode(path, data)
            if header.number != number or header.store_id != newest.store_id:
                _lost(path, "it does not belong to this journal")
            if self._next_record not in (-1, header.first_record):
                _lost(path, f"record {self._next_record} is missing")
            self._next_record = header.first_record
            reader.on_segment(header)
            last = valid = HEADER_BYTES
            for kind, payload in _records(data, header):
                last, valid = valid, valid + RECORD_OVERHEAD_BYTES + len(payload)
                self._next_record += 1
                reader.on_record(header, kind, payload)
            if number < newest.number:
                if valid < len(data):
                    _lost(path, f"record {self._next_record} at byte {valid} is damaged")
                self._closed_bytes[number] = valid
            else:
                self._mend(data, last, valid)

    def _mend(self, data: bytes, last: int, valid: int) -> None:
        """Cut off a torn tail; write the last whole record once more.

        The record may stand in the page cache only: where an fsync has failed, the kernel forgets
        that those pages were never written. All records before it were synced before it was begun.
        """
        if data.find(self.header.marker, valid + 1) >= 0:
            path = _path(self._directory, self.header.number)
            _lost(path, f"record {self._next_record} at byte {valid} is damaged, others follow it")
        self.torn_bytes = len(data) - valid
        if self.torn_bytes:
            os.ftruncate(self._fd, valid)
        _write_all(self._fd, (data[last:valid],), last)
        os.fsync(self._fd)
        self.fsyncs += 1
        self.size_bytes = valid

    def append(self, kind: int, payload: bytes) -> int:
        """Write one record, not yet durable; returns the bytes written.

        Raises:
            JournalError: the payload is above `RECORD_BYTES_MAX`.
            OSError: the disk refuses; the log must not be used again.
        """
        if len(payload) > RECORD_BYTES_MAX:
            raise JournalError(f"a commit of {len(payload)} bytes is above {RECORD_BYTES_MAX}")
        head = _record_head(self.header.marker, self._next_record, kind, payload)
        written = _write_all(self._fd, (head, payload), self.size_bytes)
        self.size_bytes += written
        self._next_record += 1
        return written

    def sync(self) -> None:
        """Make all that was appended durable.

        Raises:
            OSError: it is not durable, and asking again would not tell; do not use the log again.
        """
        _datasync(self._fd)
        self.fsyncs += 1

    def rotate(
        self,
        *,
        floor: int | None,
        next_sequence: int,
        settled: int,
        records: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Begin the next segment with these records, and delete what is below the floor.

        `floor` is the oldest segment that is still needed, `None` for the new one itself. The new
        segment appears under its name only when it is whole and synced.

        Raises:
            OSError: the disk refuses; the log must not be used again.
        """
        number = self.header.number + 1
        header = replace(
            self.header,
            number=number,
            floor=number if floor is None else floor,
            first_record=self._next_record,
            next_sequence=next_sequence,
            settled=settled,
            marker=_new_marker(),
        )
        fd, size, count = _write_segment(self._directory, header, records)
        os.close(self._fd)
        self._closed_bytes[self.header.number] = self.size_bytes
        self._fd, self.header, self.size_bytes = fd, header, size
        self._next_record += count
        self.fsyncs += 2
        doomed = [n for n in self._closed_bytes if n < header.floor]
        self.segments_deleted += _delete(self._directory, doomed)
        for old in doomed:
            del self._closed_bytes[old]

    def close(self) -> None:
        """Give the file back; the log is not used afterwards."""
        os.close(self._fd)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lost(path: Path, why: str) -> NoReturn:
    raise JournalError(
        f"{path}: {why}; this disk has lost votes, and a backup of it must not be restored: "
        "it must not vote again: see docs/OPERATIONS.md"
    )


def _new_marker() -> bytes:
    return secrets.token_bytes(_MARKER_BYTES)


def _checksum(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _record_head(marker: bytes, number: int, kind: int, payload: bytes) -> bytes:
    frame = _FRAME.pack(len(payload), number, kind)
    return marker + frame + _checksum(frame, payload)


def _records(data: bytes, header: SegmentHeader) -> Iterator[tuple[int, bytes]]:
    """The intact records of a segment, up to the first that is not."""
    offset, expected = HEADER_BYTES, header.first_record
    while len(data) - offset >= RECORD_OVERHEAD_BYTES and data.startswith(header.marker, offset):
        frame = data[offset + _MARKER_BYTES : offset + _FRAME_END]
        length, number, kind = _FRAME.unpack(frame)
        begin = offset + RECORD_OVERHEAD_BYTES
        payload = data[begin : begin + length]
        if number != expected or len(payload) != length:
            return
        if _checksum(frame, payload) != data[offset + _FRAME_END : begin]:
            return
        yield kind, payload
        offset, expected = begin + length, expected + 1


def _write_all(fd: int, parts: tuple[bytes, ...], offset: int) -> int:
    """Write the parts at the offset, with one system call unless the kernel takes less."""
    total = sum(map(len, parts))
    written = os.pwritev(fd, parts, offset)
    if written < total:
        rest = memoryview(b"".join(parts))
        while written < total:
            written += os.pwrite(fd, rest[written:], offset + written)
    return total


def _write_segment(
    directory: Path, header: SegmentHeader, records: Iterable[tuple[int, bytes]]
) -> tuple[int, int, int]:
    """Write a new segment beside the others, sync it, then give it its name.

    Returns its file descriptor, its size in bytes, and how many records it has.
    """
    final = _path(directory, header.number)
    draft = final.with_suffix(".tmp")
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size, number = _write_all(fd, (header.encode(),), 0), header.first_record
        for kind, payload in records:
            head = _record_head(header.marker, number, kind, payload)
            size += _write_all(fd, (head, payload), size)
            number += 1
        os.fsync(fd)
        draft.rename(final)
        sync_directory(directory)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return fd, size, number - header.first_record


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.segment"


def _numbers(directory: Path) -> list[int]:
    """The numbers of the segments that are there, ascending.

    Raises:
        JournalError: a file is named like a segment, but not as this program names them.
    """
    numbers = []
    for path in directory.glob("*.segment"):
        number = int(path.stem) if path.stem.isdecimal() else 0
        if path != _path(directory, number):
            raise JournalError(f"{path} is no segment that this program wrote; move it elsewhere")
        numbers.append(number)
    return sorted(numbers)


def _delete(directory: Path, numbers: Iterable[int]) -> int:
    deleted = 0
    for number in numbers:
        _path(directory, number).unlink(missing_ok=True)
        deleted += 1
    return deleted


def _read_header(directory: Path, number: int) -> SegmentHeader:
    path = _path(directory, number)
    with path.open("rb") as file:
        return SegmentHeader.decode(path, file.read(HEADER_BYTES))


def _check_owner(directory: Path, header: SegmentHeader, cluster_id: bytes, validator: int) -> None:
    if header.cluster_id != cluster_id:
        raise JournalError(
            f"{directory} belongs to the cluster {header.cluster_id.hex()}, "
            f"this node to {cluster_id.hex()}"
        )
    if header.validator != validator:
        raise JournalError(
            f"{directory} belongs to validator {header.validator}, this node is {validator}"
        )
