"""Protobuf to the frozen types, field by field; every range is checked here, once.

Internal to `qbft.wire`: what is out of range raises `Refused`, which the codecs turn into reject
reasons or into the error of their kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from google.protobuf.message import DecodeError

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.core.messages import ROUND_MAX
from qbft.crypto.certificate import Certificate
from qbft.crypto.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from qbft.crypto.merkle import HASH_BYTES
from qbft.crypto.proposal import DIGEST_BYTES, Proposal
from qbft.crypto.signing import BATCH_VOTES_MAX, STORE_ID_BYTES, BatchHeader, VoteSignature
from qbft.wire.limits import INSTANCES_CACHED_MAX, PATH_HASHES_MAX, SEQUENCE_MAX, VALIDATORS_MAX
from qbft.wire.reject import RejectReason
from qbft.wire.v1 import messages_pb2 as pb

_VOTE_TYPES = {
    int(kind): kind
    for kind in (
        MessageType.PRE_PREPARE,
        MessageType.PREPARE,
        MessageType.COMMIT,
        MessageType.ROUND_CHANGE,
    )
}
_ZERO_DIGEST = bytes(DIGEST_BYTES)


class Refused(Exception):  # noqa: N818 - what happened to the input
    """Something from the wire is refused; never leaves `qbft.wire`."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


PARSE_ERRORS = (DecodeError, Refused)
"""What reading bytes may raise within `qbft.wire`."""


@lru_cache(maxsize=INSTANCES_CACHED_MAX)
def _make_instance(topic: str, height: int) -> InstanceId:
    """Validating costs a regular expression, so the same id is not made twice."""
    return InstanceId(topic, height)


def instance_of(message: pb.InstanceId) -> InstanceId:
    """Read an instance id."""
    try:
        return _make_instance(message.topic, message.height)
    except ValueError:
        raise Refused(RejectReason.BAD_INSTANCE) from None


def digest_of(digest: bytes) -> bytes | None:
    """Read a digest: None when empty, else 32 bytes, not all zero (HARDENING D19)."""
    if not digest:
        return None
    if len(digest) != DIGEST_BYTES or digest == _ZERO_DIGEST:
        raise Refused(RejectReason.BAD_DIGEST)
    return digest


def vote_of(
    vote: pb.Vote, signature: VoteSignature | None, justification: tuple[Message, ...]
) -> Message:
    """Read a vote; its source and its rounds are only checked against the limits of the wire."""
    kind = _VOTE_TYPES.get(vote.type)
    if kind is None:
        raise Refused(RejectReason.BAD_TYPE)
    round_, prepared_round, source = vote.round, vote.prepared_round, vote.source
    if round_ > ROUND_MAX or prepared_round > ROUND_MAX:
        raise Refused(RejectReason.BAD_ROUND)
    if source >= VALIDATORS_MAX:
        raise Refused(RejectReason.BAD_SOURCE)
    return Message(
        kind,
        instance_of(vote.instance),
        source,
        round_,
        digest_of(vote.digest),
        prepared_round,
        digest_of(vote.prepared_digest),
        justification,
        Proof(signature),
    )


def header_of(store_id: bytes, sequence: int, signature: bytes, size: int) -> BatchHeader:
    """Read a batch's signature; `size` votes are numbered from `sequence`, at least 1."""
    if (
        len(store_id) != STORE_ID_BYTES
        or len(signature) != SIGNATURE_BYTES
        or not 1 <= sequence <= SEQUENCE_MAX - BATCH_VOTES_MAX
        or not 1 <= size <= BATCH_VOTES_MAX
    ):
        raise Refused(RejectReason.BAD_SIGNATURE_SHAPE)
    return BatchHeader(store_id, sequence, signature)


def signature_of(message: pb.VoteSignature) -> VoteSignature:
    """Read a portable signature, not yet verified."""
    size, index = message.size, message.index
    header = header_of(message.store_id, message.sequence, message.signature, size)
    if index >= size or len(message.path) > PATH_HASHES_MAX:
        raise Refused(RejectReason.BAD_SIGNATURE_SHAPE)
    path = tuple(message.path)
    for beside in path:
        if len(beside) != HASH_BYTES:
            raise Refused(RejectReason.BAD_SIGNATURE_SHAPE)
    return VoteSignature(header, size, index, path)


def signed_vote_of(message: pb.SignedVote, justification_max: int) -> Message:
    """Read a vote with its portable signature and at most so many nested ones."""
    if not message.HasField("signature"):
        raise Refused(RejectReason.BAD_SIGNATURE_SHAPE)
    justification = nested_of(message.justification, justification_max)
    return vote_of(message.vote, signature_of(message.signature), justification)


def own_vote_of(
    message: pb.SignedVote, nested: Sequence[pb.SignedVote], justification_max: int
) -> Message:
    """Read a vote that the signature of its section proves, and what it nests."""
    if message.HasField("signature"):
        raise Refused(RejectReason.BAD_SIGNATURE_SHAPE)
    return vote_of(message.vote, None, nested_of(nested, justification_max))


def nested_of(nested: Sequence[pb.SignedVote], count_max: int) -> tuple[Message, ...]:
    """Read what a vote nests: one level, each with its portable signature (SCENARIOS F12)."""
    if not nested:
        return ()
    if len(nested) > count_max:
        raise Refused(RejectReason.TOO_MANY)
    if any(each.justification for each in nested):
        raise Refused(RejectReason.BAD_JUSTIFICATION)
    return tuple(signed_vote_of(each, 0) for each in nested)


def certificate_of(message: pb.Certificate, nodes: int = VALIDATORS_MAX) -> Certificate:
    """Read a certificate: COMMITs by strictly ascending source (HARDENING D17)."""
    instance = instance_of(message.instance)
    round_, digest = message.round, digest_of(message.digest)
    if not 1 <= round_ <= ROUND_MAX:
        raise Refused(RejectReason.BAD_ROUND)
    if digest is None:
        raise Refused(RejectReason.BAD_DIGEST)
    if not 1 <= len(message.commits) <= nodes:
        raise Refused(RejectReason.BAD_CERTIFICATE)
    commits = []
    last = -1
    for commit in message.commits:
        source = commit.source
        if not last < source < nodes:
            raise Refused(RejectReason.BAD_CERTIFICATE)
        last = source
        proof = Proof(signature_of(commit.signature))
        commits.append(Message(MessageType.COMMIT, instance, source, round_, digest, proof=proof))
    return Certificate(instance, round_, digest, tuple(commits))


def proposal_of(message: pb.Proposal, value_bytes_max: int) -> Proposal:
    """Read a proposal: its value within the limit, its proposer and signature both or neither."""
    value, proposer, signature = message.value, message.proposer, message.signature
    if len(value) > value_bytes_max or (len(proposer), len(signature)) not in (
        (0, 0),
        (PUBLIC_KEY_BYTES, SIGNATURE_BYTES),
    ):
        raise Refused(RejectReason.BAD_VALUE)
    return Proposal(instance_of(message.instance), value, proposer, signature)
