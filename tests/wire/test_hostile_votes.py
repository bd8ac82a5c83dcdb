"""Hostile votes, row by row of the catalogue: refused wherever a vote can stand.

`test_frames.py` has every defect by itself, and what is left of a frame beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from wire_builders import (
    COMMIT,
    HEADER,
    NODES,
    PEER,
    PRE_PREPARE,
    PREPARE,
    ROSTER,
    ROUND_CHANGE,
    B,
    certificate,
    edited,
    full_frame,
    many,
    pre_prepare,
    round_change,
    vote,
)

from qbft.core import InstanceId, Message
from qbft.transport import Frame
from qbft.wire import Decoded, RejectReason, decode_frame, encode_frame
from qbft.wire.v1 import messages_pb2

R = RejectReason
Edit = Callable[[messages_pb2.SignedVote], object]
OTHER = InstanceId("prices/btc", 6)
GOOD = vote(COMMIT, 3)
"""Stands beside the vote that is refused, and arrives."""

OUT_OF_64_BITS = [2**64 - 1, 2**63 - 1]
"""-1 and 2^63-1, as they arrive in an unsigned field."""


def decode(data: bytes) -> Decoded:
    """Read it as a frame of validator 1 of four."""
    return decode_frame(data, PEER, ROSTER)


def reasons(edit: Edit) -> tuple[RejectReason, RejectReason, RejectReason]:
    """Why a PREPARE so edited is refused: relayed, nested in a ROUND-CHANGE, and as an own vote."""
    relayed = decode(edited(Frame(relayed=(vote(PREPARE, 2), GOOD)), lambda f: edit(f.relayed[0])))
    nesting = Frame(relayed=(round_change(), GOOD))
    nested = decode(edited(nesting, lambda f: edit(f.relayed[0].justification[0])))
    own = Frame((vote(PREPARE), vote(COMMIT)), HEADER, (GOOD,))
    of_own = decode(edited(own, lambda f: edit(f.own.votes[0])))
    assert relayed.frame == nested.frame == Frame(relayed=(GOOD,))
    assert of_own.frame in (None, Frame(relayed=(GOOD,)))
    (first,), (second,), (third,) = relayed.rejects, nested.rejects, of_own.rejects
    return first, second, third


def set_vote(**fields: object) -> Edit:
    """Change fields of the vote."""

    def edit(target: messages_pb2.SignedVote) -> None:
        for name, value in fields.items():
            setattr(target.vote, name, value)

    return edit


@pytest.mark.parametrize("source", [NODES, *OUT_OF_64_BITS])
def test_a_source_that_is_no_validator(source: int) -> None:
    """F4: -1, n and 2^63-1, as a source and as a signer; as an own vote the frame goes with it."""
    refused = reasons(set_vote(source=source))
    assert refused == (R.BAD_SOURCE, R.BAD_SOURCE, R.WRONG_SENDER)
    data = edited(
        Frame(certificates=(certificate(),)),
        lambda f: setattr(f.certificates[0].commits[2], "source", source),
    )
    assert decode(data) == Decoded(Frame(), (R.BAD_CERTIFICATE,))


@pytest.mark.parametrize("kind", [0, 5, 6, -1, 2**31 - 1, -(2**31)])
def test_a_type_that_is_no_votes(kind: int) -> None:
    """F5: 0, 6, -1, and 2^31, which an enum's 32 bits show as -2^31; a DECIDED is not signed."""
    assert reasons(set_vote(type=kind)) == (R.BAD_TYPE,) * 3


@pytest.mark.parametrize(
    "fields",
    [{"round": 0}, {"round": 2**31}, {"round": 2**64 - 1}, {"prepared_round": 2**64 - 1}],
    ids=str,
)
def test_a_round_out_of_range(fields: dict[str, int]) -> None:
    """F6: round 0, -1 or above the cap, prepared round -1."""
    assert reasons(set_vote(**fields)) == (R.BAD_ROUND,) * 3


@pytest.mark.parametrize(
    "message",
    [
        vote(ROUND_CHANGE, PEER, 3, prepared_round=3, prepared_value=B),
        vote(ROUND_CHANGE, PEER, 3, prepared_round=4, prepared_value=B),
        round_change(3, prepared=3),
        round_change(3, prepared=2**31 - 1),
        pre_prepare(3, prepared=3),
        pre_prepare(3, prepared=4),
        pre_prepare(3, justification=many(ROUND_CHANGE, round_=3) + many(PREPARE, round_=3)),
    ],
    ids=repr,
)
def test_a_prepared_round_that_is_not_past(message: Message) -> None:
    """C7: a ROUND-CHANGE or PRE-PREPARE with pr >= round is refused at the wire."""
    for frame in (
        Frame(relayed=(message, GOOD)),
        Frame((message,), HEADER, relayed=(GOOD,)),
    ):
        decoded = decode(encode_frame(frame))
        assert decoded.frame == Frame(relayed=(GOOD,))
        assert decoded.rejects in ((R.BAD_ROUND,), (R.BAD_JUSTIFICATION,))


def test_an_empty_element_of_a_justification() -> None:
    """F9: an element of no bytes is no vote; the one that nests it goes, its neighbour stays."""
    for message in (round_change(), pre_prepare()):
        frame = Frame(relayed=(message, GOOD))
        data = edited(frame, lambda f: f.relayed[0].justification[1].Clear())
        assert decode(data) == Decoded(Frame(relayed=(GOOD,)), (R.BAD_SIGNATURE_SHAPE,))
        data = edited(frame, lambda f: f.relayed[0].justification.add())
        assert decode(data) == Decoded(Frame(relayed=(GOOD,)), (R.BAD_SIGNATURE_SHAPE,))


def test_a_justification_of_another_instance_or_type() -> None:
    """F10: refused before a signature is looked at, however genuine those of the other are."""
    elsewhere = many(PREPARE, instance=OTHER)
    wrong = [
        round_change(justification=elsewhere),
        round_change(justification=many(COMMIT)),
        round_change(justification=(*many(PREPARE, (0, 1)), vote(COMMIT, 2))),
        pre_prepare(justification=many(ROUND_CHANGE, round_=2, instance=OTHER)),
        pre_prepare(justification=many(PREPARE)),
        pre_prepare(justification=(*many(ROUND_CHANGE, round_=2), vote(COMMIT, 0))),
        pre_prepare(justification=(*many(ROUND_CHANGE, round_=2), vote(PRE_PREPARE, 0))),
    ]
    for message in wrong:
        decoded = decode(encode_frame(Frame(relayed=(message, GOOD))))
        assert decoded == Decoded(Frame(relayed=(GOOD,)), (R.BAD_JUSTIFICATION,))


def test_a_justification_within_a_justification() -> None:
    """F12: nested twice never reaches the engine, in either section."""
    for frame in (Frame(relayed=(pre_prepare(), GOOD)), Frame((pre_prepare(),), HEADER, (GOOD,))):
        for inner in (vote(PREPARE, 0), round_change()):

            def nest(target: messages_pb2.SignedVote, inner: Message = inner) -> None:
                whole = Frame(relayed=(inner,))
                edited(whole, lambda f: target.justification[0].justification.append(f.relayed[0]))

            data = edited(frame, lambda f: nest(f.own.votes[0] if f.own.votes else f.relayed[0]))
            decoded = decode(data)
            assert decoded == Decoded(Frame(relayed=(GOOD,)), (R.BAD_JUSTIFICATION,))


def test_a_prepare_that_carries_votes() -> None:
    """C19: 2n of them, as a PREPARE, a COMMIT or a PRE-PREPARE of round 1: none can need any."""
    bomb = many(PREPARE, range(NODES)) + many(COMMIT, range(NODES))
    assert len(bomb) == 2 * NODES
    for kind in (PREPARE, COMMIT, PRE_PREPARE):
        carrying = vote(kind, justification=bomb)
        for frame in (Frame(relayed=(carrying, GOOD)), Frame((carrying,), HEADER, (GOOD,))):
            decoded = decode(encode_frame(frame))
            assert decoded == Decoded(Frame(relayed=(GOOD,)), (R.BAD_JUSTIFICATION,))
            assert decoded.elements <= 2 + 2 * NODES


def test_what_is_refused_leaves_the_rest_of_a_full_frame() -> None:
    """Whatever else a peer asks for with a bad vote is answered: only that vote is left out."""
    frame = full_frame()
    data = edited(frame, lambda f: set_vote(source=NODES)(f.relayed[0]))
    without = replace(frame, relayed=frame.relayed[1:], covers=0, covers_after=0, memory=None)
    assert decode(data) == Decoded(without, (R.BAD_SOURCE,))
