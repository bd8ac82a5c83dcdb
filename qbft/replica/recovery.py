"""Reading the journal after a restart: what this node had said, and what it was given (W5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from qbft.core import InstanceId, OwnVote
from qbft.crypto.evidence import Evidence
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
from qbft.replica.narrow import as_instance, sequence_of
from qbft.replica.own_votes import CastVote


@dataclass(slots=True)
class Recovered:
    """The records of undecided instances, by instance, and what was said of the journal itself."""

    votes: dict[InstanceId, list[CastVote]] = field(default_factory=dict)
    proposals: dict[InstanceId, list[ProposalRecord]] = field(default_factory=dict)
    quarantined: set[InstanceId] = field(default_factory=set)
    given_up: set[InstanceId] = field(default_factory=set)
    """Those of them that are given up for good: nobody waits for a decision here."""
    replaced: dict[bytes, int] = field(default_factory=dict)
    """Up to which number the votes of which store are lost, and known to be."""
    floors: dict[str, int] = field(default_factory=dict)
    """Below which height of a topic lost votes may be."""
    evidence: list[Evidence] = field(default_factory=list)

    def instances(self) -> list[InstanceId]:
        """Those that were being voted on, or proposed for, in order."""
        return sorted((self.votes.keys() | self.proposals.keys()) - self.quarantined)

    def topics(self) -> list[str]:
        """The topics of all instances that there is a record of."""
        instances = (*self.votes, *self.proposals, *self.quarantined)
        return sorted({instance.topic for instance in instances})

    def cast(self) -> Iterator[CastVote]:
        """All own votes."""
        for votes in self.votes.values():
            yield from votes


def read_journal(records: Iterable[Record], now_ms: int) -> Recovered:
    """Sort what the journal gives."""
    recovered = Recovered()
    for record in records:
        match record:
            case VoteRecord(vote, prepares):
                cast = CastVote(OwnVote(vote, prepares), now_ms, sequence_of(vote))
                recovered.votes.setdefault(as_instance(vote.instance), []).append(cast)
            case ProposalRecord(proposal):
                recovered.proposals.setdefault(proposal.instance, []).append(record)
            case QuarantineRecord(instance, _, abandoned):
                recovered.quarantined.add(instance)
                if abandoned:
                    recovered.given_up.add(instance)
            case StandingRecord(_, replaced, _, floors):
                recovered.replaced, recovered.floors = dict(replaced), dict(floors)
            case EvidenceRecord(evidence):
                recovered.evidence.append(evidence)
            case DecisionRecord() | MarkRecord():
                pass  # the store's affair
            case _:
                assert_never(record)
    return recovered
