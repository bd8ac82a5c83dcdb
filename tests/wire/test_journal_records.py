"""Records of the journal that travel nowhere: marks, and what the operator gave up."""

from __future__ import annotations

import pytest
from wire_builders import COMMIT, PREPARE, ROUND_CHANGE, SIGNATURE, A, B, vote

from qbft.core import InstanceId
from qbft.crypto.evidence import Evidence
from qbft.records import EvidenceRecord, MarkRecord, QuarantineRecord, Record
from qbft.wire.journal import decode_journal_commit, encode_journal_commit
from qbft.wire.v1 import journal_pb2 as pb


@pytest.mark.parametrize(
    "record",
    [
        MarkRecord("prices/btc", 2**63 - 1),
        MarkRecord("t", 0),
        QuarantineRecord(InstanceId("t", 1), "given up", abandoned=True),
        QuarantineRecord(InstanceId("t", 1), "a bug"),
        EvidenceRecord(Evidence(vote(PREPARE), vote(PREPARE, value=B))),
    ],
)
def test_they_come_back(record: Record) -> None:
    """DESIGN, retention: journaled, hence read again."""
    assert decode_journal_commit(encode_journal_commit([record])) == (record,)


def test_evidence_comes_back_with_its_signatures() -> None:
    """SCENARIOS B16: what was journaled still proves itself; justifications are not kept."""
    record = EvidenceRecord(Evidence(vote(COMMIT, value=A), vote(ROUND_CHANGE, round_=2)))
    (again,) = decode_journal_commit(encode_journal_commit([record]))
    assert isinstance(again, EvidenceRecord)
    for kept in (again.evidence.first, again.evidence.second):
        assert kept.proof is not None
        assert kept.proof.signature == SIGNATURE


@pytest.mark.parametrize(("topic", "height"), [("No topic", 1), ("t", 2**63)])
def test_a_mark_of_no_topic_is_refused(topic: str, height: int) -> None:
    """Never half-read (SCENARIOS K29)."""
    mark = pb.JournalMark(topic=topic, height=height)
    commit = pb.JournalCommit(records=[pb.JournalRecord(mark=mark)])
    with pytest.raises(ValueError, match=r"malformed|topic|height"):
        decode_journal_commit(commit.SerializeToString())
