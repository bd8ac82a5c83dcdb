"""What stopped nodes have in their journals: no vote of a node may contradict another of its votes.

Clients cannot see a node that signs two values and gets away with it; its journal shows it, over
all its lives, as far back as it goes (SCENARIOS I5 to I7): with those that it has lost, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from qbft.cluster import Cluster
from qbft.core import Message, MessageType
from qbft.records import VoteRecord
from qbft.wire.journal import decode_journal_commit
from qbft_server.store.segments import SegmentHeader, SegmentLog
from qbft_server.store.store import JOURNAL_DIRECTORY

Slot = tuple[Hashable, MessageType, int]


class _Reader:
    """Collects the votes of every segment that is still there."""

    def __init__(self) -> None:
        self.votes: list[Message] = []

    def on_segment(self, header: SegmentHeader) -> None:
        """A segment begins: nothing of it matters here."""

    def on_record(self, header: SegmentHeader, kind: int, payload: bytes) -> None:
        """Take the votes of one commit."""
        for record in decode_journal_commit(payload):
            if isinstance(record, VoteRecord):
                self.votes.append(record.vote)


def read_votes(lives: Iterable[Path], cluster: Cluster, node: int) -> list[Message]:
    """The own votes of a node that does not run, in the order of its commits.

    `lives` are its data directories, the oldest first: one that lost its disk has had several.

    Raises:
        JournalError: it cannot be read.
    """
    reader = _Reader()
    for data in lives:
        SegmentLog.open(data / JOURNAL_DIRECTORY, cluster.roster.cluster_id, node, reader).close()
    return reader.votes


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
        name = f"{vote.type.name} of {vote.instance} in round {vote.round}"
        if known is not content:
            if known != content:
                yield f"{name} was signed twice, with different contents"
            continue
        if vote.type is MessageType.ROUND_CHANGE:
            if vote.prepared_round < highest_commit.get(vote.instance, 0):
                yield f"{name} hides an earlier COMMIT"
            highest_change[vote.instance] = max(vote.round, highest_change.get(vote.instance, 0))
        elif vote.round < highest_change.get(vote.instance, 0):
            yield f"{name} was signed after the node had left that round"
        if vote.type is MessageType.COMMIT:
            highest_commit[vote.instance] = max(vote.round, highest_commit.get(vote.instance, 0))
