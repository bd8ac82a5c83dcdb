"""The transport's parts that need no socket: splitting, buffers, whose a certificate is."""

from __future__ import annotations

from typing import Any

import pytest
from loopback import Loopback

from qbft.core.messages import InstanceId, Message, MessageType
from qbft.crypto.proposal import Proposal
from qbft.transport import Frame
from qbft_server.identity import create_tls_identity
from qbft_server.peers import PeerLimits
from qbft_server.peers.incoming import Inbox
from qbft_server.peers.split import split_frame
from qbft_server.peers.tls import Identities

INSTANCE = InstanceId("t", 1)


def votes(count: int) -> tuple[Message, ...]:
    """Distinct votes."""
    return tuple(
        Message(MessageType.PREPARE, INSTANCE, 0, r, bytes(32)) for r in range(1, 1 + count)
    )


def size(frame: Frame) -> bytes:
    """Stands for the codec: ten bytes a vote and the bytes of the values."""
    weight = 10 * (len(frame.votes) + len(frame.relayed)) + sum(
        len(p.value) for p in frame.proposals
    )
    pieces.append(frame)
    return bytes(weight)


pieces: list[Frame] = []


def split(frame: Frame, bytes_max: int) -> list[Frame | None]:
    """The frames that would be sent."""
    sent: list[Frame | None] = []
    pieces.clear()
    for piece in split_frame(frame, size, bytes_max):
        assert piece is None or len(piece) <= bytes_max
        sent.append(None if piece is None else pieces[-1])
    return sent


def test_a_large_frame_is_split_without_loss_and_in_order() -> None:
    """Values before the votes that name them; the promise `covers` is dropped with the parting.

    A piece may be lost by itself, so that a promise in another would be false (HARDENING U5).
    """
    frame = Frame(
        votes=votes(3),
        relayed=votes(10),
        proposals=(Proposal(INSTANCE, b"a" * 30), Proposal(INSTANCE, b"b" * 30)),
        acknowledged=4,
        covers=9,
    )
    sent = split(frame, 40)
    assert None not in sent
    frames = [piece for piece in sent if piece is not None]
    assert sum((f.proposals for f in frames), ()) == frame.proposals
    assert sum((f.relayed for f in frames), ()) == frame.relayed
    assert [f.votes for f in frames if f.votes] == [frame.votes]
    assert [f.covers for f in frames] == [0] * len(frames)
    carries = [("p" if f.proposals else "v" if f.votes else "r") for f in frames[:-1]]
    assert carries == sorted(carries, key="pvr".index)


def test_a_promise_goes_with_the_votes_that_it_is_about() -> None:
    """However much else is cut off: whoever gets the promise got its votes (HARDENING U5)."""
    values = tuple(Proposal(INSTANCE, bytes([n]) * 30) for n in range(3))
    sent = split(Frame(relayed=votes(4), proposals=values, covers=9, covers_after=3), 40)
    promising = [f for f in sent if f is not None and (f.covers or f.covers_after)]
    assert promising == [Frame(relayed=votes(4), covers=9, covers_after=3)]


def test_what_no_frame_holds_is_said_to_be_lost() -> None:
    """Own votes stand under one signature and cannot be split; the rest still goes."""
    sent = split(Frame(votes=votes(9), relayed=votes(2), covers=5), 40)
    assert sent[0] is None
    assert [f.relayed for f in sent[1:] if f is not None and f.relayed] == [votes(2)]


@pytest.mark.bites("incoming_frames_max", "incoming_bytes_max")
def test_an_inbox_is_full_at_its_limit_and_has_room_when_half_is_free() -> None:
    """DESIGN, bounds: counts and bytes; the reader is woken once for many frames."""
    inbox = Inbox(PeerLimits(incoming_frames_max=4, incoming_bytes_max=100))
    for _ in range(3):
        inbox.put(b"x")
        assert not inbox.is_full
    inbox.put(b"x")
    assert inbox.is_full
    inbox.take()
    assert inbox.is_full
    inbox.take()
    assert not inbox.is_full
    inbox.put(bytes(200))
    assert inbox.is_full
    assert [len(inbox.take()) for _ in range(3)] == [1, 1, 200]
    assert not inbox.is_full
    with pytest.raises(IndexError):
        inbox.take()


class Context:
    """What gRPC says about the other end."""

    def __init__(self, *certificates: bytes) -> None:
        self._certificates = certificates

    def auth_context(self) -> dict[str, Any]:
        """As of a stream with mutual TLS, or without."""
        return {"x509_pem_cert": self._certificates} if self._certificates else {}


def test_a_certificate_stands_for_whoever_pinned_its_key() -> None:
    """DESIGN 4: the public key alone says who it is; the name in the certificate says nothing."""
    cluster = Loopback(3)
    identities = Identities(cluster.cluster)
    for index, identity in enumerate(cluster.identities):
        assert identities.validator(Context(identity.certificate_pem)) == index  # type: ignore[arg-type]
    namesake = create_tls_identity("validator 1 of loopback", [])
    for stranger in (Context(namesake.certificate_pem), Context(), Context(b"\xff"), Context(b"")):
        assert identities.validator(stranger) is None  # type: ignore[arg-type]
