"""Values and the proposals that carry them.

The engine agrees on a 32-byte digest; the bytes travel beside it, in a proposal that its client may
have signed (DESIGN, values and who may propose).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from qbft.core import InstanceId
from qbft.crypto.encoding import number, pack
from qbft.crypto.keys import VoteKey, is_signature_valid

PROPOSAL_TAG = b"qbft/proposal/v1"
VALUE_TAG = b"qbft/value/v1\x00"
DIGEST_BYTES = 32


def value_digest(value: bytes) -> bytes:
    """The 32-byte digest of a value, SHA-256 over a tag and the bytes."""
    return hashlib.sha256(VALUE_TAG + value).digest()


@dataclass(frozen=True)
class Proposal:
    """What a client asks to be decided for an instance.

    `proposer` is the client's Ed25519 public key (32 bytes) and `signature` its signature over
    cluster, instance and digest; both empty where the topic's prefix is open.
    """

    instance: InstanceId
    value: bytes
    proposer: bytes = b""
    signature: bytes = b""

    @cached_property
    def digest(self) -> bytes:
        """The digest that the engine agrees on."""
        return value_digest(self.value)


def sign_proposal(key: VoteKey, cluster_id: bytes, instance: InstanceId, value: bytes) -> Proposal:
    """Propose a value as the client that holds this key."""
    signature = key.sign(_payload(cluster_id, instance, value_digest(value)))
    return Proposal(instance, value, key.public, signature)


def is_proposal_genuine(proposal: Proposal, cluster_id: bytes) -> bool:
    """Whether the proposal has the signature of the proposer it names."""
    payload = _payload(cluster_id, proposal.instance, proposal.digest)
    return is_signature_valid(proposal.proposer, payload, proposal.signature)


def _payload(cluster_id: bytes, instance: InstanceId, digest: bytes) -> bytes:
    return pack(
        (PROPOSAL_TAG, cluster_id, instance.topic.encode(), number(instance.height), digest)
    )
