"""The journal reader: a directory is opened, the same each time, or refused (SCENARIOS K21, K22).

The first byte of an input says what the rest is: a segment as it is on disk; a list of commits that
are put into intact records, so that what is inside of them is read too; or a list of such commits
and of what is between them, where another segment begins, is wrong about itself, is missing, or has
a byte that is another one. A byte that is wrong in a segment before the newest is always found.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from fuzz_cluster import PEER, ROSTER, store_id
from fuzz_files import scratch
from protobuf_edits import Fill, delimited, edited, fields_of, varint
from target_codec import journal_commit

from qbft.errors import InvariantViolation, JournalError
from qbft.wire.journal import decode_journal_commit
from qbft_server.store.journal import VoteJournal, _sequence_after
from qbft_server.store.segments import (
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    SegmentHeader,
    SegmentLog,
)

SEGMENT, RECORDS, SEGMENTS = range(3)
COMMIT, CHECKPOINT = 1, 2
MARKER = b"\x8f" * 8
HEADER = SegmentHeader(ROSTER.cluster_id, PEER, store_id(PEER), marker=MARKER)

NEXT, FLOOR, SEQUENCE, FIRST_RECORD, SETTLED, MISSING, DAMAGED = range(1, 8)
"""What a number in the list of `SEGMENTS` does, by its field: begin the next segment; and to the
one that has begun, add it to a number in its header, leave it out, or damage the byte there."""

CHANGED = {
    FLOOR: "floor",
    SEQUENCE: "next_sequence",
    FIRST_RECORD: "first_record",
    SETTLED: "settled",
}
SEGMENTS_MAX = 8
MOST = 2**64 - 1


def seeds() -> list[bytes]:
    """A segment of two records, and commits: of each kind of record, and an empty one."""
    payload = journal_commit()
    segment = _segment_of([payload, b""])
    return [
        bytes([SEGMENT]) + segment,
        bytes([SEGMENT]) + segment[: HEADER_BYTES + RECORD_OVERHEAD_BYTES],
        bytes([RECORDS]) + delimited(payload),
        bytes([RECORDS]) + delimited(payload) + delimited(b"") + delimited(payload, CHECKPOINT),
        _listed((COMMIT, payload), *2 * [(NEXT, 0), (COMMIT, payload)]),
        _listed((COMMIT, payload), (NEXT, 0), (FLOOR, 1), (CHECKPOINT, payload)),
        *(
            _listed((COMMIT, payload), (NEXT, 0), (what, 99), (COMMIT, payload), (NEXT, 0))
            for what in (*CHANGED, MISSING, DAMAGED)
        ),
    ]


def _listed(*fields: tuple[int, bytes | int]) -> bytes:
    """An input of several segments: commits, and numbers."""
    parts = [
        delimited(content, number)
        if isinstance(content, bytes)
        else varint(number << 3) + varint(content)
        for number, content in fields
    ]
    return bytes([SEGMENTS]) + b"".join(parts)


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit the list of commits; a segment is a matter of bytes."""
    if data[:1] in (bytes([RECORDS]), bytes([SEGMENTS])):
        return data[:1] + edited(data[1:], random, fill)
    at = random.randrange(len(data) + 1)
    return data[:at] + fill(data[at : at + 8]) + data[at + 8 :]


def check(data: bytes) -> None:
    """Open it twice: what the first took is all there for the second, and nothing is torn then.

    What is refused is left to be looked at: the newest segment is still there.
    """
    segments = {1: data[1:]}
    is_found = False
    if data[:1] == bytes([RECORDS]):
        fields = fields_of(data[1:]) or []
        commits = [each for each in fields if isinstance(each.content, bytes)]
        segments[1] = _segment_of(
            [bytes(each.content) for each in commits], [each.number for each in commits]
        )
    elif data[:1] == bytes([SEGMENTS]):
        segments, is_found = _segments_of(data[1:])
    directory = scratch() / "votes"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for number, segment in segments.items():
        (directory / f"{number:012d}.segment").write_bytes(segment)
    try:
        first = _open(directory)
    except (JournalError, InvariantViolation):
        assert max(segments, default=0) in [
            0,
            *(int(path.stem) for path in directory.glob("*.segment")),
        ]
        return
    assert not is_found
    assert _open(directory) == (*first[:2], 0)


def _open(directory: Path) -> tuple[object, int, int]:
    """What a journal recovers, its next sequence, and what was torn off."""
    journal = VoteJournal.open(directory, ROSTER.cluster_id, PEER)
    try:
        return list(journal.recover()), journal.next_sequence, journal.torn_bytes
    finally:
        journal.close()


@dataclass
class _Segment:
    """One of several, before it is written."""

    header: SegmentHeader
    payloads: list[bytes]
    kinds: list[int]
    is_missing: bool = False
    damaged: int | None = None

    def encode(self) -> bytes:
        """Its bytes, the damaged one among them."""
        data = bytearray(_segment_of(self.payloads, self.kinds, self.header))
        if self.damaged is not None:
            self.damaged %= len(data)
            data[self.damaged] ^= 1
        return bytes(data)


def _segments_of(data: bytes) -> tuple[dict[int, bytes], bool]:
    """The segments of a list by their numbers, and whether what is wrong in them has to be found.

    Numbers in headers are right, but where the list says otherwise.
    """
    written = [_Segment(HEADER, [], [])]
    sequence = 1
    for field in fields_of(data) or []:
        newest = written[-1]
        header, content = newest.header, field.content
        if isinstance(content, bytes):
            newest.payloads.append(content)
            newest.kinds.append(field.number & 255)
            with suppress(ValueError):
                if field.number == COMMIT:
                    sequence = _sequence_after(sequence, decode_journal_commit(content))
        elif field.number == NEXT and len(written) < SEGMENTS_MAX:
            first = header.first_record + len(newest.payloads)
            begun = replace(HEADER, number=header.number + 1, first_record=first & MOST)
            written.append(_Segment(replace(begun, next_sequence=sequence), [], []))
        elif name := CHANGED.get(field.number):
            newest.header = replace(header, **{name: (getattr(header, name) + content) & MOST})
        elif field.number == MISSING:
            newest.is_missing = True
        elif field.number == DAMAGED:
            newest.damaged = content
    there = [each for each in written if not each.is_missing]
    segments = {each.header.number: each.encode() for each in there}
    last = there[-1].header if there else HEADER
    needed = [each for each in written if last.floor <= each.header.number < last.number]
    return segments, any(each.is_missing or each.damaged is not None for each in needed)


def _segment_of(
    payloads: list[bytes], kinds: list[int] | None = None, header: SegmentHeader = HEADER
) -> bytes:
    """A segment as the log itself writes it."""
    directory = scratch() / "written"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / f"{header.number:012d}.segment"
    path.write_bytes(replace(header, floor=header.number).encode())
    log = SegmentLog.open(directory, ROSTER.cluster_id, PEER, _NoReader())
    try:
        for payload, kind in zip(payloads, kinds or [COMMIT] * len(payloads), strict=True):
            log.append(kind & 255, payload)
    finally:
        log.close()
    return header.encode() + path.read_bytes()[HEADER_BYTES:]


class _NoReader:
    """Nothing is to be read."""

    def on_segment(self, header: SegmentHeader) -> None:
        """The one that was just written."""

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """There is none."""
