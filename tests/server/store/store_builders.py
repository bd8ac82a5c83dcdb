"""Records as a replica journals them, for the tests of the store."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Collection
from pathlib import Path

from qbft.core.messages import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import Proposal, value_digest
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.decision import Decision
from qbft.replica.protocols import DecisionRecord, EvidenceRecord, ProposalRecord, VoteRecord
from qbft_server.store.store import NodeStore

CLUSTER = bytes(range(32))
VALIDATOR = 2


def instance(height: int, topic: str = "prices/btc") -> InstanceId:
    """An instance of a topic."""
    return InstanceId(topic, height)


def message(
    kind: MessageType, height: int, value: bytes = b"v", *, round_: int = 1, source: int = VALIDATOR
) -> Message:
    """A signed message."""
    return Message(
        kind, instance(height), source, round_, value_digest(value), proof=Proof(signature())
    )


def signature() -> VoteSignature:
    """A portable signature, of a batch of one; the store verifies none."""
    return VoteSignature(BatchHeader(bytes(16), 1, bytes(64)), 1, 0, ())


def prepare(height: int, value: bytes = b"v", round_: int = 1) -> VoteRecord:
    """An own PREPARE."""
    return VoteRecord(message(MessageType.PREPARE, height, value, round_=round_))


def commit(height: int, value: bytes = b"v", round_: int = 1) -> VoteRecord:
    """An own COMMIT, with the PREPAREs that led to it."""
    prepares = tuple(
        message(MessageType.PREPARE, height, value, round_=round_, source=source)
        for source in range(3)
    )
    return VoteRecord(message(MessageType.COMMIT, height, value, round_=round_), prepares)


def proposal(height: int, value: bytes = b"v", *, is_input: bool = True) -> ProposalRecord:
    """A value's bytes."""
    return ProposalRecord(Proposal(instance(height), value), is_input)


def decision(height: int, value: bytes = b"v", round_: int = 1) -> Decision:
    """A decision with its certificate."""
    commits = tuple(
        message(MessageType.COMMIT, height, value, round_=round_, source=source)
        for source in range(3)
    )
    return Decision(value, Certificate(instance(height), round_, value_digest(value), commits))


def decided(height: int, value: bytes = b"v", round_: int = 1) -> DecisionRecord:
    """A decision as it is journaled."""
    return DecisionRecord(decision(height, value, round_))


def evidence(height: int, source: int = 3) -> EvidenceRecord:
    """A validator PREPAREd two values of an instance."""
    first, second = (
        message(MessageType.PREPARE, height, value, source=source) for value in (b"v", b"w")
    )
    return EvidenceRecord(Evidence(first, second))


def crash_copy(directory: Path) -> Path:
    """The directory as the next process finds it when this one is killed now."""
    copy = directory.with_name(f"{directory.name}-after-crash")
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(directory, copy))


def newest_segment(directory: Path) -> Path:
    """The segment that is written to."""
    return max(directory.glob("*.segment"))


def oldest_segment(directory: Path) -> Path:
    """The first segment still there."""
    return min(directory.glob("*.segment"))


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


class FailingDisk:
    """A fault hook: the nth passage of a label fails as a disk does."""

    def __init__(self, label: str, errno: int, nth: int = 1) -> None:
        self._label = label
        self._errno = errno
        self.remaining = nth

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """Count the passages, and fail at the one."""
        if label == self._label:
            self.remaining -= 1
            if self.remaining == 0:
                raise OSError(self._errno, os.strerror(self._errno))


class Reluctant:
    """Stands before a method of `DecisionTable`: fails so often, as a full disk does.

    `is_late` lets the method do its work first, as when the answer to a commit is lost.
    """

    def __init__(
        self, store: NodeStore, failures: int, method: str = "commit", *, is_late: bool = False
    ) -> None:
        self.failures = failures
        self._is_late = is_late
        self._method = getattr(store._table, method)
        setattr(store._table, method, self)

    def __call__(self, *arguments: object) -> object:
        """Fail, or do the work."""
        self.failures -= 1
        if self.failures < 0:
            return self._method(*arguments)
        if self._is_late:
            self._method(*arguments)
        raise sqlite3.OperationalError("database or disk is full")
