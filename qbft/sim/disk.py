"""A pretended disk: the journal and store that survive a node's crash, with crash points."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

from qbft.core import InstanceId, Value
from qbft.decision import Decision
from qbft.errors import JournalError
from qbft.replica.narrow import as_instance, bytes_of
from qbft.replica.own_votes import VoteRounds
from qbft.replica.protocols import (
    DecisionRecord,
    EvidenceRecord,
    MarkRecord,
    ProposalRecord,
    QuarantineRecord,
    Record,
    Standing,
    StandingRecord,
    VoteRecord,
)


class Crashed(Exception):  # noqa: N818 - what has happened to the node
    """The node loses power here."""


class Standstill:
    """Awaited, it tells whoever steps the coroutine by hand how many milliseconds pass here."""

    def __init__(self, wait_ms: int) -> None:
        self._wait_ms = wait_ms

    def __await__(self) -> Generator[int, None, None]:
        yield self._wait_ms


class SimDisk:
    """One node's durable state: what was committed before a crash is there after it.

    `crash_point` is asked before and after each commit, and while it is being synced; `sync_ms`
    tells how long that takes.
    """

    def __init__(
        self,
        store_id: bytes,
        crash_point: Callable[[str, Sequence[Record]], None],
        sync_ms: Callable[[], int] | None = None,
    ) -> None:
        self._store_id = store_id
        self._crash_point = crash_point
        self._sync_ms = sync_ms
        self._records: list[Record] = []
        self._votes = 0
        self._decisions: dict[InstanceId, Decision] = {}
        self._order: list[InstanceId] = []
        self._syncing: Sequence[Record] = ()
        self._is_corrupt = False
        self._marks: dict[str, int] = {}

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
        said = [record for record in self._records if isinstance(record, StandingRecord)]
        if said and said[-1].shared:
            return Standing.SHARED
        return Standing.LOST if said and said[-1].lost else Standing.COMPLETE

    def recover(self) -> Iterable[Record]:
        """What matters of undecided instances or of none; of votes the current (docs/adr/012).

        Raises:
            JournalError: a record is bad that others follow.
        """
        if self._is_corrupt:
            raise JournalError("a record is bad, and valid ones follow it")
        rounds: dict[InstanceId, VoteRounds] = {}
        for record in self._records:
            if isinstance(record, VoteRecord):
                rounds.setdefault(_instance_of(record), VoteRounds()).note(record.vote)
        return [record for record in self._records if self._matters(record, rounds)]

    def _matters(self, record: Record, rounds: Mapping[InstanceId, VoteRounds]) -> bool:
        if isinstance(record, StandingRecord | EvidenceRecord):
            return True
        if isinstance(record, MarkRecord):
            return False
        instance = _instance_of(record)
        if instance in self._decisions or instance.height < self.low_water_mark(instance.topic):
            return False
        return not isinstance(record, VoteRecord) or rounds[instance].is_current(
            record.vote.type, record.vote.round
        )

    async def commit(self, records: Sequence[Record]) -> None:
        """Keep the records, all or none; the node may crash right before or right after."""
        self._crash_point("before_commit", records)
        wait_ms = self._sync_ms() if self._sync_ms is not None else 0
        if wait_ms:
            self._syncing = records
            self._crash_point("syncing", records)
            await Standstill(wait_ms)
            self._syncing = ()
        self._keep_records(records)
        self._crash_point("after_commit", records)

    @property
    def is_syncing(self) -> bool:
        """Whether something is being written just now."""
        return bool(self._syncing)

    def lose_power(self, *, kept: bool) -> Sequence[Record]:
        """Stop while something may be being synced; it is there afterwards only if `kept`.

        A record that was torn is truncated when the journal is opened, for nothing that follows
        from it has left the node. Gives what was kept at this last moment.
        """
        records, self._syncing = self._syncing, ()
        if kept and records:
            self._keep_records(records)
            return records
        return ()

    def forget(self) -> None:
        """Lose all votes and proposals, as a node without a journal does; not its decisions."""
        self._records, self._votes = [], 0

    def replace(self, store_id: bytes) -> None:
        """Lose everything, and be made anew by `init --replace`, which says that votes are lost."""
        self._store_id = store_id
        self._records, self._votes = [StandingRecord(lost=True)], 0
        self._decisions, self._order = {}, []

    def corrupt(self) -> None:
        """Damage a record in the middle: the journal cannot be opened any more."""
        self._is_corrupt = True

    def snapshot(self) -> Callable[[], None]:
        """Copy the disk; what is given restores that copy."""
        records, votes = list(self._records), self._votes
        decisions, order = dict(self._decisions), list(self._order)

        def restore() -> None:
            self._records, self._votes = list(records), votes
            self._decisions, self._order = dict(decisions), list(order)

        return restore

    def _keep_records(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        for record in records:
            if isinstance(record, VoteRecord):
                self._votes += 1
            elif isinstance(record, StandingRecord):
                self._votes = max(self._votes, record.next_sequence - 1)
            elif isinstance(record, DecisionRecord):
                self._keep(record.decision)
            elif isinstance(record, MarkRecord):
                self._marks[record.topic] = record.height

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance."""
        if instance.height < self.low_water_mark(instance.topic):
            return None
        return self._decisions.get(instance)

    def digest(self, instance: InstanceId) -> Value | None:
        """What was decided of an instance."""
        decision = self.get(instance)
        return None if decision is None else decision.certificate.value

    def size(self, instance: InstanceId) -> int:
        """The length of its value."""
        decision = self.get(instance)
        return 0 if decision is None else len(bytes_of(decision))

    def position(self, instance: InstanceId) -> int | None:
        """Where it stands in the order."""
        return None if self.get(instance) is None else self._order.index(instance) + 1

    def add(self, decisions: Sequence[Decision]) -> None:
        """Do nothing: the commit has them."""

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """Decided instances in order, numbered from 1."""
        return tuple(enumerate(self._order, 1))[after : after + limit]

    @property
    def end(self) -> int:
        """How many decisions there are."""
        return len(self._order)

    def topics(self) -> Iterable[str]:
        """Those of all decisions and marks."""
        return [instance.topic for instance in self._order] + list(self._marks)

    def highest(self, after: str, limit: int) -> tuple[InstanceId, ...]:
        """The highest decided instance of each topic, of so many topics from `after` on."""
        highest = {instance.topic: instance for instance in sorted(self._decisions)}
        return tuple(highest[topic] for topic in sorted(highest) if topic > after)[:limit]

    def low_water_mark(self, topic: str) -> int:
        """What a committed mark says; what is below it is gone."""
        return self._marks.get(topic, 0)

    def low_water_marks(self) -> Mapping[str, int]:
        """All of them."""
        return self._marks

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
        case StandingRecord() | MarkRecord() | EvidenceRecord():
            raise TypeError("this record is of no instance")
