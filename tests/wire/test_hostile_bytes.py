"""Whatever the bytes are, the codecs raise nothing but what they state (SCENARIOS F1)."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_builders import (
    INSTANCE,
    NODES,
    PEER,
    PREPARE,
    QUORUM,
    ROSTER,
    certificate,
    full_frame,
    vote,
)

from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.records import DecisionRecord, ProposalRecord, VoteRecord
from qbft.wire import (
    Decoded,
    Hello,
    RejectReason,
    Remembered,
    check_shape,
    decode_decision,
    decode_frame,
    decode_hello,
    decode_journal_commit,
    encode_decision,
    encode_frame,
    encode_hello,
    encode_journal_commit,
)

FRAME = encode_frame(full_frame())
HELLO = encode_hello(
    Hello(
        cluster_id=bytes(32),
        validator=3,
        store_id=bytes(16),
        remembered=Remembered(bytes(16), 9, vote(PREPARE)),
    )
)
DECISION = encode_decision(Decision(b"value", certificate()))
JOURNAL = encode_journal_commit(
    [
        VoteRecord(vote(PREPARE)),
        ProposalRecord(Proposal(INSTANCE, b"v"), is_input=True),
        DecisionRecord(Decision(b"value", certificate())),
    ]
)
ODD_NUMBERS = st.sampled_from([0, 1, 2, 127, 128, 2**31, 2**63 - 1, 2**63, 2**64 - 1])


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def mutated(genuine: bytes) -> st.SearchStrategy[bytes]:
    """The bytes after a few edits: other bytes or numbers, cuts, and pieces of itself."""
    place = st.integers(0, len(genuine))
    piece = st.one_of(
        st.binary(max_size=12),
        ODD_NUMBERS.map(varint),
        st.tuples(place, st.integers(0, 80)).map(lambda at: genuine[at[0] : at[0] + at[1]]),
    )
    edits = st.lists(st.tuples(place, st.integers(0, 12), piece), max_size=4)

    def apply(todo: list[tuple[int, int, bytes]]) -> bytes:
        data = genuine
        for at, cut, new in todo:
            data = data[:at] + new + data[at + cut :]
        return data

    return edits.map(apply)


def check_frame(data: bytes) -> None:
    """What comes out has only possible shapes, and is whole when it is sent on."""
    decoded = decode_frame(data, PEER, ROSTER)
    frame = decoded.frame
    if frame is None:
        assert len(decoded.rejects) == 1
        return
    for message in (*frame.votes, *frame.relayed):
        assert check_shape(message, NODES, QUORUM) is None
    assert all(message.source == PEER for message in frame.votes)
    assert (frame.batch is None) == (not frame.votes)
    assert decode_frame(encode_frame(frame), PEER, ROSTER) == Decoded(frame)


@settings(max_examples=1_500, deadline=None)
@given(mutated(FRAME))
def test_mutated_frames(data: bytes) -> None:
    """F1: a real frame with a few things changed."""
    check_frame(data)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    """F1: as a frame, a hello, a decision and a journal commit."""
    check_frame(data)
    check_frame(b"\x12" + varint(len(data)) + data)
    check_others(data)


@settings(max_examples=700, deadline=None)
@given(st.one_of(mutated(HELLO), mutated(DECISION), mutated(JOURNAL)))
def test_mutated_hellos_decisions_and_commits(data: bytes) -> None:
    """F1: a hello is one or a reason; the others are read or give a ValueError."""
    check_others(data)


def check_others(data: bytes) -> None:
    """Each decoder but that of frames."""
    hello = decode_hello(data)
    assert isinstance(hello, Hello | RejectReason)
    if isinstance(hello, Hello):
        assert decode_hello(encode_hello(hello)) == hello
    with suppress(ValueError):
        decision = decode_decision(data)
        assert decode_decision(encode_decision(decision)) == decision
    with suppress(ValueError):
        records = decode_journal_commit(data)
        assert decode_journal_commit(encode_journal_commit(records)) == records


def test_every_truncation() -> None:
    """F1: a frame, a hello, a decision and a commit, cut at every byte."""
    for length in range(len(FRAME)):
        check_frame(FRAME[:length])
    for data in (HELLO, DECISION, JOURNAL):
        for length in range(len(data)):
            check_others(data[:length])
