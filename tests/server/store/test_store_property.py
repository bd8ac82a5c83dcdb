"""Any history of commits, kills and torn writes: the journal loses and invents nothing.

HARDENING W6 and DESIGN (votes survive), with segments so small that rotation, deletion and
checkpoints happen all the time.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builders import (
    CLUSTER,
    VALIDATOR,
    commit,
    decided,
    newest_segment,
    prepare,
    proposal,
)

from qbft.core.messages import InstanceId, MessageType
from qbft.decision import Decision
from qbft.replica.protocols import DecisionRecord, Record, VoteRecord
from qbft.wire.journal import encode_journal_commit
from qbft_server.store.journal import JournalLimits, VoteJournal
from qbft_server.store.live import instance_of

pytestmark = pytest.mark.real_clock

LIMITS = JournalLimits(segment_bytes_max=1_500, retained_bytes_max=4_000)

heights = st.integers(0, 6)
records = st.one_of(
    st.builds(prepare, heights, st.just(b"v"), st.integers(1, 9)),
    st.builds(commit, heights, st.just(b"v"), st.integers(1, 9)),
    st.builds(proposal, heights, st.just(b"v" * 50)),
    st.builds(decided, heights, st.just(b"v")),
)
commits = st.lists(records, min_size=1, max_size=5)
steps = st.one_of(
    st.tuples(st.just("commit"), commits),
    st.tuples(st.just("settle"), st.integers(0, 3)),
    st.tuples(st.just("kill"), commits, st.floats(0, 1, exclude_max=True)),
)


@dataclass
class Model:
    """What ought to be found: lists in the order of commits."""

    live: list[Record] = field(default_factory=list)
    pending: list[Decision] = field(default_factory=list)
    settled: dict[InstanceId, object] = field(default_factory=dict)
    votes: int = 0

    def commit(self, added: list[Record]) -> None:
        """These records are durable."""
        for record in added:
            self.votes += isinstance(record, VoteRecord)
            about = instance_of(record)
            waiting = {instance_of(DecisionRecord(decision)) for decision in self.pending}
            if about in self.settled or about in waiting:
                continue
            if isinstance(record, DecisionRecord):
                self.pending.append(record.decision)
                self.live = [other for other in self.live if instance_of(other) != about]
            else:
                self.live.append(record)
        self.live = [record for record in self.live if self._matters(record)]

    def _matters(self, record: Record) -> bool:
        """Of votes those of the highest round and the highest COMMIT (docs/adr/012)."""
        if not isinstance(record, VoteRecord):
            return True
        mine = [
            other.vote
            for other in self.live
            if isinstance(other, VoteRecord) and other.vote.instance == record.vote.instance
        ]
        alike = [vote.round for vote in mine if vote.type is record.vote.type]
        is_last_commit = record.vote.type is MessageType.COMMIT and record.vote.round == max(alike)
        return is_last_commit or record.vote.round == max(vote.round for vote in mine)

    def settle(self, count: int) -> int:
        """The first decisions are elsewhere; returns how many."""
        gone, self.pending = self.pending[:count], self.pending[count:]
        for decision in gone:
            self.settled[instance_of(DecisionRecord(decision))] = decision.certificate.value
        return len(gone)


class World:
    """A journal on disk, killed and opened again, beside the model."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = Model()
        VoteJournal.create(directory, CLUSTER, VALIDATOR)
        self.journal = self.open()

    def open(self) -> VoteJournal:
        """What the next process does first."""
        return VoteJournal.open(
            self.directory,
            CLUSTER,
            VALIDATOR,
            settled_digest=self.model.settled.get,
            limits=LIMITS,
        )

    def tear(self, unfinished: list[Record], part: float) -> None:
        """Kill the process in the middle of a commit: part of its record is on disk."""
        path = newest_segment(self.directory)
        before = path.read_bytes()
        self.journal._log.append(1, encode_journal_commit(unfinished))
        self.journal.close()
        added = path.read_bytes()[len(before) :]
        path.write_bytes(before + added[: int(len(added) * part)])
        self.journal = self.open()

    def check(self) -> None:
        """Compare the journal with the model."""
        assert list(self.journal.recover()) == self.model.live
        assert self.journal.live.pending_decisions(0, 999) == self.model.pending
        assert self.journal.next_sequence == self.model.votes + 1


async def live_through(history: list[tuple], directory: Path) -> None:  # type: ignore[type-arg]
    """Go through a history, and compare after every step."""
    world = World(directory)
    for step in history:
        match step:
            case ("commit", added):
                await world.journal.commit(added)
                world.model.commit(added)
            case ("settle", count):
                world.journal.live.settle(world.model.settle(count))
            case (_, unfinished, part):
                world.tear(unfinished, part)
        world.check()
    world.tear([proposal(0)], 0.5)
    world.check()
    world.journal.close()


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(steps, max_size=25))
def test_any_history_is_recovered(history: list[tuple]) -> None:  # type: ignore[type-arg]
    """After every step, and after every kill, the journal holds exactly what was committed."""
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        runner.run(live_through(history, Path(name) / "journal"))
