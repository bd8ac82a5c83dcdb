"""Reads a stopped node's whole journal, and holds it against what a node must never have signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from qbft.cluster import Cluster
from qbft.core import Message, MessageType
from qbft.crypto.signing import Verifier
from qbft.records import DecisionRecord, Record, StandingRecord, VoteRecord
from qbft.replica.narrow import sequence_of, store_of
from qbft.wire.journal import decode_journal_commit
from qbft_server.store.segments import SegmentHeader, SegmentLog


class _Reader:
    """Collects every record of every segment that is still there, and how the first one began."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.first: SegmentHeader | None = None

    def on_segment(self, header: SegmentHeader) -> None:
        self.first = self.first or header

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        self.records.extend(decode_journal_commit(payload))


def read_journal(directory: Path, cluster: Cluster, node: int) -> list[Record]:
    """All records of a node that does not run, in the order in which they became durable."""
    return _read(directory, cluster, node).records


def _read(directory: Path, cluster: Cluster, node: int) -> _Reader:
    reader = _Reader()
    data = directory / f"node-{node}" / "data" / "journal"
    SegmentLog.open(data, cluster.roster.cluster_id, node, reader).close()
    return reader


def audit(directory: Path, cluster: Cluster) -> dict[int, list[Message]]:
    """Check the votes of all nodes, of all their lives: I5, I6, I7 of SCENARIOS, and I1.

    Gives each node's votes in order.
    """
    verifier = Verifier(cluster.roster)
    votes_of: dict[int, list[Message]] = {}
    decided: dict[object, object] = {}
    for node in range(len(cluster.validators)):
        contents: dict[tuple[object, MessageType, int], object] = {}
        highest_change: dict[object, int] = {}
        highest_commit: dict[object, int] = {}
        votes_of[node] = []
        for record in read_journal(directory, cluster, node):
            if isinstance(record, DecisionRecord):
                certificate = record.decision.certificate
                known = decided.setdefault(certificate.instance, certificate.value)
                assert known == certificate.value, f"I1: two values for {certificate.instance}"
            if not isinstance(record, VoteRecord):
                continue
            vote = record.vote
            assert verifier.verify_message(vote), f"{vote} has no genuine signature"
            slot = (vote.instance, vote.type, vote.round)
            content = (vote.value, vote.prepared_round, vote.prepared_value)
            assert slot not in contents, f"I5: node {node} signed {slot} twice"
            contents[slot] = content
            if vote.type is MessageType.ROUND_CHANGE:
                assert vote.prepared_round >= highest_commit.get(vote.instance, 0), f"I7: {vote}"
                highest_change[vote.instance] = max(
                    vote.round, highest_change.get(vote.instance, 0)
                )
            else:
                assert vote.round >= highest_change.get(vote.instance, 0), f"I6: {vote}"
            if vote.type is MessageType.COMMIT:
                highest_commit[vote.instance] = max(
                    vote.round, highest_commit.get(vote.instance, 0)
                )
            votes_of[node].append(vote)
    return votes_of


def copies(
    directory: Path, cluster: Cluster, source: int, *, is_lost: bool = False
) -> list[tuple[Message, Message]]:
    """A node's votes as its peers have journaled them, each with that of its own journal.

    They come from PREPAREs, justifications and certificates. None may lack there (W1), but those
    whose numbers are before its first segment: they were let go. `is_lost` tells that its disk was
    replaced, or that another process has voted with its key: then those of other stores may lack,
    and those of its own store where it has said that it does not have them all.
    """
    journal = _read(directory, cluster, source)
    own = {
        _content(record.vote): record.vote
        for record in journal.records
        if isinstance(record, VoteRecord)
    }
    found = []
    for vote in _theirs(directory, cluster, source):
        mine = own.get(_content(vote))
        if mine is not None:
            found.append((vote, mine))
        else:
            may_lack = _is_let_go(vote, journal) or (is_lost and _is_lost(vote, journal))
            assert may_lack, f"W1: node {source} has sent {vote} and not journaled it"
    return found


def _theirs(directory: Path, cluster: Cluster, source: int) -> Iterator[Message]:
    """The votes of a node that its peers' journals hold."""
    for node in range(len(cluster.validators)):
        if node != source:
            yield from heard(read_journal(directory, cluster, node), source)


def _is_let_go(vote: Message, journal: _Reader) -> bool:
    """Whether a vote is older than all that its journal still has."""
    first = journal.first
    return first is not None and (
        store_of(vote) == first.store_id and sequence_of(vote) < first.next_sequence
    )


def _is_lost(vote: Message, journal: _Reader) -> bool:
    """Whether a vote is of another store, or of one whose journal says that votes are lost."""
    lost = {
        store_id
        for record in journal.records
        if isinstance(record, StandingRecord)
        for store_id, _ in record.replaced
    }
    return journal.first is None or (
        store_of(vote) != journal.first.store_id or store_of(vote) in lost
    )


def heard(records: Iterable[Record], source: int) -> list[Message]:
    """The votes of another node that these records of a journal hold.

    They come from PREPAREs, justifications and certificates.
    """
    return [vote for record in records for vote in _of_others(record) if vote.source == source]


def _of_others(record: Record) -> tuple[Message, ...]:
    if isinstance(record, VoteRecord):
        return (*record.prepares, *record.vote.justification)
    return record.decision.certificate.commits if isinstance(record, DecisionRecord) else ()


def _content(vote: Message) -> tuple[object, ...]:
    prepared = (vote.prepared_round, vote.prepared_value)
    return (vote.type, vote.instance, vote.source, vote.round, vote.value, *prepared)
