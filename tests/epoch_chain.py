"""Builders of clusters of several epochs, and of what their validators have decided."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

from qbft.cluster import Cluster, Predecessor, Validator
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import canonical_certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import value_digest
from qbft.crypto.seal import Seal, seal_instance
from qbft.crypto.signing import BatchSigner
from qbft.decision import Decision
from qbft.wire import encode_decision
from qbft_server.identity import create_tls_identity

OPERATOR = "ab" * 32
BTC = "prices/btc"


def key(number: int) -> VoteKey:
    """The vote key of that number."""
    return VoteKey(bytes([number]) * 32)


@cache
def validator(number: int) -> Validator:
    """The validator with that key."""
    identity = create_tls_identity(f"validator {number}", [])
    return Validator(
        vote_key=key(number).public.hex(),
        peer=f"10.0.0.{number}:7400",
        client=f"10.0.0.{number}:7401",
        tls_key_sha256=identity.pin,
        tls_certificate=identity.certificate_pem.decode(),
    )


def cluster(epoch: int, numbers: Sequence[int], **changes: Any) -> Cluster:
    """An epoch of these validators."""
    validators = tuple(map(validator, numbers))
    return Cluster(**{"name": "chain", "epoch": epoch, "validators": validators, **changes})


def decision(by: Cluster, numbers: Sequence[int], instance: InstanceId, value: bytes) -> Decision:
    """A decision that the first three validators of a cluster have signed."""
    commits = []
    for source in range(3):
        commit = Message(
            MessageType.COMMIT, instance, source, 1, value_digest(value), proof=Proof()
        )
        BatchSigner(key(numbers[source]), by.roster, source).sign([commit], bytes(16), 1)
        commits.append(commit)
    certificate = canonical_certificate(instance, 1, value_digest(value), commits)
    return Decision(value, certificate)


def decide(by: Cluster, numbers: Sequence[int], instance: InstanceId, value: bytes) -> bytes:
    """The file of such a decision."""
    return encode_decision(decision(by, numbers, instance, value))


def hand_over(old: Cluster, numbers: Sequence[int], seal: Seal) -> tuple[Predecessor, ...]:
    """The predecessors that the sealed epoch's successor names."""
    proof = decide(old, numbers, seal_instance(old.epoch), seal.encode())
    keys = tuple(v.vote_key for v in old.validators)
    text = base64.b64encode(proof).decode()
    return (*old.predecessors, Predecessor(epoch=old.epoch, vote_keys=keys, seal=text))
