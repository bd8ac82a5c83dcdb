"""The codec: whatever the bytes are, it raises nothing but what it states (SCENARIOS F1, I11).

The first byte of an input says which decoder reads the rest.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random

from fuzz_cluster import (
    NODES,
    PEER,
    QUORUM,
    ROSTER,
    asking_frame,
    decision,
    own_frame,
    relaying_frame,
    signed_by,
    store_id,
)
from protobuf_edits import Fill, edited

from qbft.core import MessageType
from qbft.crypto.proposal import Proposal
from qbft.records import (
    DecisionRecord,
    MarkRecord,
    ProposalRecord,
    QuarantineRecord,
    StandingRecord,
    VoteRecord,
)
from qbft.transport import Frame
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

FRAMES, HELLOS, DECISIONS, COMMITS = range(4)
SELECTORS = 4
SAME_DECODER = 0.97


def hello() -> Hello:
    """PEER's hello to validator 0, of which it remembers a vote."""
    (remembered,) = signed_by(MessageType.PREPARE, [0])
    return Hello(
        cluster_id=ROSTER.cluster_id,
        validator=PEER,
        store_id=store_id(PEER),
        vote_sequence=44,
        acknowledged=3,
        remembered=Remembered(store_id(0), 41, remembered),
    )


def journal_commit() -> bytes:
    """One record of each kind."""
    (prepare,) = signed_by(MessageType.PREPARE, [PEER])
    (commit,) = signed_by(MessageType.COMMIT, [PEER])
    genuine = decision()
    return encode_journal_commit(
        [
            VoteRecord(prepare),
            VoteRecord(commit, signed_by(MessageType.PREPARE)),
            ProposalRecord(Proposal(genuine.certificate.instance, b"v"), is_input=True),
            DecisionRecord(genuine),
            QuarantineRecord(genuine.certificate.instance, "why", abandoned=True),
            MarkRecord("prices/btc", 9),
            StandingRecord(True, ((store_id(2), 7),), 45, (("prices/btc", 9),)),
        ]
    )


def seeds() -> list[bytes]:
    """Genuine input for each decoder; small frames too, since these are read many times as fast."""
    relayed = relaying_frame()
    frames = [
        own_frame(),
        asking_frame(),
        *(Frame(relayed=(each,)) for each in relayed.relayed),
        Frame(certificates=relayed.certificates),
    ]
    return [
        *(bytes([FRAMES]) + encode_frame(frame) for frame in frames),
        bytes([HELLOS]) + encode_hello(hello()),
        bytes([DECISIONS]) + encode_decision(decision()),
        bytes([COMMITS]) + journal_commit(),
    ]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit the message, and now and then have another decoder read it."""
    selector = data[:1] if random.random() < SAME_DECODER else bytes([random.randrange(SELECTORS)])
    return selector + edited(data[1:], random, fill)


def check(data: bytes) -> None:
    """Let the decoder that the first byte names read the rest."""
    _CHECKS[data[0] % SELECTORS if data else FRAMES](data[1:])


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


def check_hello(data: bytes) -> None:
    """A hello or a reason; a hello is the same when it is sent on."""
    said = decode_hello(data)
    assert isinstance(said, Hello | RejectReason)
    if isinstance(said, Hello):
        assert decode_hello(encode_hello(said)) == said


def check_decision(data: bytes) -> None:
    """A decision that is the same when it is written again, or a ValueError."""
    with suppress(ValueError):
        read = decode_decision(data)
        assert decode_decision(encode_decision(read)) == read


def check_commit(data: bytes) -> None:
    """Records that are the same when they are written again, or a ValueError."""
    with suppress(ValueError):
        records = decode_journal_commit(data)
        assert decode_journal_commit(encode_journal_commit(records)) == records


_CHECKS = {
    FRAMES: check_frame,
    HELLOS: check_hello,
    DECISIONS: check_decision,
    COMMITS: check_commit,
}
