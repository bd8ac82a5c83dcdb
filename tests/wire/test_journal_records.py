"""Records of the journal that travel nowhere: marks, and what the operator gave up."""

from __future__ import annotations

import pytest

from qbft.core import InstanceId
from qbft.records import MarkRecord, QuarantineRecord, Record
from qbft.wire.journal import decode_journal_commit, encode_journal_commit
from qbft.wire.v1 import journal_pb2 as pb


@pytest.mark.parametrize(
    "record",
    [
        MarkRecord("prices/btc", 2**63 - 1),
        MarkRecord("t", 0),
        QuarantineRecord(InstanceId("t", 1), "given up", abandoned=True),
        QuarantineRecord(InstanceId("t", 1), "a bug"),
    ],
)
def test_they_come_back(record: Record) -> None:
    """DESIGN, retention: journaled, hence read again."""
    assert decode_journal_commit(encode_journal_commit([record])) == (record,)


@pytest.mark.parametrize(("topic", "height"), [("No topic", 1), ("t", 2**63)])
def test_a_mark_of_no_topic_is_refused(topic: str, height: int) -> None:
    """Never half-read (SCENARIOS K29)."""
    mark = pb.JournalMark(topic=topic, height=height)
    commit = pb.JournalCommit(records=[pb.JournalRecord(mark=mark)])
    with pytest.raises(ValueError, match=r"malformed|topic|height"):
        decode_journal_commit(commit.SerializeToString())
