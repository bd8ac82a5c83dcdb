"""A pretended disk: the journal and store that survive a node's crash, with crash points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.replica.narrow import as_instance
from qbft.replica.protocols import (
    DecisionRecord,
    ProposalRecord,
    QuarantineRecord,
    Record,
    Standing,
    StandingRecord,
    VoteRecord,
)


class Crashed(Exception):  # noqa: N818 - what has happened to the node
    """The node loses power here."""


class SimDisk:
    """One node's durable state: what was committed before a crash is there after it."""

    def __init__(
        self, store_id: bytes, crash_point: Callable[[str, Sequence[Record]], None]
    ) -> None:
        self._store_id = store_id
        self._crash_point = crash_point
        self._records: list[Record] = []
        self._votes = 0
        self._decisions: dict[InstanceId, Decision] = {}
        self._order: list[InstanceId] = []

    @property
    def store_id(self) -> bytes:
        """The 16 bytes that name it."""
        return self._store_id

    @property
    def next_sequence(self) -> int:
        """The number of the next own vote."""
        return self._votes + 1

    @property
    def standing(self) -> Standing:
        """Whether all votes are here; a new disk is taken for one that needs not ask."""
        lost = [record.lost for record in self._records if isinstance(record, StandingRecord)]
        return Standing.LOST if lost and lost[-1] else Standing.COMPLETE

    def recover(self) -> Iterable[Record]:
        """Everything of undecided instances, in order."""
        return [
            record
            for record in self._records
            if isinstance(record, StandingRecord) or _instance_of(record) not in self._decisions
        ]

    async def commit(self, records: Sequence[Record]) -> None:
        """Keep the records, all or none; the node may crash right before or right after."""
        self._crash_point("before_commit", records)
        self._keep_records(records)
        self._crash_point("after_commit", records)

    def _keep_records(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        for record in records:
            if isinstance(record, VoteRecord):
                self._votes += 1
            elif isinstance(record, StandingRecord):
                self._votes = max(self._votes, record.next_sequence - 1)
            elif isinstance(record, DecisionRecord):
                self._keep(record.decision)

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance."""
        return self._decisions.get(instance)

    def add(self, decisions: Sequence[Decision]) -> None:
        """Do nothing: the commit has them."""

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """Decided instances in order, numbered from 1."""
        return tuple(enumerate(self._order, 1))[after : after + limit]

    @property
    def end(self) -> int:
        """How many decisions there are."""
        return len(self._order)

    def _keep(self, decision: Decision) -> None:
        instance = as_instance(decision.instance)
        if instance not in self._decisions:
            self._decisions[instance] = decision
            self._order.append(instance)


def _instance_of(record: Record) -> InstanceId:
    match record:
        case VoteRecord(vote):
            return as_instance(vote.instance)
        case ProposalRecord(proposal):
            return proposal.instance
        case DecisionRecord(decision):
            return as_instance(decision.instance)
        case QuarantineRecord(instance):
            return instance
        case StandingRecord():
            raise TypeError("a standing is of no instance")
