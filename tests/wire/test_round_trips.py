"""What is written is read back as it was: frames, hellos, decisions, journal commits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_builders import (
    COMMIT,
    HEADER,
    INSTANCE,
    NODES,
    PEER,
    PREPARE,
    ROSTER,
    certificate,
    many,
    pre_prepare,
    round_change,
    vote,
)

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.core.messages import HEIGHT_MAX, ROUND_MAX
from qbft.crypto.merkle import Tree, leaf_hash
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.decision import Decision
from qbft.errors import InvariantViolation
from qbft.records import DecisionRecord, ProposalRecord, QuarantineRecord, Record, VoteRecord
from qbft.transport import FeedPage, FeedRequest, Frame, Memory
from qbft.wire import (
    Decoded,
    Hello,
    RejectReason,
    Remembered,
    decision_from_pb,
    decision_to_pb,
    decode_decision,
    decode_frame,
    decode_hello,
    decode_journal_commit,
    encode_certificate,
    encode_decision,
    encode_frame,
    encode_hello,
    encode_journal_commit,
)
from qbft.wire.v1 import journal_pb2, peer_pb2

BRIEF = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

topics = st.sampled_from(["0", "a" * 128, "z._/-", "prices/btc"])
instances = st.builds(InstanceId, topics, st.integers(0, HEIGHT_MAX))
digests = st.binary(min_size=32, max_size=32).filter(any)
sequences = st.integers(0, 2**63 - 1)
headers = st.builds(
    BatchHeader,
    st.binary(min_size=16, max_size=16),
    st.integers(1, 2**63 - 257),
    st.binary(min_size=64, max_size=64),
)
signatures = st.integers(1, 256).flatmap(
    lambda size: st.builds(
        VoteSignature,
        headers,
        st.just(size),
        st.integers(0, size - 1),
        st.lists(st.binary(min_size=32, max_size=32), max_size=8).map(tuple),
    )
)


@st.composite
def votes(draw: st.DrawFn, source: int | None = None) -> Message:
    """Any vote that may exist, signed."""
    message = draw(
        st.sampled_from(
            [vote(PREPARE), vote(COMMIT), pre_prepare(), pre_prepare(9, prepared=4), round_change()]
        )
    )
    instance = draw(instances)

    def moved(each: Message) -> Message:
        return replace(each, instance=instance, proof=Proof(draw(signatures)))

    if not message.justification:
        message = replace(message, round=draw(st.integers(1, ROUND_MAX)), value=draw(digests))
    nested = tuple(map(moved, message.justification))
    by = draw(st.integers(0, NODES - 1)) if source is None else source
    return replace(moved(message), source=by, justification=nested)


proposals = st.builds(Proposal, instances, st.binary(max_size=64))
signed_proposals = st.builds(
    Proposal,
    instances,
    st.binary(max_size=64),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=64, max_size=64),
)
frames = st.builds(
    Frame,
    votes=st.lists(votes(PEER), min_size=1, max_size=3).map(tuple),
    batch=headers,
    relayed=st.lists(votes(), max_size=3).map(tuple),
    proposals=st.lists(proposals | signed_proposals, max_size=3).map(tuple),
    certificates=st.lists(st.just(certificate()), max_size=2).map(tuple),
    wanted_values=st.lists(st.tuples(instances, digests), max_size=3).map(tuple),
    wanted_decisions=st.lists(instances, max_size=3).map(tuple),
    feed_request=st.none() | st.builds(FeedRequest, sequences, st.integers(0, 2**32 - 1)),
    feed_page=st.none()
    | st.builds(
        lambda ends, ids: FeedPage(min(ends), max(ends), ids),
        st.tuples(sequences, sequences),
        st.lists(instances, max_size=3).map(tuple),
    ),
    acknowledged=sequences,
    covers=sequences.filter(bool),
    covers_after=sequences,
    memory_wanted=st.none() | st.integers(0, 2**32 - 1),
    memory=st.none()
    | st.builds(
        lambda ends, last, lost, end: Memory(
            min(ends), max(ends), last or len(set(ends)) == 1, lost, end
        ),
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        st.booleans(),
        st.booleans(),
        sequences,
    ),
    marks=st.lists(instances, max_size=3).map(tuple),
)


@BRIEF
@given(frames)
def test_frames(frame: Frame) -> None:
    """All that is allowed, up to its limits, arrives as it was, signatures included."""
    decoded = decode_frame(encode_frame(frame), PEER, ROSTER)
    assert decoded == Decoded(frame)
    assert decoded.frame is not None
    for ours, theirs in zip(frame.relayed, decoded.frame.relayed, strict=True):
        assert [proof_of(m) for m in (ours, *ours.justification)] == [
            proof_of(m) for m in (theirs, *theirs.justification)
        ]


def proof_of(message: Message) -> object:
    """The portable signature."""
    return message.proof.signature if message.proof else None


def test_a_signature_that_has_its_tree_travels_with_its_path() -> None:
    """DESIGN, signatures: the way to the root is written where it is needed, not before."""
    tree = Tree([leaf_hash(bytes([index])) for index in range(5)])
    message = replace(vote(PREPARE), proof=Proof(VoteSignature(HEADER, 5, 3, tree)))
    decoded = decode_frame(encode_frame(Frame(relayed=(message,))), 2, ROSTER)
    assert decoded.frame is not None
    assert proof_of(decoded.frame.relayed[0]) == VoteSignature(HEADER, 5, 3, tree.path(3))


# --- hello

HELLO = Hello(
    cluster_id=bytes(range(32)),
    validator=3,
    store_id=b"s" * 16,
    vote_sequence=2**63 - 1,
    acknowledged=7,
    remembered=Remembered(b"t" * 16, 41, vote(COMMIT)),
)


def test_hellos() -> None:
    """DESIGN 4: all of a hello; what is left out is this program's version, and nothing known."""
    assert decode_hello(encode_hello(HELLO)) == HELLO
    bare = Hello(cluster_id=bytes(32), validator=0, store_id=bytes(16))
    assert decode_hello(encode_hello(bare)) == bare
    assert (bare.protocol_min, bare.protocol_max, bare.remembered) == (1, 1, None)
    nesting = replace(HELLO, remembered=Remembered(b"t" * 16, 41, round_change()))
    stripped = replace(nesting, remembered=Remembered(b"t" * 16, 41, round_change().stripped()))
    assert decode_hello(encode_hello(nesting)) == stripped


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster_id": bytes(31)},
        {"store_id": bytes(17)},
        {"validator": 256},
        {"vote_sequence": 2**63},
        {"acknowledged": 2**63},
        {"protocol_min": 0},
        {"protocol_min": 3, "protocol_max": 2},
        {"remembered": Remembered(b"t" * 15, 41, vote(COMMIT))},
        {"remembered": Remembered(b"t" * 16, 0, vote(COMMIT))},
        {"remembered": Remembered(b"t" * 16, 2**63, vote(COMMIT))},
    ],
)
def test_what_is_no_hello(changes: dict[str, object]) -> None:
    """F14: lengths and ranges; whether it fits is for the listener."""
    assert decode_hello(encode_hello(replace(HELLO, **changes))) is RejectReason.MALFORMED


def test_other_messages_are_no_hello() -> None:
    """The first message of a stream is a hello of bounded size, and nothing else."""
    assert decode_hello(encode_frame(Frame())) is RejectReason.MALFORMED
    assert decode_hello(b"") is RejectReason.MALFORMED
    assert decode_hello(b"\xff" * 9) is RejectReason.MALFORMED
    assert decode_hello(bytes(16_385)) is RejectReason.TOO_LARGE
    remembered = replace(HELLO, remembered=Remembered(b"t" * 16, 41, vote(MessageType(5))))
    assert decode_hello(encode_hello(remembered)) is RejectReason.BAD_TYPE
    later = encode_hello(HELLO)
    message = peer_pb2.PeerMessage.FromString(later)
    message.hello.MergeFromString(bytes.fromhex("c23e0474657374"))
    assert decode_hello(message.SerializeToString()) == HELLO


# --- decisions


@given(st.none() | st.binary(max_size=50), st.booleans())
def test_decisions(value: bytes | None, own: bool) -> None:
    """With and without the value; an empty value is another thing than none."""
    decision = Decision(value, certificate((0, 2, 3)), own)
    assert decode_decision(encode_decision(decision), NODES) == decision
    assert decision_from_pb(decision_to_pb(decision), NODES) == decision


def test_a_file_may_hold_only_the_certificate() -> None:
    """messages.proto: the field numbers of the two are apart."""
    made = certificate()
    assert decode_decision(encode_certificate(made)) == Decision(None, made)
    assert decode_decision(encode_decision(Decision(b"v", made))) == Decision(b"v", made)


def test_what_is_no_decision() -> None:
    """Instance and round repeat the certificate's; a signer is one of the cluster's."""
    decision = Decision(b"v", certificate())
    for edit in ("round", "instance", "certificate"):
        message = decision_to_pb(decision)
        message.ClearField(edit)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not a decision"):
            decision_from_pb(message)
    with pytest.raises(ValueError, match="not a decision: bad_certificate_shape"):
        decision_from_pb(decision_to_pb(Decision(b"v", certificate((0, 1, 4)))), NODES)
    with pytest.raises(ValueError, match="malformed"):
        decode_decision(b"\xff")
    for value, made in (("text", certificate()), (b"v", certificate(value="text"))):
        with pytest.raises(InvariantViolation):
            decision_to_pb(Decision(value, made))


# --- the journal

records = st.one_of(
    st.builds(VoteRecord, votes(), st.just(()) | st.just(many(PREPARE))),
    st.builds(ProposalRecord, proposals | signed_proposals, st.booleans(), st.booleans()),
    st.builds(DecisionRecord, st.builds(Decision, st.binary(max_size=9), st.just(certificate()))),
    st.builds(QuarantineRecord, instances, st.text(max_size=30)),
)


@BRIEF
@given(st.lists(records, max_size=5))
def test_journal_commits(commit: list[Record]) -> None:
    """W1: the records of a turn in their order, with signatures and prepares."""
    read = decode_journal_commit(encode_journal_commit(commit))
    assert read == tuple(commit)
    for ours, theirs in zip(commit, read, strict=True):
        if isinstance(ours, VoteRecord) and isinstance(theirs, VoteRecord):
            pairs = zip((ours.vote, *ours.prepares), (theirs.vote, *theirs.prepares), strict=True)
            assert all(proof_of(one) == proof_of(other) for one, other in pairs)


def test_a_large_value_is_read_back() -> None:
    """What is durable stays readable when the limit on new values is lowered."""
    record = ProposalRecord(Proposal(INSTANCE, bytes(3 << 20)), is_input=True)
    assert decode_journal_commit(encode_journal_commit([record])) == (record,)


def test_what_is_no_commit() -> None:
    """K29: a record of a newer program is not skipped; damage is told from a bug."""
    newer = journal_pb2.JournalCommit()
    newer.records.add().MergeFromString(bytes.fromhex("c23e0474657374"))
    with pytest.raises(ValueError, match="does not know"):
        decode_journal_commit(newer.SerializeToString())
    with pytest.raises(ValueError, match="malformed"):
        decode_journal_commit(b"\xff")
    long_path = VoteSignature(HEADER, 3, 1, (bytes(32),) * 9)
    damaged = VoteRecord(replace(vote(PREPARE), proof=Proof(long_path)))
    with pytest.raises(ValueError, match="out of range"):
        decode_journal_commit(encode_journal_commit([damaged]))
    assert decode_journal_commit(b"") == ()


def test_what_is_unsigned_is_not_stored() -> None:
    """DESIGN, signatures: neither a vote nor a PREPARE that led to it nor what it nests."""
    unsigned = replace(vote(PREPARE), proof=Proof())
    for record in (
        VoteRecord(unsigned),
        VoteRecord(vote(COMMIT), (unsigned,)),
        VoteRecord(round_change(justification=(unsigned,))),
    ):
        with pytest.raises(InvariantViolation, match="not signed"):
            encode_journal_commit([record])
