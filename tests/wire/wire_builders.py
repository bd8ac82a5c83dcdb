"""Messages of a cluster of four, signed only for show: the codecs verify no signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.roster import Roster
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.transport import FeedPage, FeedRequest, Frame, Memory
from qbft.wire import encode_frame
from qbft.wire.v1 import peer_pb2

NODES, QUORUM, PEER = 4, 3, 1
ROSTER = Roster(bytes(32), tuple(bytes([index]) * 32 for index in range(NODES)))
INSTANCE = InstanceId("prices/btc", 7)
A, B = b"a" * 32, b"b" * 32
HEADER = BatchHeader(b"s" * 16, 41, b"g" * 64)
SIGNATURE = VoteSignature(HEADER, 3, 1, (b"x" * 32, b"y" * 32))

PRE_PREPARE = MessageType.PRE_PREPARE
PREPARE = MessageType.PREPARE
COMMIT = MessageType.COMMIT
ROUND_CHANGE = MessageType.ROUND_CHANGE


def vote(kind: MessageType, source: int = PEER, round_: int = 1, **changes: Any) -> Message:
    """A signed vote for A, or of a ROUND-CHANGE nothing prepared."""
    said: dict[str, Any] = {"value": None if kind is ROUND_CHANGE else A, **changes}
    instance = said.pop("instance", INSTANCE)
    return Message(kind, instance, source, round_, proof=Proof(SIGNATURE), **said)


def many(
    kind: MessageType, sources: Sequence[int] = (0, 1, 2), round_: int = 1, **changes: Any
) -> tuple[Message, ...]:
    """The same vote of several validators."""
    return tuple(vote(kind, source, round_, **changes) for source in sources)


def pre_prepare(round_: int = 2, *, prepared: int = 0, **changes: Any) -> Message:
    """A PRE-PREPARE of a later round with what justifies it."""
    if prepared:
        changes_of = many(
            ROUND_CHANGE, round_=round_, prepared_round=prepared, prepared_value=A
        ) + many(PREPARE, round_=prepared)
    else:
        changes_of = many(ROUND_CHANGE, round_=round_)
    return vote(PRE_PREPARE, PEER, round_, **{"justification": changes_of, **changes})


def round_change(round_: int = 2, *, prepared: int = 1, **changes: Any) -> Message:
    """A ROUND-CHANGE that shows what is prepared."""
    said = {
        "prepared_round": prepared,
        "prepared_value": A,
        "justification": many(PREPARE, round_=prepared),
        **changes,
    }
    return vote(ROUND_CHANGE, PEER, round_, **said)


def certificate(sources: Sequence[int] = (0, 1, 2), **changes: Any) -> Certificate:
    """A certificate of round 1."""
    return replace(Certificate(INSTANCE, 1, A, many(COMMIT, sources)), **changes)


def full_frame() -> Frame:
    """A frame with something in every part."""
    other = InstanceId("0._/-", 2**63 - 1)
    return Frame(
        votes=(vote(PREPARE), vote(COMMIT), round_change(3, prepared=2), pre_prepare(2)),
        batch=HEADER,
        relayed=(vote(PREPARE, 0), pre_prepare(5, prepared=3), vote(PRE_PREPARE, 3)),
        proposals=(Proposal(INSTANCE, b"value"), Proposal(other, b"", b"p" * 32, b"q" * 64)),
        certificates=(certificate(), certificate((0, 1, 2, 3))),
        wanted_values=((INSTANCE, A), (other, B)),
        wanted_decisions=(other, INSTANCE),
        feed_request=FeedRequest(17, 1_000),
        feed_page=FeedPage(3, 2**63 - 1, (INSTANCE, other)),
        acknowledged=40,
        covers=44,
        covers_after=41,
        memory_wanted=64,
        memory=Memory(64, 128, is_last=True, lost=True, feed_end=2**63 - 1),
        marks=(INSTANCE, other),
    )


def edited(frame: Frame, edit: Callable[[peer_pb2.Frame], object]) -> bytes:
    """The frame's bytes after an edit of what is on the wire."""
    message = peer_pb2.PeerMessage.FromString(encode_frame(frame))
    edit(message.frame)
    return message.SerializeToString()
