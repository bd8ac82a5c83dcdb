"""What a replica needs of its surroundings: a journal, a store of decisions, an application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from qbft.core import InstanceId, Value
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.records import (
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

__all__ = [
    "AcceptAll",
    "Application",
    "DecisionRecord",
    "DecisionStore",
    "EvidenceRecord",
    "Journal",
    "MarkRecord",
    "OwnInput",
    "ProposalRecord",
    "QuarantineRecord",
    "Record",
    "Standing",
    "StandingRecord",
    "ValueSource",
    "VoteRecord",
    "highest_decided",
]


class Journal(Protocol):
    """Where a node's own votes are kept. One commit is one record on disk: all of it or nothing."""

    @property
    def store_id(self) -> bytes:
        """16 random bytes that name this journal, fixed when it was created."""
        ...

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next own vote gets; votes are numbered from 1, gapless."""
        ...

    @property
    def standing(self) -> Standing:
        """Whether it holds every vote that this node's key has cast (HARDENING W7)."""
        ...

    def recover(self) -> Iterable[Record]:
        """What was committed and still matters: of instances without a decision, in order.

        Before them the last `StandingRecord`, where there is one, and all evidence.

        Read once, before the first commit.

        Raises:
            JournalError: the journal is damaged, foreign, or of another version.
        """
        ...

    async def commit(self, records: Sequence[Record]) -> None:
        """Make all records durable before returning.

        Raises:
            JournalError: not durable, and never will be; the replica stops voting.
        """
        ...


class DecisionStore(Protocol):
    """Decisions, from the moment their record is committed to the journal."""

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance, or None. Cheap: recent ones are in memory."""
        ...

    def digest(self, instance: InstanceId) -> Value | None:
        """What was decided of an instance, or None. Its value is not read for it.

        A peer may name any instance, and as many as it likes (HARDENING U7).
        """
        ...

    def size(self, instance: InstanceId) -> int:
        """About how many bytes a decision has, which is not read for it; 0 where there is none.

        What a peer is sent of it is paced by this.
        """
        ...

    def position(self, instance: InstanceId) -> int | None:
        """Its position in this node's order; None where it is not decided, or not kept."""
        ...

    def add(self, decisions: Sequence[Decision]) -> None:
        """Take over decisions whose records the journal has made durable; idempotent."""
        ...

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """(position, instance) of decisions in this node's order, positions above `after`."""
        ...

    @property
    def end(self) -> int:
        """The position of the last decision; 0 when there is none."""
        ...

    def topics(self) -> Iterable[str]:
        """The topics of which there is a decision or a low-water mark, in no certain order.

        Asked once, before the first commit.
        """
        ...

    def highest(self, after: str, limit: int) -> tuple[InstanceId, ...]:
        """The highest decided instance of each topic, of so many topics in order from `after` on.

        `after` itself is left out.
        """
        ...

    def low_water_mark(self, topic: str) -> int:
        """The lowest height of the topic that is still kept; below it nothing is voted on."""
        ...

    def low_water_marks(self) -> Mapping[str, int]:
        """The marks of all topics that have one."""
        ...


TOPICS_PER_LOOK = 256


def highest_decided(store: DecisionStore) -> Iterator[InstanceId]:
    """Give the highest decided instance of every topic, looked up some at a time."""
    after = ""
    while found := store.highest(after, TOPICS_PER_LOOK):
        yield from found
        after = found[-1].topic


class Application(Protocol):
    """Whose values are valid. Must be deterministic in (instance, value) (DESIGN, validity)."""

    async def check_value(self, instance: InstanceId, value: bytes, proposer: int) -> bool:
        """Whether this value may be decided; `proposer` is the validator it came from here.

        That is the leader, or a peer that handed on what might be adopted: asked once for both.
        """
        ...


class ValueSource(Protocol):
    """Where a node gets something to propose that no client gave it."""

    async def provide_value(self, instance: InstanceId) -> Proposal | None:
        """What to propose for an open instance, or None for nothing (so far)."""
        ...


OwnInput = Callable[[InstanceId], Proposal | None]
"""What this node would rather propose for an instance that it leads than what others proposed."""


class AcceptAll:
    """The application that finds every value valid."""

    async def check_value(self, instance: InstanceId, value: bytes, proposer: int) -> bool:
        """Accept."""
        return True
