"""What parsing has cost that came to nothing is known, so that its sender pays (HARDENING U7)."""

from __future__ import annotations

import pytest
from wire_builders import (
    HEADER,
    PEER,
    ROSTER,
    A,
    certificate,
    edited,
    full_frame,
    many,
    vote,
)

from qbft.core import InstanceId, MessageType, Proof
from qbft.core.messages import ROUND_MAX
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.transport import FeedPage, Frame
from qbft.wire import Decoded, decode_frame, encode_frame
from qbft.wire.limits import ELEMENT_BYTES, PATH_HASHES_MAX, SEQUENCE_MAX
from qbft.wire.v1 import peer_pb2

EMPTY = 50_000


def decode(data: bytes) -> Decoded:
    """Read it as a frame of validator 1 of four."""
    return decode_frame(data, PEER, ROSTER)


def spoil(frame: peer_pb2.Frame) -> None:
    """Add more empty proposals than a frame may have."""
    for _ in range(EMPTY):
        frame.proposals.add()


@pytest.mark.parametrize(
    "data",
    [
        edited(full_frame(), spoil),
        edited(full_frame(), spoil) + b"\x12\x7f",
        edited(Frame((vote(MessageType.COMMIT, 2),), HEADER), spoil),
        b"\x0a\x00" * EMPTY,
    ],
    ids=["too many of a section", "cut short", "another's vote", "no frame"],
)
def test_all_bytes_of_what_is_refused_are_wasted(data: bytes) -> None:
    """A section above its count is parsed whole before it can be counted: 44 ms for 1.28 MB."""
    decoded = decode(data)
    assert decoded.rejects
    assert decoded.wasted_bytes == len(data)


@pytest.mark.parametrize(
    "padding",
    [b"\x12\x00" * EMPTY, b"\x12\x02\x3a\x00" * EMPTY, b"\xf8\x7d\x00" * EMPTY],
    ids=["the frame again and again", "a part again and again", "unknown fields"],
)
def test_what_is_accepted_and_mostly_empty_is_wasted_too(padding: bytes) -> None:
    """Protobuf merges parts that are there many times, and passes over what it does not know."""
    data = encode_frame(Frame(acknowledged=3)) + padding
    decoded = decode(data)
    assert decoded.rejects == ()
    assert decoded.wasted_bytes == len(data) - ELEMENT_BYTES


def test_nothing_honest_is_wasted() -> None:
    """Every part of a frame in its longest form, and a large value."""
    place = InstanceId("t" * 128, 2**63 - 1)
    header = BatchHeader(b"s" * 16, SEQUENCE_MAX - 256, b"g" * 64)
    proof = Proof(VoteSignature(header, 256, 255, (b"x" * 32,) * PATH_HASHES_MAX))
    changes = tuple(
        vote(
            MessageType.ROUND_CHANGE,
            source,
            ROUND_MAX,
            instance=place,
            prepared_round=ROUND_MAX - 1,
            prepared_value=A,
            justification=many(MessageType.PREPARE, round_=ROUND_MAX - 1, instance=place),
        )
        for source in range(4)
    )
    for change in changes:
        for each in (change, *change.justification):
            each.proof.signature = proof.signature
    frames = [
        Frame(),
        full_frame(),
        Frame(relayed=changes * 100),
        Frame(proposals=(Proposal(place, b"v" * (1 << 20), b"p" * 32, b"q" * 64),)),
        Frame(certificates=(certificate((0, 1, 2, 3), instance=place),) * 100),
        Frame(wanted_values=((place, A),) * 256, wanted_decisions=(place,) * 256),
        Frame(feed_page=FeedPage(3, 9, (place,) * 512), marks=(place,) * 512),
    ]
    for frame in frames:
        decoded = decode(encode_frame(frame))
        assert (decoded.rejects, decoded.wasted_bytes) == ((), 0)
