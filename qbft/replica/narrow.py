"""The service's types within the engine's wider ones.

The engine takes any hashable as instance and value; in a replica they are `InstanceId` and a
32-byte digest, and a decided value is bytes. The gate lets nothing else through, so anything else
is a bug.
"""

from __future__ import annotations

from qbft.core import InstanceId, Message
from qbft.decision import Decision
from qbft.errors import InvariantViolation


def as_instance(instance: object) -> InstanceId:
    """Take an instance as what it is in a replica.

    Raises:
        InvariantViolation: it is something else.
    """
    if not isinstance(instance, InstanceId):
        raise InvariantViolation(f"instance {instance!r} is no InstanceId")
    return instance


def as_digest(value: object) -> bytes:
    """Take an engine's value as the digest that it is in a replica.

    Raises:
        InvariantViolation: it is something else.
    """
    if not isinstance(value, bytes):
        raise InvariantViolation(f"value {value!r} is no digest")
    return value


def bytes_of(decision: Decision) -> bytes:
    """Give the decided bytes.

    Raises:
        InvariantViolation: the decision is not one of the service.
    """
    return as_digest(decision.value)


def store_of(vote: Message) -> bytes:
    """Give the name of the journal that a signed vote is in; empty where its signature has none."""
    signature = vote.proof.signature if vote.proof is not None else None
    store_id = getattr(signature, "store_id", b"")
    return store_id if isinstance(store_id, bytes) else b""


def sequence_of(vote: Message) -> int:
    """Give the number of a signed own vote in the journal, from 1.

    A restart asks it of every vote: a check of a protocol would be a tenth of that.

    Raises:
        InvariantViolation: it is not signed.
    """
    signature = vote.proof.signature if vote.proof is not None else None
    sequence = getattr(signature, "vote_sequence", None)
    if not isinstance(sequence, int):
        raise InvariantViolation(f"{vote} is not signed")
    return sequence
