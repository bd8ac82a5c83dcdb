"""What a node asks of the process that has its vote key, and the answer (docs/adr/015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qbft.core import Message
from qbft.crypto.signing import BATCH_VOTES_MAX, BatchHeader
from qbft.wire.build import fill_vote
from qbft.wire.parse import PARSE_ERRORS, Refused, header_of, vote_of
from qbft.wire.reject import RejectReason
from qbft.wire.v1 import messages_pb2
from qbft.wire.v1 import signer_pb2 as pb

SIGNER_MESSAGE_BYTES_MAX = 256 * 1024
"""A request to a signer, and its reply: more than the 256 votes of a batch without what they nest,
and than any reply."""

_NO_SIGNATURE = bytes(64)


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Votes to be signed together, and by whom; without votes it asks whose key it is.

    `store_id` (16 bytes) and `sequence` are those of `qbft.crypto.signing.BatchHeader`.
    """

    cluster_id: bytes
    validator: int
    store_id: bytes
    sequence: int
    votes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class SignReply:
    """A signature (64 bytes), or why there is none; and the key (32 bytes), in any case."""

    signature: bytes = b""
    refused: str = ""
    public_key: bytes = b""


def encode_sign_request(request: SignRequest) -> bytes:
    """Write a request; what the votes nest is not signed, and stays at home."""
    message = pb.SignRequest(
        cluster_id=request.cluster_id,
        validator=request.validator,
        store_id=request.store_id,
        sequence=request.sequence,
    )
    for vote in request.votes:
        fill_vote(message.votes.add(), vote)
    return message.SerializeToString()


def decode_sign_request(data: bytes) -> SignRequest | RejectReason:
    """Read a request of at most `SIGNER_MESSAGE_BYTES_MAX` bytes, or say what is wrong with it."""
    try:
        message = pb.SignRequest.FromString(data)
        votes = _votes_of(message.votes)
        header: BatchHeader | None = None
        if votes:
            header = header_of(message.store_id, message.sequence, _NO_SIGNATURE, len(votes))
    except PARSE_ERRORS as error:
        return error.reason if isinstance(error, Refused) else RejectReason.MALFORMED
    store_id, sequence = (header.store_id, header.sequence) if header is not None else (b"", 0)
    return SignRequest(message.cluster_id, message.validator, store_id, sequence, votes)


def _votes_of(votes: Sequence[messages_pb2.Vote]) -> tuple[Message, ...]:
    if len(votes) > BATCH_VOTES_MAX:
        raise Refused(RejectReason.TOO_MANY)
    return tuple(vote_of(vote, None, ()) for vote in votes)


def encode_sign_reply(reply: SignReply) -> bytes:
    """Write a reply."""
    return pb.SignReply(
        signature=reply.signature, refused=reply.refused, public_key=reply.public_key
    ).SerializeToString()


def decode_sign_reply(data: bytes) -> SignReply | None:
    """Read a reply; None if it is none."""
    try:
        message = pb.SignReply.FromString(data)
    except PARSE_ERRORS:
        return None
    return SignReply(message.signature, message.refused, message.public_key)
