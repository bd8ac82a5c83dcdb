"""Which records of the journal still matter: the state that its segments are kept for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import assert_never

from qbft.core.messages import InstanceId
from qbft.decision import Decision
from qbft.errors import InvariantViolation
from qbft.replica.own_votes import VoteRounds
from qbft.replica.protocols import (
    DecisionRecord,
    EvidenceRecord,
    MarkRecord,
    ProposalRecord,
    QuarantineRecord,
    Record,
    StandingRecord,
    VoteRecord,
)


@dataclass(slots=True)
class _Open:
    """The records of an undecided instance, each with its place in the order of commits."""

    segment: int
    records: list[tuple[int, Record]] = field(default_factory=list)
    rounds: VoteRounds = field(default_factory=VoteRounds)

    def add(self, position: int, record: Record) -> None:
        """Take a record. Of the votes only the current ones are kept (docs/adr/012)."""
        if isinstance(record, VoteRecord):
            if self.rounds.note(record.vote):
                self.records = [entry for entry in self.records if self._matters(entry[1])]
            if not self._matters(record):
                return
        self.records.append((position, record))

    def _matters(self, record: Record) -> bool:
        return not isinstance(record, VoteRecord) or self.rounds.is_current(
            record.vote.type, record.vote.round
        )

    @property
    def is_abandoned(self) -> bool:
        """Whether the operator has given the instance up."""
        return any(isinstance(r, QuarantineRecord) and r.abandoned for _, r in self.records)


@dataclass(slots=True)
class _Pending:
    segment: int
    record: DecisionRecord


class LiveRecords:
    """The records of undecided instances, evidence, decisions and marks that are only here.

    Each is kept in the order in which its first record was committed, hence of segments, so that
    the oldest segment still needed is found at once. `settled_digest` gives what was decided where
    the decision is durable elsewhere; it is asked once for each instance that begins. `marks` are
    the low-water marks, by topic, that are durable elsewhere to begin with: what is below a mark
    does not matter any more. `pending_bytes` are those of the values of the waiting decisions.
    """

    def __init__(
        self,
        settled_digest: Callable[[InstanceId], object | None],
        marks: Mapping[str, int] | None = None,
    ) -> None:
        self._settled_digest = settled_digest
        self.marks = dict(marks or {})
        self._pending_marks: dict[str, tuple[int, MarkRecord]] = {}
        self._open: dict[InstanceId, _Open] = {}
        self._pending: dict[InstanceId, _Pending] = {}
        self._standing: tuple[int, StandingRecord] | None = None
        self._evidence: dict[tuple[int, object], tuple[int, EvidenceRecord]] = {}
        self._count = 0
        self.pending_bytes = 0

    def apply(self, segment: int, records: Sequence[Record]) -> None:
        """Take note of records that are durable in a segment.

        Raises:
            InvariantViolation: two decisions for one instance (HARDENING W4).
        """
        for record in records:
            self._count += 1
            match record:
                case VoteRecord() | ProposalRecord() | DecisionRecord() | QuarantineRecord():
                    self._take(segment, record, instance_of(record))
                case StandingRecord():
                    self._standing = (segment, record)
                case MarkRecord():
                    self._mark(segment, record)
                case EvidenceRecord():
                    first = record.evidence.first
                    self._evidence.setdefault((first.source, first.instance), (segment, record))
                case _:
                    assert_never(record)

    def _take(self, segment: int, record: Record, instance: InstanceId) -> None:
        """Take note of what is about one instance."""
        if self.marks and self.is_below_mark(instance):
            return
        if isinstance(record, DecisionRecord):
            self._decide(instance, segment, record)
        elif isinstance(record, QuarantineRecord) and record.abandoned:
            # nothing else is needed to stay out of it, and others may have opened many such
            was_open = self._open.pop(instance, None) is not None
            if was_open or not self._is_decided(instance):
                self._open[instance] = _Open(segment, [(self._count, record)])
        elif (opened := self._open.get(instance)) is not None:
            opened.add(self._count, record)
        elif not self._is_decided(instance):
            opened = self._open[instance] = _Open(segment)
            opened.add(self._count, record)

    def _is_decided(self, instance: InstanceId) -> bool:
        """Whether it is decided, which is asked only of what is not open."""
        return instance in self._pending or self._settled_digest(instance) is not None

    def _decide(self, instance: InstanceId, segment: int, record: DecisionRecord) -> None:
        was_open = self._open.pop(instance, None) is not None
        waiting = self.pending(instance)
        digest = record.decision.certificate.value
        if waiting is not None:
            check_same(instance, waiting.certificate.value, digest)
            return
        settled = None if was_open else self._settled_digest(instance)
        if settled is not None:
            check_same(instance, settled, digest)
            return
        self._pending[instance] = _Pending(segment, record)
        self.pending_bytes += value_bytes(record.decision)

    def _mark(self, segment: int, record: MarkRecord) -> None:
        if record.height <= self.marks.get(record.topic, 0):
            return
        self.marks[record.topic] = record.height
        self._pending_marks.pop(record.topic, None)
        self._pending_marks[record.topic] = (segment, record)
        passed = [i for i in self._open if i.topic == record.topic and i.height < record.height]
        for instance in passed:
            del self._open[instance]

    def is_below_mark(self, instance: InstanceId) -> bool:
        """Whether it is of those that are not kept, and not voted on again."""
        return instance.height < self.marks.get(instance.topic, 0)

    def undecided(self, topic: str) -> Iterator[InstanceId]:
        """A topic's instances that no mark may pass: undecided, with records, not abandoned."""
        for instance, entry in self._open.items():
            if instance.topic == topic and not entry.is_abandoned:
                yield instance

    @property
    def pending_marks(self) -> list[MarkRecord]:
        """The marks that are not durable elsewhere, in the order of their commits."""
        return [record for _, record in self._pending_marks.values()]

    def settle_mark(self, mark: MarkRecord) -> None:
        """The mark is durable elsewhere now."""
        waiting = self._pending_marks.get(mark.topic)
        if waiting is not None and waiting[1].height <= mark.height:
            del self._pending_marks[mark.topic]

    @property
    def standing(self) -> StandingRecord | None:
        """The last word on whether votes were lost; none was ever said where there is none."""
        return self._standing[1] if self._standing is not None else None

    @property
    def pending_count(self) -> int:
        """How many decisions wait to be durable elsewhere."""
        return len(self._pending)

    @property
    def open_count(self) -> int:
        """How many undecided instances have records."""
        return len(self._open)

    def pending(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance, if it is one that waits."""
        entry = self._pending.get(instance)
        return None if entry is None else entry.record.decision

    def place(self, instance: InstanceId) -> int | None:
        """Which of the waiting decisions this is, from 1, in the order of their commits."""
        if instance not in self._pending:
            return None
        return next(n for n, each in enumerate(self._pending, 1) if each == instance)

    def pending_decisions(self, start: int, limit: int) -> list[Decision]:
        """The waiting decisions from the start-th (from 0) on, in the order of their commits."""
        found = islice(self._pending.values(), start, start + limit)
        return [entry.record.decision for entry in found]

    def pending_items(self) -> Iterator[tuple[InstanceId, Decision]]:
        """The waiting decisions with their instances, in the order of their commits."""
        for instance, entry in self._pending.items():
            yield instance, entry.record.decision

    def is_open(self, instance: InstanceId) -> bool:
        """Whether there are records of this undecided instance."""
        return instance in self._open

    def settle(self, count: int) -> None:
        """The first so many waiting decisions are durable elsewhere now."""
        for instance in list(islice(self._pending, count)):
            self.pending_bytes -= value_bytes(self._pending.pop(instance).record.decision)

    def floor(self) -> int | None:
        """The oldest segment with a record that matters; None where none does."""
        firsts = [entry.segment for entry in islice(self._open.values(), 1)]
        firsts += [entry.segment for entry in islice(self._pending.values(), 1)]
        firsts += [segment for segment, _ in islice(self._pending_marks.values(), 1)]
        firsts += [segment for segment, _ in islice(self._evidence.values(), 1)]
        firsts += [self._standing[0]] if self._standing is not None else []
        return min(firsts, default=None)

    def open_records(self) -> list[Record]:
        """The records of undecided instances, in the order of their commits."""
        found = [pair for entry in self._open.values() for pair in entry.records]
        return [record for _, record in sorted(found, key=lambda pair: pair[0])]

    def evidence(self) -> list[Record]:
        """What validators did, in the order in which it was found; kept for ever."""
        return [record for _, record in self._evidence.values()]

    def records(self) -> Iterator[Record]:
        """All that matters, so that a segment of these records alone gives the same state."""
        if self._standing is not None:
            yield self._standing[1]
        yield from self.evidence()
        yield from self.open_records()
        for entry in self._pending.values():
            yield entry.record
        yield from self.pending_marks

    def moved_to(self, segment: int) -> None:
        """All that matters has been written once more, into this segment."""
        if self._standing is not None:
            self._standing = (segment, self._standing[1])
        for found, (_, record) in list(self._evidence.items()):
            self._evidence[found] = (segment, record)
        for entry in self._open.values():
            entry.segment = segment
        for waiting in self._pending.values():
            waiting.segment = segment
        for topic, (_, mark) in list(self._pending_marks.items()):
            self._pending_marks[topic] = (segment, mark)


def instance_of(record: Record) -> InstanceId:
    """The instance that a record is about.

    Raises:
        InvariantViolation: it has no instance as the service knows them; nothing such is journaled.
    """
    match record:
        case VoteRecord():
            instance: object = record.vote.instance
        case DecisionRecord():
            instance = record.decision.certificate.instance
        case ProposalRecord():
            instance = record.proposal.instance
        case QuarantineRecord():
            instance = record.instance
        case _:
            instance = None
    if not isinstance(instance, InstanceId):
        raise InvariantViolation(f"{instance!r} is no instance of the service")
    return instance


def value_bytes(decision: Decision) -> int:
    """The length of a decision's value."""
    return len(decision.value) if isinstance(decision.value, bytes) else 0


def value_bytes_in(record: Record) -> int:
    """The length of the value that a record holds, if it holds one."""
    if isinstance(record, ProposalRecord):
        return len(record.proposal.value)
    return value_bytes(record.decision) if isinstance(record, DecisionRecord) else 0


def check_same(instance: InstanceId, first: object, second: object) -> None:
    """See that two digests decided for an instance agree; their certificates may differ.

    Raises:
        InvariantViolation: they do not; the node stops (HARDENING W4).
    """
    if first != second:
        raise InvariantViolation(f"{instance} has two decisions")
