"""What stopped nodes have on their disks: no vote of a node may contradict another of its votes.

Clients cannot see a node that signs two values and gets away with it; journals show it, over all
its lives, as far back as they go (SCENARIOS I5 to I7): with those that it has lost, too.

A node's own journals show only what it has written there. What it has sent besides its peers hold:
PREPAREs with their COMMITs, justifications, certificates, evidence. So all votes of a validator are
held against each other, wherever they are; and against its journals, for none may leave that is not
durable (HARDENING W1). A signature says for which store it was made, and the vote's number there. A
journal has every vote of its store from the first number of its first segment on, without end, for
segments go from the old end only. Hence a vote that anybody holds is missing if its number is at
least that one, if its journal has another vote under it, or if its node never had such a store.
Nothing can be said of lower numbers, which compaction has let go, nor of what nobody has kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from qbft.cluster import Cluster
from qbft.core import Message, MessageType
from qbft.records import DecisionRecord, EvidenceRecord, Record, VoteRecord
from qbft.replica.narrow import sequence_of, store_of
from qbft.wire.journal import decode_journal_commit
from qbft_server.store.decisions import DecisionTable
from qbft_server.store.segments import SegmentHeader, SegmentLog
from qbft_server.store.store import DECISIONS_FILE, JOURNAL_DIRECTORY

Slot = tuple[Hashable, MessageType, int]


class Cast(NamedTuple):
    """A vote as it was signed: for which store, its number there, and what it says, no more."""

    store_id: bytes
    sequence: int
    vote: Message


@dataclass(slots=True)
class Account:
    """All that is known of one validator's votes.

    `own` are those of its journals, in the order of their commits; `held` those that any node has
    elsewhere, and which node; `firsts` are its stores, the oldest first, and the number from which
    on the journal of each has every vote.
    """

    own: dict[Cast, None] = field(default_factory=dict)
    held: dict[Cast, int] = field(default_factory=dict)
    firsts: dict[bytes, int] = field(default_factory=dict)

    @property
    def votes(self) -> list[Message]:
        """All of them, each once, as they were signed; those of an unknown store come last."""
        lives = {store_id: life for life, store_id in enumerate(self.firsts)}
        casts = sorted(
            self.own | dict.fromkeys(self.held),
            key=lambda cast: (lives.get(cast.store_id, len(lives)), cast.sequence),
        )
        return [cast.vote for cast in casts]

    def flaws(self) -> Iterator[str]:
        """Whatever its node must not have done."""
        yield from contradictions(self.votes)
        yield from self._missing()

    def _missing(self) -> Iterator[str]:
        """The votes that it has sent, and that its journals lack."""
        numbers = {(cast.store_id, cast.sequence) for cast in self.own}
        for cast, holder in self.held.items():
            if cast in self.own:
                continue
            where = f"{_name(cast.vote)}, its vote number {cast.sequence}, is on node {holder}'s"
            if (cast.store_id, cast.sequence) in numbers:
                yield f"{where} disk, and its own journal has another vote under that number"
            elif cast.store_id not in self.firsts:
                yield f"{where} disk, and was signed for a store that it never had"
            elif cast.sequence >= self.firsts[cast.store_id]:
                yield f"{where} disk, and its own journal lacks it"


class _Reader:
    """Sorts what a node's journal holds into the accounts of all."""

    def __init__(self, accounts: Sequence[Account], node: int) -> None:
        self._accounts = accounts
        self._node = node

    def on_segment(self, header: SegmentHeader) -> None:
        """A segment begins; the first says from which number on all votes are there."""
        self._accounts[self._node].firsts.setdefault(header.store_id, header.next_sequence)

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """Take the votes of one commit."""
        for record in decode_journal_commit(payload):
            if isinstance(record, VoteRecord):
                self._accounts[self._node].own[_cast(record.vote)] = None
            self.hold(_held(record))

    def hold(self, votes: Iterable[Message]) -> None:
        """Take votes, of whomever, that are kept with something else."""
        for vote in votes:
            self._accounts[vote.source].held.setdefault(_cast(vote), self._node)


def read_accounts(lives: Sequence[Iterable[Path]], cluster: Cluster) -> list[Account]:
    """The votes of all nodes, none of which runs, each with what the others' disks have of it.

    `lives` are, by node, all data directories that it has ever had, the oldest first: one that lost
    its disk has had several. Signatures are not verified again: whoever kept a vote has done that.

    Raises:
        QbftError: one cannot be read.
    """
    accounts = [Account() for _ in lives]
    for node, directories in enumerate(lives):
        reader = _Reader(accounts, node)
        for data in directories:
            _read(data, cluster, node, reader)
    return accounts


def contradictions(votes: Iterable[Message]) -> Iterator[str]:
    """Whatever of one node's votes, in their order, contradicts an earlier one.

    A vote may be there twice, for what is undecided is written again when the journal is compacted.
    """
    contents: dict[Slot, tuple[object, int, object]] = {}
    highest_change: dict[Hashable, int] = {}
    highest_commit: dict[Hashable, int] = {}
    for vote in votes:
        slot = (vote.instance, vote.type, vote.round)
        content = (vote.value, vote.prepared_round, vote.prepared_value)
        known = contents.setdefault(slot, content)
        if known is not content:
            if known != content:
                yield f"{_name(vote)} was signed twice, with different contents"
            continue
        if vote.type is MessageType.ROUND_CHANGE:
            if vote.prepared_round < highest_commit.get(vote.instance, 0):
                yield f"{_name(vote)} hides an earlier COMMIT"
            highest_change[vote.instance] = max(vote.round, highest_change.get(vote.instance, 0))
        elif vote.round < highest_change.get(vote.instance, 0):
            yield f"{_name(vote)} was signed after the node had left that round"
        if vote.type is MessageType.COMMIT:
            highest_commit[vote.instance] = max(vote.round, highest_commit.get(vote.instance, 0))


def _read(data: Path, cluster: Cluster, node: int, reader: _Reader) -> None:
    """Read one data directory: the journal, and the decisions that it has let go."""
    SegmentLog.open(data / JOURNAL_DIRECTORY, cluster.roster.cluster_id, node, reader).close()
    with closing(DecisionTable.open(data / DECISIONS_FILE)) as table:
        for decision in table.everything():
            reader.hold(decision.certificate.commits)


def _held(record: Record) -> tuple[Message, ...]:
    """The votes that a record keeps beside what it is about."""
    match record:
        case VoteRecord(vote, prepares):
            return (*prepares, *vote.justification)
        case DecisionRecord(decision):
            return decision.certificate.commits
        case EvidenceRecord(evidence):
            return (evidence.first, evidence.second)
        case _:
            return ()


def _cast(vote: Message) -> Cast:
    said = replace(vote, justification=(), proof=None)
    return Cast(store_of(vote), sequence_of(vote), said)


def _name(vote: Message) -> str:
    return f"{vote.type.name} of {vote.instance} in round {vote.round}"
