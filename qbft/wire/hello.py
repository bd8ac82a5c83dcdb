"""The hello of a peer stream: the first message in each direction (DESIGN, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core import Message
from qbft.crypto.merkle import HASH_BYTES
from qbft.crypto.signing import STORE_ID_BYTES
from qbft.wire.build import fill_signed
from qbft.wire.limits import HELLO_BYTES_MAX, SEQUENCE_MAX, VALIDATORS_MAX
from qbft.wire.parse import PARSE_ERRORS, Refused, signed_vote_of
from qbft.wire.reject import RejectReason
from qbft.wire.v1 import peer_pb2

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
"""The versions of the peer protocol that this program speaks; apart from the signing version."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a node remembers of another: journal, highest vote sequence, a vote that proves them."""

    store_id: bytes
    sequence: int
    vote: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, for which cluster, and how far both sides are.

    `vote_sequence` is the highest of the speaker's votes, `acknowledged` the highest of the
    listener's up to which the speaker lacks nothing (0 after a restart), `remembered` what the
    speaker knows of the listener from its journal.
    """

    cluster_id: bytes
    validator: int
    store_id: bytes
    vote_sequence: int = 0
    acknowledged: int = 0
    remembered: Remembered | None = None
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX


def encode_hello(hello: Hello) -> bytes:
    """Write a hello as a message of a peer stream.

    Raises:
        InvariantViolation: the remembered vote is not signed.
    """
    message = peer_pb2.PeerMessage()
    target = message.hello
    target.protocol_min = hello.protocol_min
    target.protocol_max = hello.protocol_max
    target.cluster_id = hello.cluster_id
    target.validator = hello.validator
    target.store_id = hello.store_id
    target.vote_sequence = hello.vote_sequence
    target.acknowledged = hello.acknowledged
    if hello.remembered is not None:
        target.remembered.store_id = hello.remembered.store_id
        target.remembered.sequence = hello.remembered.sequence
        fill_signed(target.remembered.vote, hello.remembered.vote.stripped())
    return message.SerializeToString()


def decode_hello(data: bytes) -> Hello | RejectReason:
    """Read a hello, or say why it is none; never raises, whatever the bytes are.

    Whether it fits (cluster, validator, version) is for the listener to see.
    """
    if len(data) > HELLO_BYTES_MAX:
        return RejectReason.TOO_LARGE
    message = peer_pb2.PeerMessage()
    try:
        message.MergeFromString(data)
        return _hello_of(message)
    except Refused as refused:
        return refused.reason
    except PARSE_ERRORS:
        return RejectReason.MALFORMED


def _hello_of(message: peer_pb2.PeerMessage) -> Hello:
    hello = message.hello
    if (
        not message.HasField("hello")
        or not 1 <= hello.protocol_min <= hello.protocol_max
        or len(hello.cluster_id) != HASH_BYTES
        or hello.validator >= VALIDATORS_MAX
        or len(hello.store_id) != STORE_ID_BYTES
        or hello.vote_sequence > SEQUENCE_MAX
        or hello.acknowledged > SEQUENCE_MAX
    ):
        raise Refused(RejectReason.MALFORMED)
    return Hello(
        cluster_id=hello.cluster_id,
        validator=hello.validator,
        store_id=hello.store_id,
        vote_sequence=hello.vote_sequence,
        acknowledged=hello.acknowledged,
        remembered=_remembered_of(hello.remembered) if hello.HasField("remembered") else None,
        protocol_min=hello.protocol_min,
        protocol_max=hello.protocol_max,
    )


def _remembered_of(message: peer_pb2.Remembered) -> Remembered:
    if len(message.store_id) != STORE_ID_BYTES or not 1 <= message.sequence <= SEQUENCE_MAX:
        raise Refused(RejectReason.MALFORMED)
    return Remembered(message.store_id, message.sequence, signed_vote_of(message.vote, 0))
