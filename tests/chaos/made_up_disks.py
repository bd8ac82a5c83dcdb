"""Disks of nodes that never ran, with made-up journals of votes that are made up as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import value_digest
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.decision import Decision
from qbft.records import DecisionRecord, Record
from qbft_server.initialise import init_cluster
from qbft_server.store.journal import JournalLimits
from qbft_server.store.limits import StoreLimits
from qbft_server.store.store import NodeStore

PRE_PREPARE, PREPARE = MessageType.PRE_PREPARE, MessageType.PREPARE
COMMIT, ROUND_CHANGE = MessageType.COMMIT, MessageType.ROUND_CHANGE


def vote(
    kind: MessageType, round_: int, value: str | None = "v", prepared: int = 0, height: int = 0
) -> Message:
    """A vote of node 1."""
    if kind is ROUND_CHANGE:
        return Message(kind, InstanceId("t", height), 1, round_, None, prepared, value)
    return Message(kind, InstanceId("t", height), 1, round_, value)


class Disks:
    """The disks of four nodes that never ran, and what is written to them."""

    def __init__(self, directory: Path, segment_bytes_max: int = 16 << 20) -> None:
        self.directory = directory / "cluster"
        self.cluster = init_cluster(self.directory)
        self.lives = [[self.directory / f"node-{node}" / "data"] for node in range(4)]
        self._limits = StoreLimits(journal=JournalLimits(segment_bytes_max=segment_bytes_max))

    def open(self, node: int) -> NodeStore:
        """A node's store, as it is now."""
        identity = self.cluster.roster.cluster_id, node
        return NodeStore.open(self.lives[node][-1], *identity, limits=self._limits)

    async def store_id(self, node: int) -> bytes:
        """The name of that store."""
        store = self.open(node)
        await store.aclose()
        return store.store_id

    async def write(self, node: int, *records: Record) -> None:
        """Let a node's journal have these, each in a commit of its own."""
        store = self.open(node)
        for record in records:
            await store.commit([record])
        await store.aclose()

    def lose(self, node: int) -> None:
        """Put its disk away, and give it an empty one."""
        data = self.lives[node].pop()
        lost = data.with_name(f"data.lost-{len(self.lives[node]) + 1}")
        data.rename(lost)
        NodeStore.create(data, self.cluster.roster.cluster_id, node)
        self.lives[node] += [lost, data]


def signed(said: Message, store_id: bytes, sequence: int) -> Message:
    """A vote with a number in its source's store; nobody here verifies the signature."""
    signature = VoteSignature(BatchHeader(store_id, sequence, bytes(64)), 1, 0, ())
    value, prepared = (
        None if text is None else value_digest(str(text).encode())
        for text in (said.value, said.prepared_value)
    )
    return replace(said, value=value, prepared_value=prepared, proof=Proof(signature))


def certificate(commit: Message) -> DecisionRecord:
    """A decision that this COMMIT belongs to."""
    made = Certificate(commit.instance, commit.round, commit.value, (commit,))
    return DecisionRecord(Decision(b"v", made))
