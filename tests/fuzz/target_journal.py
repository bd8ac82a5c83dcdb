"""The journal reader: a directory is opened, the same each time, or refused (SCENARIOS K21, K22).

The first byte of an input says what the rest is: a segment as it is on disk, or a list of commits
that are put into intact records, so that what is inside of them is read too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from fuzz_cluster import PEER, ROSTER, store_id
from fuzz_files import scratch
from protobuf_edits import Fill, delimited, edited, fields_of
from target_codec import journal_commit

from qbft.errors import InvariantViolation, JournalError
from qbft_server.store.journal import VoteJournal
from qbft_server.store.segments import (
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    SegmentHeader,
    SegmentLog,
)

SEGMENT, RECORDS = range(2)
COMMIT, CHECKPOINT = 1, 2
MARKER = b"\x8f" * 8
HEADER = SegmentHeader(ROSTER.cluster_id, PEER, store_id(PEER), marker=MARKER)


def seeds() -> list[bytes]:
    """A segment of two records, and commits: of each kind of record, and an empty one."""
    payload = journal_commit()
    segment = _segment_of([payload, b""])
    return [
        bytes([SEGMENT]) + segment,
        bytes([SEGMENT]) + segment[: HEADER_BYTES + RECORD_OVERHEAD_BYTES],
        bytes([RECORDS]) + delimited(payload),
        bytes([RECORDS]) + delimited(payload) + delimited(b"") + delimited(payload, CHECKPOINT),
    ]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit the list of commits; a segment is a matter of bytes."""
    if data[:1] == bytes([RECORDS]):
        return data[:1] + edited(data[1:], random, fill)
    at = random.randrange(len(data) + 1)
    return data[:at] + fill(data[at : at + 8]) + data[at + 8 :]


def check(data: bytes) -> None:
    """Open it twice: what the first took is all there for the second, and nothing is torn then."""
    segment = data[1:]
    if data[:1] == bytes([RECORDS]):
        fields = fields_of(data[1:]) or []
        commits = [each for each in fields if isinstance(each.content, bytes)]
        segment = _segment_of(
            [bytes(each.content) for each in commits], [each.number for each in commits]
        )
    directory = scratch() / "votes"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "000000000001.segment").write_bytes(segment)
    try:
        first = _open(directory)
    except (JournalError, InvariantViolation):
        return
    assert _open(directory) == (*first[:2], 0)


def _open(directory: Path) -> tuple[object, int, int]:
    """What a journal recovers, its next sequence, and what was torn off."""
    journal = VoteJournal.open(directory, ROSTER.cluster_id, PEER)
    try:
        return list(journal.recover()), journal.next_sequence, journal.torn_bytes
    finally:
        journal.close()


def _segment_of(payloads: list[bytes], kinds: list[int] | None = None) -> bytes:
    """A segment as the log itself writes it."""
    directory = scratch() / "written"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / "000000000001.segment"
    path.write_bytes(HEADER.encode())
    log = SegmentLog.open(directory, ROSTER.cluster_id, PEER, _NoReader())
    try:
        for payload, kind in zip(payloads, kinds or [COMMIT] * len(payloads), strict=True):
            log.append(kind & 255, payload)
    finally:
        log.close()
    return path.read_bytes()


class _NoReader:
    """Nothing is to be read."""

    def on_segment(self, header: SegmentHeader) -> None:
        """The one that was just written."""

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """There is none."""
