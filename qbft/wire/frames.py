"""Frames: what one node tells another at once, as bytes and back.

What arrives is checked in the order of what it costs: size, parsing, counts, the sender, shape
(HARDENING U7); signatures are the replica's business, after all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import DecodeError

from qbft.core import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.roster import Roster
from qbft.crypto.signing import BatchHeader
from qbft.errors import InvariantViolation
from qbft.transport import FeedPage, FeedRequest, Frame, Memory
from qbft.wire.build import (
    fill_certificate,
    fill_instance,
    fill_nested,
    fill_proposal,
    fill_signed,
    fill_vote,
)
from qbft.wire.limits import ELEMENT_BYTES, LIMITS_DEFAULT, SEQUENCE_MAX, STEP_ELEMENTS, WireLimits
from qbft.wire.parse import (
    Refused,
    certificate_of,
    digest_of,
    header_of,
    instance_of,
    own_vote_of,
    proposal_of,
    signed_vote_of,
)
from qbft.wire.reject import RejectReason
from qbft.wire.shape import check_shape
from qbft.wire.v1 import messages_pb2 as pb
from qbft.wire.v1 import peer_pb2

From = TypeVar("From")
To = TypeVar("To")
_OwnVotes = tuple[tuple[Message, ...], BatchHeader | None]
_NO_VOTES: _OwnVotes = ((), None)
_Entry = tuple[pb.SignedVote, Sequence[pb.SignedVote]]
"""A vote with what it nests: to ask a message for a field that it has not costs like one it has."""
_NO_PROMISE = (0, 0)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a frame's bytes: the frame, if any, and a reason per thing refused."""

    frame: Frame | None
    rejects: tuple[RejectReason, ...] = ()
    elements: int = field(default=0, compare=False)
    """Elements that were read, nested ones included: what reading the frame has cost."""
    wasted_bytes: int = field(default=0, compare=False)
    """Bytes whose parsing came to nothing: all where something was refused, else what exceeds any
    form of what was read, such as a part that is there many times, or unknown fields."""


def encode_frame(frame: Frame) -> bytes:
    """Write a frame as a message of a peer stream.

    Raises:
        InvariantViolation: it holds a vote that is not signed, or own votes without their batch.
    """
    message = peer_pb2.PeerMessage()
    target = message.frame
    target.SetInParent()
    if frame.votes:
        _fill_own(target.own, frame)
    for vote in frame.relayed:
        fill_signed(target.relayed.add(), vote)
    for proposal in frame.proposals:
        fill_proposal(target.proposals.add(), proposal)
    for certificate in frame.certificates:
        fill_certificate(target.certificates.add(), certificate)
    _fill_wanted(target, frame)
    _fill_feed(target, frame)
    if frame.memory_wanted is not None:
        target.memory_wanted.SetInParent()
        target.memory_wanted.after = frame.memory_wanted
    if frame.memory is not None:
        _fill_memory(target.memory, frame.memory)
    for mark in frame.marks:
        fill_instance(target.marks.add(), mark)
    if frame.acknowledged:
        target.acknowledged = frame.acknowledged
    if frame.covers:
        target.covers = frame.covers
        target.covers_after = frame.covers_after
    return message.SerializeToString()


def decode_frame(
    data: bytes, peer: int, roster: Roster, limits: WireLimits = LIMITS_DEFAULT
) -> Decoded:
    """Read what a peer sent, in one go; see `decode_in_steps`."""
    steps = decode_in_steps(data, peer, roster, limits)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decoded: Decoded = end.value
            return decoded


def decode_in_steps(
    data: bytes, peer: int, roster: Roster, limits: WireLimits = LIMITS_DEFAULT
) -> Generator[None, None, Decoded]:
    """Read what a peer sent; never raises, whatever the bytes are.

    What is bad is left out and counted: an element of a section alone, a section above its count as
    a whole, and the own-vote section as a whole too, since its one signature covers all of it. With
    a vote of another validator in the own-vote section, the whole frame is refused (SCENARIOS F15).
    After `rejects_max` of them the rest of the frame's lists is not looked at any more.

    A full frame takes tens of milliseconds, so it pauses after every `STEP_ELEMENTS` of them, for
    the caller to let due timers run (DESIGN, async).

    Args:
        data: one message of the peer's stream.
        peer: whose stream it is, from the TLS handshake.
        roster: the cluster, for its number of validators.
        limits: the bounds; the defaults when left out.
    """
    size = len(data)
    if size > limits.frame_bytes_max:
        return Decoded(None, (RejectReason.TOO_LARGE,), wasted_bytes=size)
    message = peer_pb2.PeerMessage()
    try:
        message.MergeFromString(data)
    except DecodeError:
        return Decoded(None, (RejectReason.MALFORMED,), wasted_bytes=size)
    if not message.HasField("frame"):
        return Decoded(None, (RejectReason.MALFORMED,), wasted_bytes=size)
    reader = _Reader(roster, limits)
    try:
        frame = yield from reader.read(message.frame, peer)
    except Refused as refused:
        return Decoded(None, (refused.reason,), reader.elements, size)
    wasted = size if reader.rejects else max(0, size - _size_max(frame, reader.elements))
    return Decoded(frame, tuple(reader.rejects), reader.elements, wasted)


def _size_max(frame: Frame, elements: int) -> int:
    """More than any honest form of a frame occupies."""
    return ELEMENT_BYTES * (1 + elements) + sum([len(each.value) for each in frame.proposals])


class _Reader:
    """Reads one frame, and collects the reasons for what it leaves out."""

    __slots__ = (
        "_limits",
        "_nodes",
        "_pause_at",
        "_quorum",
        "_votes_left",
        "elements",
        "rejects",
    )

    def __init__(self, roster: Roster, limits: WireLimits) -> None:
        self._nodes = roster.nodes
        self._quorum = roster.quorum
        self._limits = limits
        self._votes_left = limits.votes_total_max
        self._pause_at = STEP_ELEMENTS
        self.elements = 0
        self.rejects: list[RejectReason] = []

    def read(self, frame: peer_pb2.Frame, peer: int) -> Generator[None, None, Frame]:
        """Read all sections, pausing now and then.

        Raises:
            Refused: the frame as a whole.
        """
        limits = self._limits
        each = self._read_each
        votes, batch = _NO_VOTES
        if frame.HasField("own"):
            votes, batch = yield from self._read_own(frame.own, peer)
        relayed = yield from self._read_relayed(frame.relayed)
        are_votes_whole = not self.rejects
        proposals = yield from each(frame.proposals, limits.proposals_max, self._proposal_of)
        marks = yield from each(frame.marks, limits.marks_max, instance_of)
        are_reasons_whole = not self.rejects
        return Frame(
            votes,
            batch,
            relayed,
            proposals,
            (yield from each(frame.certificates, limits.certificates_max, self._certificate_of)),
            (yield from each(frame.wanted_values, limits.wanted_values_max, _wanted_value_of)),
            (yield from each(frame.wanted_decisions, limits.wanted_decisions_max, instance_of)),
            self._read_one(frame.feed_request, _feed_request_of)
            if frame.HasField("feed_request")
            else None,
            self._read_one(frame.feed_page, self._feed_page_of)
            if frame.HasField("feed_page")
            else None,
            self._read_sequence(frame.acknowledged),
            # what was left out breaks the promise
            *(self._read_promise(frame) if are_votes_whole else _NO_PROMISE),
            frame.memory_wanted.after if frame.HasField("memory_wanted") else None,
            self._read_one(frame.memory, _memory_of)
            if are_reasons_whole and frame.HasField("memory")
            else None,
            marks,
        )

    def _read_own(self, own: peer_pb2.OwnSection, peer: int) -> Generator[None, None, _OwnVotes]:
        """Read the own-vote section: all of it or nothing."""
        votes = self._admitted(own.votes, self._limits.votes_max)
        if votes is None:
            return _NO_VOTES
        if any(entry.vote.source != peer for entry, _ in votes):
            raise Refused(RejectReason.WRONG_SENDER)
        try:
            header = header_of(own.store_id, own.sequence, own.signature, len(votes))
            kept = []
            for entry, nested in votes:
                if self._is_pause_due():
                    yield
                self.elements += len(nested)
                kept.append(self._shaped(own_vote_of(entry, nested, 2 * self._nodes)))
        except Refused as refused:
            self.rejects.append(refused.reason)
            return _NO_VOTES
        return tuple(kept), header

    def _read_relayed(
        self, votes: Sequence[pb.SignedVote]
    ) -> Generator[None, None, tuple[Message, ...]]:
        count_max = self._limits.relayed_max
        entries = self._admitted(votes, count_max) or ()
        return (yield from self._read_each(entries, count_max, self._relayed_vote_of))

    def _admitted(self, votes: Sequence[pb.SignedVote], count_max: int) -> Sequence[_Entry] | None:
        """A section's votes with what they nest; None, and counted, if all that is too many."""
        left = self._votes_left - len(votes)
        if len(votes) <= count_max and left >= 0:
            entries = [(entry, entry.justification) for entry in votes]
            left -= sum([len(nested) for _, nested in entries])
            if left >= 0:
                self._votes_left = left
                return entries
        self.rejects.append(RejectReason.TOO_MANY)
        return None

    def _read_each(
        self, items: Sequence[From], count_max: int, read: Callable[[From], To]
    ) -> Generator[None, None, tuple[To, ...]]:
        """Read a section element by element, without those that are bad."""
        if not items:
            return ()
        if len(items) > count_max:
            self.rejects.append(RejectReason.TOO_MANY)
            return ()
        kept = []
        for item in items:
            if len(self.rejects) >= self._limits.rejects_max:
                break
            if self._is_pause_due():
                yield
            try:
                kept.append(read(item))
            except Refused as refused:
                self.rejects.append(refused.reason)
        return tuple(kept)

    def _is_pause_due(self) -> bool:
        """Count an element that is about to be read; whether enough were since the last pause."""
        self.elements += 1
        if self.elements < self._pause_at:
            return False
        self._pause_at = self.elements + STEP_ELEMENTS
        return True

    def _read_one(self, item: From, read: Callable[[From], To]) -> To | None:
        try:
            return read(item)
        except Refused as refused:
            self.rejects.append(refused.reason)
            return None

    def _read_sequence(self, sequence: int) -> int:
        if sequence <= SEQUENCE_MAX:
            return sequence
        self.rejects.append(RejectReason.MALFORMED)
        return 0

    def _read_promise(self, frame: peer_pb2.Frame) -> tuple[int, int]:
        """(covers, covers_after): both are in range, or nothing is promised."""
        covers, after = frame.covers, frame.covers_after
        if not covers:
            return _NO_PROMISE
        if max(covers, after) <= SEQUENCE_MAX:
            return covers, after
        self.rejects.append(RejectReason.MALFORMED)
        return _NO_PROMISE

    def _relayed_vote_of(self, entry: _Entry) -> Message:
        message, nested = entry
        self.elements += len(nested)
        return self._shaped(signed_vote_of(message, 2 * self._nodes))

    def _shaped(self, vote: Message) -> Message:
        reason = check_shape(vote, self._nodes, self._quorum)
        if reason is not None:
            raise Refused(reason)
        return vote

    def _proposal_of(self, message: pb.Proposal) -> Proposal:
        return proposal_of(message, self._limits.value_bytes_max)

    def _certificate_of(self, message: pb.Certificate) -> Certificate:
        if len(message.commits) < self._quorum:
            raise Refused(RejectReason.BAD_CERTIFICATE)
        self.elements += len(message.commits)
        return certificate_of(message, self._nodes)

    def _feed_page_of(self, message: peer_pb2.FeedPage) -> FeedPage:
        if not message.position <= message.end <= SEQUENCE_MAX:
            raise Refused(RejectReason.MALFORMED)
        if len(message.instances) > self._limits.feed_instances_max:
            raise Refused(RejectReason.TOO_MANY)
        self.elements += len(message.instances)
        instances = tuple(map(instance_of, message.instances))
        return FeedPage(message.position, message.end, instances)


def _feed_request_of(message: peer_pb2.FeedRequest) -> FeedRequest:
    if message.after > SEQUENCE_MAX:
        raise Refused(RejectReason.MALFORMED)
    return FeedRequest(message.after, message.limit)


def _wanted_value_of(message: peer_pb2.WantedValue) -> tuple[InstanceId, bytes]:
    digest = digest_of(message.digest)
    if digest is None:
        raise Refused(RejectReason.BAD_DIGEST)
    return instance_of(message.instance), digest


def _memory_of(message: peer_pb2.Memory) -> Memory:
    is_step = message.after < message.next or (message.is_last and message.after == message.next)
    if not is_step or message.feed_end > SEQUENCE_MAX:
        raise Refused(RejectReason.MALFORMED)
    return Memory(message.after, message.next, message.is_last, message.lost, message.feed_end)


def _fill_memory(target: peer_pb2.Memory, memory: Memory) -> None:
    target.SetInParent()
    target.after = memory.after
    target.next = memory.next
    target.is_last = memory.is_last
    target.lost = memory.lost
    target.feed_end = memory.feed_end


def _fill_own(target: peer_pb2.OwnSection, frame: Frame) -> None:
    if frame.batch is None:
        raise InvariantViolation("own votes without the signature of their batch")
    target.store_id = frame.batch.store_id
    target.sequence = frame.batch.sequence
    target.signature = frame.batch.signature
    for vote in frame.votes:
        entry = target.votes.add()
        fill_vote(entry.vote, vote)
        fill_nested(entry, vote)


def _fill_wanted(target: peer_pb2.Frame, frame: Frame) -> None:
    for instance, digest in frame.wanted_values:
        wanted = target.wanted_values.add()
        fill_instance(wanted.instance, instance)
        wanted.digest = digest
    for instance in frame.wanted_decisions:
        fill_instance(target.wanted_decisions.add(), instance)


def _fill_feed(target: peer_pb2.Frame, frame: Frame) -> None:
    request, page = frame.feed_request, frame.feed_page
    if request is not None:
        target.feed_request.SetInParent()
        target.feed_request.after = request.after
        target.feed_request.limit = request.limit
    if page is not None:
        target.feed_page.SetInParent()
        target.feed_page.position = page.position
        target.feed_page.end = page.end
        for instance in page.instances:
            fill_instance(target.feed_page.instances.add(), instance)
