"""A cluster with known keys, and votes that its validators signed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate, canonical_certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import value_digest
from qbft.crypto.roster import Roster, cluster_id
from qbft.crypto.signing import BatchHeader, BatchSigner, VoteSignature

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
KEYS = tuple(VoteKey(bytes([index]) * 32) for index in range(4))
STORE = bytes(range(16))
INSTANCE = InstanceId("prices/btc", 7)
VALUE = b"hello"
DIGEST = value_digest(VALUE)


def roster(nodes: int = 4, name: str = "vectors") -> Roster:
    """The cluster of the vectors, or another of the same keys."""
    keys = tuple(key.public for key in KEYS[:nodes])
    return Roster(cluster_id(name, 1, keys), keys)


def vote(kind: MessageType = MessageType.COMMIT, source: int = 1, **changes: Any) -> Message:
    """A vote of round 1, not yet signed."""
    said: dict[str, Any] = {"instance": INSTANCE, "round": 1, "value": DIGEST, **changes}
    return Message(kind, source=source, proof=Proof(), **said)


def sign(votes: Sequence[Message], source: int = 1, cluster: Roster | None = None) -> BatchHeader:
    """Sign votes of one validator together; their proofs are filled."""
    signer = BatchSigner(KEYS[source], cluster or roster(), source)
    return signer.sign(votes, STORE, 41)


def signature_of(message: Message) -> VoteSignature:
    """The portable signature of a signed vote."""
    assert message.proof is not None
    signature = message.proof.signature
    assert isinstance(signature, VoteSignature)
    return signature


def with_signature(message: Message, signature: object) -> Message:
    """The same vote with another signature."""
    return replace(message, proof=Proof(signature))


def commits(sources: Sequence[int] = (0, 1, 3), **changes: Any) -> list[Message]:
    """Signed COMMITs."""
    votes = [vote(source=source, **changes) for source in sources]
    for message in votes:
        sign([message], message.source)
    return votes


def certificate(sources: Sequence[int] = (0, 1, 3), **changes: Any) -> Certificate:
    """A canonical certificate, but for the changes."""
    made = canonical_certificate(INSTANCE, 1, DIGEST, commits(sources))
    return replace(made, **changes)
