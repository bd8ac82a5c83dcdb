"""The payload of one commit of the vote journal (HARDENING W1)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import assert_never

from qbft.core import InstanceId
from qbft.crypto.signing import STORE_ID_BYTES
from qbft.records import (
    DecisionRecord,
    EvidenceRecord,
    MarkRecord,
    ProposalRecord,
    QuarantineRecord,
    Record,
    StandingRecord,
    VoteRecord,
)
from qbft.wire.build import fill_instance, fill_proposal, fill_signed
from qbft.wire.decisions import decision_of, fill_decision
from qbft.wire.evidence import evidence_of, fill_evidence
from qbft.wire.limits import VALIDATORS_MAX
from qbft.wire.parse import PARSE_ERRORS, Refused, instance_of, proposal_of, signed_vote_of
from qbft.wire.v1 import journal_pb2 as pb


def encode_journal_commit(records: Sequence[Record]) -> bytes:
    """Write the records of a turn, in their order.

    Raises:
        InvariantViolation: a vote, or one that it nests, is not signed.
    """
    commit = pb.JournalCommit()
    for record in records:
        _fill_record(commit.records.add(), record)
    return commit.SerializeToString()


def decode_journal_commit(data: bytes) -> tuple[Record, ...]:
    """Read what `encode_journal_commit` wrote, by this program or an older one.

    Raises:
        ValueError: it holds something else, such as a kind of record that only a newer program
            knows; it must not be skipped (SCENARIOS K29).
    """
    try:
        return tuple(map(_record_of, pb.JournalCommit.FromString(data).records))
    except Refused as refused:
        raise ValueError(f"a journal record is out of range: {refused}") from None
    except PARSE_ERRORS:
        raise ValueError("the commit is malformed") from None


def _fill_record(target: pb.JournalRecord, record: Record) -> None:
    match record:
        case VoteRecord():
            fill_signed(target.vote.vote, record.vote)
            for prepare in record.prepares:
                fill_signed(target.vote.prepares.add(), prepare)
        case ProposalRecord():
            fill_proposal(target.proposal.proposal, record.proposal)
            target.proposal.is_input = record.is_input
            target.proposal.is_own = record.is_own
        case DecisionRecord():
            fill_decision(target.decision, record.decision)
        case QuarantineRecord():
            fill_instance(target.quarantine.instance, record.instance)
            target.quarantine.reason = record.reason
            target.quarantine.abandoned = record.abandoned
        case MarkRecord():
            target.mark.topic = record.topic
            target.mark.height = record.height
        case EvidenceRecord():
            fill_evidence(target.evidence, record.evidence)
        case StandingRecord():
            _fill_standing(target.standing, record)
        case _:
            assert_never(record)


def _fill_standing(target: pb.JournalStanding, record: StandingRecord) -> None:
    target.lost = record.lost
    target.next_sequence = record.next_sequence
    target.shared = record.shared
    for store_id, sequence in record.replaced:
        target.replaced.add(store_id=store_id, sequence=sequence)
    for topic, height in record.floors:
        target.floors.add(topic=topic, height=height)


def _record_of(message: pb.JournalRecord) -> Record:
    match message.WhichOneof("record"):
        case "vote":
            vote = signed_vote_of(message.vote.vote, 2 * VALIDATORS_MAX)
            return VoteRecord(vote, tuple(signed_vote_of(p, 0) for p in message.vote.prepares))
        case "proposal":
            # what is durable is read back, whatever the limit on new values is by now
            proposal = proposal_of(message.proposal.proposal, sys.maxsize)
            return ProposalRecord(proposal, message.proposal.is_input, message.proposal.is_own)
        case "decision":
            return DecisionRecord(decision_of(message.decision))
        case "quarantine":
            quarantine = message.quarantine
            instance = instance_of(quarantine.instance)
            return QuarantineRecord(instance, quarantine.reason, quarantine.abandoned)
        case "mark":
            mark = InstanceId(message.mark.topic, message.mark.height)
            return MarkRecord(mark.topic, mark.height)
        case "evidence":
            return EvidenceRecord(evidence_of(message.evidence))
        case "standing":
            return _standing_of(message.standing)
        case None:
            raise ValueError("a journal record is of a kind that this program does not know")
        case kind:
            assert_never(kind)


def _standing_of(message: pb.JournalStanding) -> StandingRecord:
    replaced = tuple((lost.store_id, lost.sequence) for lost in message.replaced)
    if any(len(store_id) != STORE_ID_BYTES for store_id, _ in replaced):
        raise ValueError("a journal record names a store id that is none")
    floors = (InstanceId(floor.topic, floor.height) for floor in message.floors)
    return StandingRecord(
        message.lost,
        replaced,
        message.next_sequence,
        tuple((floor.topic, floor.height) for floor in floors),
        message.shared,
    )
