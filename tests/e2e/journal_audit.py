"""Reads a stopped node's whole journal, and holds it against what a node must never have signed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qbft.cluster import Cluster
from qbft.core import Message, MessageType
from qbft.crypto.signing import Verifier
from qbft.records import DecisionRecord, Record, VoteRecord
from qbft.wire.journal import decode_journal_commit
from qbft_server.store.segments import SegmentHeader, SegmentLog


class _Reader:
    """Collects every record of every segment that is still there."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_segment(self, header: SegmentHeader) -> None:
        pass

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        self.records.extend(decode_journal_commit(payload))


def read_journal(directory: Path, cluster: Cluster, node: int) -> list[Record]:
    """All records of a node that does not run, in the order in which they became durable."""
    reader = _Reader()
    data = directory / f"node-{node}" / "data" / "journal"
    SegmentLog.open(data, cluster.roster.cluster_id, node, reader).close()
    return reader.records


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


def copies(directory: Path, cluster: Cluster, source: int) -> list[tuple[Message, Message]]:
    """A node's votes as its peers have journaled them, each with that of its own journal.

    What its own journal has let go, or lost, is left out.
    """
    own = {
        _content(record.vote): record.vote
        for record in read_journal(directory, cluster, source)
        if isinstance(record, VoteRecord)
    }
    peers = (node for node in range(len(cluster.validators)) if node != source)
    theirs = (record for node in peers for record in read_journal(directory, cluster, node))
    return [(vote, own[_content(vote)]) for vote in heard(theirs, source) if _content(vote) in own]


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
