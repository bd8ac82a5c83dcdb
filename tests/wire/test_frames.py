"""Frames: what goes in comes out, and nothing else gets through (SCENARIOS F1 to F15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from wire_builders import (
    COMMIT,
    HEADER,
    INSTANCE,
    NODES,
    PEER,
    PREPARE,
    ROSTER,
    SIGNATURE,
    A,
    certificate,
    edited,
    full_frame,
    pre_prepare,
    round_change,
    vote,
)

from qbft.core import Proof
from qbft.crypto.proposal import Proposal
from qbft.errors import InvariantViolation
from qbft.transport import FeedPage, Frame, Memory
from qbft.wire import (
    Decoded,
    RejectReason,
    WireLimits,
    decode_frame,
    decode_in_steps,
    encode_frame,
)
from qbft.wire.limits import STEP_ELEMENTS
from qbft.wire.v1 import messages_pb2, peer_pb2

R = RejectReason
UNKNOWN_FIELD = bytes.fromhex("c23e0474657374")  # number 1000, four bytes


def decode(data: bytes, **limits: int) -> Decoded:
    """Read it as a frame of validator 1 of four."""
    return decode_frame(data, PEER, ROSTER, WireLimits(**limits))


def test_a_frame_is_what_it_was() -> None:
    """Every part of it, in order; own votes get their signature from their section."""
    frame = full_frame()
    decoded = decode(encode_frame(frame))
    assert decoded == Decoded(frame)
    assert decoded.frame is not None
    own, relayed = decoded.frame.votes[0].proof, decoded.frame.relayed[0].proof
    assert own is not None
    assert own.signature is None
    assert relayed is not None
    assert relayed.signature == SIGNATURE
    assert decode(encode_frame(Frame())) == Decoded(Frame())


def test_golden_bytes() -> None:
    """The bytes of one frame never change within a protocol version."""
    frame = Frame((vote(PREPARE),), replace(HEADER, sequence=42), acknowledged=5)
    expected = (
        "129701"  # PeerMessage.frame
        "0a9201"  # own
        + "0a10"
        + "73" * 16  # store_id
        + "102a"  # sequence 42
        + "1a40"
        + "67" * 64  # signature
        + "223a"  # votes
        "0a38"  # vote
        "0802"  # PREPARE
        "120e0a0a7072696365732f6274631007"  # prices/btc 7
        "1801"  # source 1
        "2001"  # round 1
        + "2a20"
        + "61" * 32  # digest
        + "4805"  # acknowledged
    )
    assert encode_frame(frame).hex() == expected
    marks = "1210720e0a0a7072696365732f6274631007"  # prices/btc is kept from 7 on
    assert encode_frame(Frame(marks=(INSTANCE,))).hex() == marks


def test_votes_of_one_instance_share_its_id() -> None:
    """The id is validated once, and comparing it is cheap afterwards."""
    frame = decode(encode_frame(full_frame())).frame
    assert frame is not None
    ids = {id(message.instance) for message in (*frame.votes, *frame.relayed)}
    assert len(ids) == 1


def test_what_is_unsigned_is_not_sent() -> None:
    """DESIGN, signatures: nothing that nests an unfilled slot is encoded."""
    unsigned = replace(vote(PREPARE), proof=Proof())
    nesting = replace(pre_prepare(), justification=(unsigned,))
    frames = [
        Frame(relayed=(unsigned,)),
        Frame(relayed=(replace(unsigned, proof=None),)),
        Frame(votes=(nesting,), batch=HEADER),
        Frame(votes=(vote(PREPARE),)),
        Frame(votes=(replace(vote(PREPARE), instance="x"),), batch=HEADER),
        Frame(votes=(replace(vote(PREPARE), value="x"),), batch=HEADER),
    ]
    for frame in frames:
        with pytest.raises(InvariantViolation):
            encode_frame(frame)


# --- what is wrong with one relayed vote: that vote is left out, and counted

Edit = Callable[[messages_pb2.SignedVote], object]


def set_vote(**fields: Any) -> Edit:
    """Change fields of the vote."""

    def edit(target: messages_pb2.SignedVote) -> None:
        for name, value in fields.items():
            setattr(target.vote, name, value)

    return edit


def set_signature(**fields: Any) -> Edit:
    """Change fields of its signature."""

    def edit(target: messages_pb2.SignedVote) -> None:
        for name, value in fields.items():
            setattr(target.signature, name, value)

    return edit


VOTES: dict[str, tuple[Edit, RejectReason]] = {
    "F4 source n": (set_vote(source=NODES), R.BAD_SOURCE),
    "F4 source 2^63-1": (set_vote(source=2**63 - 1), R.BAD_SOURCE),
    "F4 source -1": (set_vote(source=2**64 - 1), R.BAD_SOURCE),
    "F5 type 0": (set_vote(type=0), R.BAD_TYPE),
    "F5 type 5, a DECIDED is no vote": (set_vote(type=5), R.BAD_TYPE),
    "F5 type 6": (set_vote(type=6), R.BAD_TYPE),
    "F5 type -1": (set_vote(type=-1), R.BAD_TYPE),
    "F5 type -2^31": (set_vote(type=-(2**31)), R.BAD_TYPE),
    "F6 round 0": (set_vote(round=0), R.BAD_ROUND),
    "F6 round -1": (set_vote(round=2**64 - 1), R.BAD_ROUND),
    "F6 round above the cap": (set_vote(round=2**31), R.BAD_ROUND),
    "F6 prepared round of a PREPARE": (set_vote(prepared_round=1), R.BAD_ROUND),
    "F6 prepared round -1": (set_vote(prepared_round=2**64 - 1), R.BAD_ROUND),
    "F7 digest of 31 bytes": (set_vote(digest=b"a" * 31), R.BAD_DIGEST),
    "F7 digest of 33 bytes": (set_vote(digest=b"a" * 33), R.BAD_DIGEST),
    "F7 digest of zeros": (set_vote(digest=bytes(32)), R.BAD_DIGEST),
    "F7 no digest": (set_vote(digest=b""), R.BAD_DIGEST),
    "F7 prepared digest of 31 bytes": (set_vote(prepared_digest=b"a" * 31), R.BAD_DIGEST),
    "no instance": (lambda v: v.vote.ClearField("instance"), R.BAD_INSTANCE),
    "topic in capitals": (lambda v: setattr(v.vote.instance, "topic", "A"), R.BAD_INSTANCE),
    "topic of 129": (lambda v: setattr(v.vote.instance, "topic", "a" * 129), R.BAD_INSTANCE),
    "height 2^63": (lambda v: setattr(v.vote.instance, "height", 2**63), R.BAD_INSTANCE),
    "no vote": (lambda v: v.ClearField("vote"), R.BAD_TYPE),
    "F9 empty element": (lambda v: v.Clear(), R.BAD_SIGNATURE_SHAPE),
    "F3 no signature": (lambda v: v.ClearField("signature"), R.BAD_SIGNATURE_SHAPE),
    "F3 empty signature": (set_signature(signature=b""), R.BAD_SIGNATURE_SHAPE),
    "F3 signature of 63": (set_signature(signature=b"g" * 63), R.BAD_SIGNATURE_SHAPE),
    "F3 signature of 66": (set_signature(signature=b"g" * 66), R.BAD_SIGNATURE_SHAPE),
    "store id of 15": (set_signature(store_id=b"s" * 15), R.BAD_SIGNATURE_SHAPE),
    "sequence 0": (set_signature(sequence=0), R.BAD_SIGNATURE_SHAPE),
    "sequence 2^63": (set_signature(sequence=2**63), R.BAD_SIGNATURE_SHAPE),
    "F18 index = size": (set_signature(index=3), R.BAD_SIGNATURE_SHAPE),
    "F18 size 0": (set_signature(size=0, index=0), R.BAD_SIGNATURE_SHAPE),
    "F18 size 257": (set_signature(size=257), R.BAD_SIGNATURE_SHAPE),
    "F18 hash of 31": (
        lambda v: v.signature.path.append(b"x" * 31),
        R.BAD_SIGNATURE_SHAPE,
    ),
    "F18 path of 9": (
        lambda v: v.signature.path.extend([b"x" * 32] * 7),
        R.BAD_SIGNATURE_SHAPE,
    ),
    "C19 PREPARE that carries 2n": (
        lambda v: v.justification.extend([v] * 2 * NODES),
        R.BAD_JUSTIFICATION,
    ),
    "F8 2n+1 nested": (
        lambda v: v.justification.extend([v] * (2 * NODES + 1)),
        R.TOO_MANY,
    ),
}


@pytest.mark.parametrize("name", VOTES)
def test_a_bad_relayed_vote_is_left_out(name: str) -> None:
    """F3 to F9, C19: counted by its reason; its neighbours and the rest of the frame arrive."""
    edit, reason = VOTES[name]
    frame = Frame(relayed=(vote(PREPARE, 0), vote(PREPARE, 2), vote(COMMIT, 3)), acknowledged=9)
    data = edited(frame, lambda f: edit(f.relayed[1]))
    kept = replace(frame, relayed=(frame.relayed[0], frame.relayed[2]))
    assert decode(data) == Decoded(kept, (reason,))


@pytest.mark.parametrize("name", VOTES)
def test_a_bad_nested_vote_spoils_the_vote_that_nests_it(name: str) -> None:
    """F3 to F10: the same defects one level down."""
    edit, reason = VOTES[name]
    if name.startswith(("C19", "F8")):
        reason = R.BAD_JUSTIFICATION  # F12: nested twice
    frame = Frame(relayed=(round_change(), vote(PREPARE)))
    data = edited(frame, lambda f: edit(f.relayed[0].justification[1]))
    assert decode(data) == Decoded(replace(frame, relayed=frame.relayed[1:]), (reason,))


NOT_IN_OWN = ("F3", "F4", "F9", "F18", "store", "sequence", "no vote")


@pytest.mark.parametrize("name", [name for name in VOTES if not name.startswith(NOT_IN_OWN)])
def test_a_bad_own_vote_spoils_its_section(name: str) -> None:
    """One signature covers the section, so that nothing of it can be verified without the rest."""
    edit, reason = VOTES[name]
    frame = Frame((vote(PREPARE), vote(COMMIT)), HEADER, (vote(PREPARE, 2),), covers=7)

    def spoil(target: peer_pb2.Frame) -> None:
        edit(target.own.votes[1])

    data = edited(frame, spoil)
    assert decode(data) == Decoded(Frame(relayed=frame.relayed), (reason,))


def test_votes_of_others_are_not_the_senders_own() -> None:
    """F15: A delivers B's vote as its own -> the frame is refused; relayed, it is accepted."""
    theirs = vote(PREPARE, 2)
    for votes in ((theirs,), (vote(PREPARE), theirs)):
        frame = Frame(votes, HEADER, (vote(PREPARE, 3),), acknowledged=3)
        assert decode(encode_frame(frame)) == Decoded(None, (R.WRONG_SENDER,))
    relaying = Frame((vote(PREPARE),), HEADER, (theirs, vote(PREPARE)))
    assert decode(encode_frame(relaying)) == Decoded(relaying)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda own: setattr(own, "store_id", b"s" * 17), R.BAD_SIGNATURE_SHAPE),
        (lambda own: setattr(own, "sequence", 0), R.BAD_SIGNATURE_SHAPE),
        (lambda own: setattr(own, "signature", b""), R.BAD_SIGNATURE_SHAPE),
        (lambda own: own.ClearField("votes"), R.BAD_SIGNATURE_SHAPE),
        (lambda own: own.votes[0].signature.SetInParent(), R.BAD_SIGNATURE_SHAPE),
        (lambda own: own.votes.extend([own.votes[0]] * 256), R.TOO_MANY),
    ],
)
def test_a_bad_own_section(edit: Callable[[peer_pb2.OwnSection], object], reason: R) -> None:
    """F3, F18: its signature, its place in the journal, its number of votes."""
    frame = Frame((vote(PREPARE),), HEADER, acknowledged=9, covers=7)
    data = edited(frame, lambda f: edit(f.own))
    assert decode(data) == Decoded(Frame(acknowledged=9), (reason,))


@pytest.mark.parametrize("out_of_range", ["covers", "covers_after"])
def test_a_promise_out_of_range_is_none(out_of_range: str) -> None:
    """Found by fuzzing: with one of its two numbers out of range the other promises nothing."""
    frame = Frame(relayed=(vote(PREPARE, 2),), covers=7, covers_after=3)
    data = edited(frame, lambda f: setattr(f, out_of_range, 2**63))
    assert decode(data) == Decoded(Frame(relayed=frame.relayed), (R.MALFORMED,))


# --- the other sections

ELEMENTS: dict[str, tuple[Frame, Callable[[peer_pb2.Frame], object], RejectReason]] = {
    "value above its limit (F2)": (
        Frame(proposals=(Proposal(INSTANCE, b"v" * 101),)),
        lambda _: None,
        R.BAD_VALUE,
    ),
    "proposer without a signature": (
        Frame(proposals=(Proposal(INSTANCE, b"v", b"p" * 32, b""),)),
        lambda _: None,
        R.BAD_VALUE,
    ),
    "proposer of 31 bytes": (
        Frame(proposals=(Proposal(INSTANCE, b"v", b"p" * 31, b"q" * 64),)),
        lambda _: None,
        R.BAD_VALUE,
    ),
    "proposal of no instance": (
        Frame(proposals=(Proposal(INSTANCE, b"v"),)),
        lambda f: f.proposals[0].ClearField("instance"),
        R.BAD_INSTANCE,
    ),
    "certificate, a quorum less one": (
        Frame(certificates=(certificate((0, 1)),)),
        lambda _: None,
        R.BAD_CERTIFICATE,
    ),
    "certificate, not sorted": (
        Frame(certificates=(certificate((1, 0, 2)),)),
        lambda _: None,
        R.BAD_CERTIFICATE,
    ),
    "certificate, a signer twice": (
        Frame(certificates=(certificate((0, 1, 1)),)),
        lambda _: None,
        R.BAD_CERTIFICATE,
    ),
    "certificate, no member": (
        Frame(certificates=(certificate((0, 1, 4)),)),
        lambda _: None,
        R.BAD_CERTIFICATE,
    ),
    "certificate, more than all": (
        Frame(certificates=(certificate((0, 1, 2, 3, 4)),)),
        lambda _: None,
        R.BAD_CERTIFICATE,
    ),
    "certificate of round 0": (
        Frame(certificates=(certificate(),)),
        lambda f: f.certificates[0].ClearField("round"),
        R.BAD_ROUND,
    ),
    "certificate without a digest": (
        Frame(certificates=(certificate(),)),
        lambda f: f.certificates[0].ClearField("digest"),
        R.BAD_DIGEST,
    ),
    "certificate without a signature": (
        Frame(certificates=(certificate(),)),
        lambda f: f.certificates[0].commits[1].ClearField("signature"),
        R.BAD_SIGNATURE_SHAPE,
    ),
    "wanted value without a digest": (
        Frame(wanted_values=((INSTANCE, A),)),
        lambda f: f.wanted_values[0].ClearField("digest"),
        R.BAD_DIGEST,
    ),
    "wanted decision of no instance": (
        Frame(wanted_decisions=(INSTANCE,)),
        lambda f: f.wanted_decisions[0].Clear(),
        R.BAD_INSTANCE,
    ),
    "feed request after 2^63": (
        Frame(),
        lambda f: setattr(f.feed_request, "after", 2**63),
        R.MALFORMED,
    ),
    "feed page beyond its end": (
        Frame(feed_page=FeedPage(5, 4, ())),
        lambda _: None,
        R.MALFORMED,
    ),
    "feed page of no instance": (
        Frame(feed_page=FeedPage(4, 4, (INSTANCE,))),
        lambda f: f.feed_page.instances[0].Clear(),
        R.BAD_INSTANCE,
    ),
    "mark of no topic": (
        Frame(marks=(INSTANCE,)),
        lambda f: f.marks[0].Clear(),
        R.BAD_INSTANCE,
    ),
    "mark at 2^63": (
        Frame(marks=(INSTANCE,)),
        lambda f: setattr(f.marks[0], "height", 2**63),
        R.BAD_INSTANCE,
    ),
    "acknowledged 2^63": (
        Frame(),
        lambda f: setattr(f, "acknowledged", 2**63),
        R.MALFORMED,
    ),
    "memory backwards": (
        Frame(memory=Memory(4, 4, is_last=True, lost=False, feed_end=0)),
        lambda f: setattr(f.memory, "after", 5),
        R.MALFORMED,
    ),
    "covers 2^64-1": (Frame(), lambda f: setattr(f, "covers", 2**64 - 1), R.MALFORMED),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_bad_element_is_left_out(name: str) -> None:
    """F2, F7, G10, D17: of every other section, counted by its reason, the rest arrives."""
    frame, edit, reason = ELEMENTS[name]
    frame = replace(frame, relayed=(vote(PREPARE, 0),))
    decoded = decode(edited(frame, edit), value_bytes_max=100)
    assert decoded == Decoded(Frame(relayed=frame.relayed), (reason,))


# --- the frame as a whole


def test_size_comes_first() -> None:
    """F2, U7: above its limit a frame is not even parsed, whatever it is."""
    data = encode_frame(full_frame())
    assert decode(data, frame_bytes_max=len(data)).frame is not None
    for each in (data, b"\xff" * len(data)):
        too_large = Decoded(None, (R.TOO_LARGE,))
        assert decode(each, frame_bytes_max=len(data) - 1) == too_large


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        encode_frame(full_frame())[:-1],
        peer_pb2.PeerMessage(hello=peer_pb2.Hello()).SerializeToString(),
        UNKNOWN_FIELD,
        bytes.fromhex("0a0012") + b"\x05",
    ],
    ids=["empty", "garbage", "truncated", "a hello", "an unknown message", "cut short"],
)
def test_what_is_no_frame(data: bytes) -> None:
    """F1: counted once, no exception."""
    assert decode(data) == Decoded(None, (R.MALFORMED,))


def test_nesting_without_end_is_not_followed() -> None:
    """F1: a justification in a justification, some hundred thousand times."""
    data = b""
    for _ in range(2_000):
        data = peer_pb2.PeerMessage().SerializeToString() + _field(3, data)
    assert decode(_field(2, _field(2, data))).rejects == (R.MALFORMED,)


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    length, rest = bytearray(), len(data)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2, *length, rest]) + data


@pytest.mark.parametrize(
    ("limit", "section"),
    [
        ("relayed_max", "relayed"),
        ("proposals_max", "proposals"),
        ("certificates_max", "certificates"),
        ("wanted_values_max", "wanted_values"),
        ("wanted_decisions_max", "wanted_decisions"),
        ("feed_instances_max", "feed_page"),
        ("marks_max", "marks"),
        ("votes_max", "votes"),
    ],
)
def test_a_section_above_its_count_is_dropped_as_a_whole(limit: str, section: str) -> None:
    """U7: counted before anything of it is built, so that its contents give no further reason."""
    frame = full_frame()
    counts = {"feed_page": 2, "votes": 4}
    count = counts.get(section) or len(getattr(frame, section))
    assert decode(encode_frame(frame), **{limit: count}) == Decoded(frame)
    empty: dict[str, Any] = {section: None if section == "feed_page" else ()}
    if section == "votes":
        empty["batch"] = None
    if section in ("votes", "relayed"):
        empty |= {"covers": 0, "covers_after": 0}  # the promise was for what is dropped
    if section in ("votes", "relayed", "proposals", "marks"):
        empty["memory"] = None  # a page without all of its entries is none
    decoded = decode(encode_frame(frame), **{limit: count - 1})
    assert decoded == Decoded(replace(frame, **empty), (R.TOO_MANY,))


def test_nested_votes_count_too() -> None:
    """F8: all votes of a frame, nested ones included, have one bound over both sections."""
    frame = full_frame()
    own = sum(1 + len(message.justification) for message in frame.votes)
    total = own + sum(1 + len(message.justification) for message in frame.relayed)
    data = encode_frame(frame)
    assert decode(data, votes_total_max=total) == Decoded(frame)
    dropped = replace(frame, relayed=(), covers=0, covers_after=0, memory=None)
    assert decode(data, votes_total_max=total - 1) == Decoded(dropped, (R.TOO_MANY,))
    assert decode(data, votes_total_max=own) == Decoded(dropped, (R.TOO_MANY,))
    neither = replace(dropped, votes=(), batch=None)
    assert decode(data, votes_total_max=2).rejects == (R.TOO_MANY, R.TOO_MANY)
    assert decode(data, votes_total_max=2).frame == neither


def test_a_full_frame_is_read_in_steps() -> None:
    """DESIGN, async: a due timer waits at most 50 ms, and a full frame takes longer to read.

    So reading pauses, at the latest after so many votes, nested ones included; one vote is not
    parted. What comes out is the same, and a small frame is read without a pause.
    """
    nested, count = len(round_change().justification), 600
    frame = Frame((round_change(),) * 200, HEADER, (round_change(),) * (count - 200))
    data = encode_frame(frame)
    steps = decode_in_steps(data, PEER, ROSTER)
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decoded = end.value
            break
        pauses += 1
    assert decoded == decode(data) == Decoded(frame)
    assert decoded.elements == count * (1 + nested)
    assert pauses == pytest.approx(decoded.elements // STEP_ELEMENTS, abs=1)
    with pytest.raises(StopIteration):
        next(decode_in_steps(encode_frame(full_frame()), PEER, ROSTER))


def test_after_many_refusals_the_rest_is_left_out_unseen() -> None:
    """HARDENING U7: thousands of bad elements in a small frame cost no more than a few dozen do."""
    good = Proposal(INSTANCE, b"value")

    def spoil(frame: peer_pb2.Frame) -> None:
        for _ in range(8_000):
            frame.proposals.add()
        frame.certificates.add()

    decoded = decode(edited(Frame(proposals=(good,)), spoil), rejects_max=5)
    assert decoded.frame == Frame(proposals=(good,))
    assert decoded.rejects == (R.BAD_INSTANCE,) * 5
    assert decoded.elements == 1 + 5


def test_unknown_fields_change_nothing() -> None:
    """F13: a newer version's fields, in every message of the frame, are ignored."""
    message = peer_pb2.PeerMessage.FromString(encode_frame(full_frame()))
    _add_unknown(message)
    data = message.SerializeToString()
    assert data.count(UNKNOWN_FIELD) > 60
    assert decode(data) == Decoded(full_frame())


def _add_unknown(message: Any) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                _add_unknown(each)
    message.MergeFromString(UNKNOWN_FIELD)


def test_every_reason_is_given_somewhere() -> None:
    """A reason that nothing gives would be a row of zeros in the metrics for ever."""
    given = Counter(reason for _, reason in VOTES.values())
    given.update(reason for _, _, reason in ELEMENTS.values())
    given.update([R.TOO_LARGE, R.WRONG_SENDER])  # by the tests of the frame as a whole
    assert set(given) == set(R)


def test_the_page_names_every_reason_and_limit() -> None:
    """docs/PROTOCOL.md must not fall behind."""
    page = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
    assert [reason.value for reason in R if f"`{reason.value}`" not in page] == []
    limits = asdict(WireLimits())
    frame_bytes, value_bytes = limits.pop("frame_bytes_max"), limits.pop("value_bytes_max")
    assert (value_bytes, frame_bytes) == (1 << 20, (1 << 20) + (256 << 10))
    assert [name for name, limit in limits.items() if f"| {limit:,}" not in page] == []
