"""Records as the bytes of a capture file, and back: gzip over one `qbft.v1.Capture`.

A file may come from anyone. It is bounded before and after it is unpacked, every field is checked,
and whatever is wrong is one `CaptureError`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from google.protobuf.message import DecodeError

from qbft.core import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Effect,
    Failed,
    InputValue,
    InstanceId,
    Message,
    MessageType,
    OwnVote,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    Value,
)
from qbft.core.messages import ROUND_MAX
from qbft.errors import QbftError
from qbft.replay.record import Entry, InstanceRecord, Resumed, TimerSet
from qbft.wire.limits import VALIDATORS_MAX
from qbft.wire.v1 import capture_pb2 as pb

VERSION = 1
CAPTURE_BYTES_MAX = 32 << 20
"""A capture as it is."""

UNPACKED_BYTES_MAX = 32 << 20
"""A capture unpacked: gzip makes a thousand bytes of one."""

RECORDS_MAX = 4_096
ENTRIES_MAX = 1 << 18
"""Records of a capture, and entries of each of them."""

TIME_MS_MAX = 1 << 48
"""A time in a capture: some nine thousand years."""

TEXT_MAX = 200
"""Characters of a digest or reason in a capture."""

ENTRIES_PER_STEP = 64
"""Entries that are written at one go."""

TAG_BYTES_MAX = 6
"""What stands before an element of a list: its number, and its length."""

AROUND_BYTES_MAX = 64
"""What is around a record in a reply."""

_GZIP = 31
"""zlib's number for: gzip, and nothing else."""

_NOTHING = pb.CapturedNothing()


class CaptureError(QbftError):
    """A file is no capture, or not one that this program reads."""


def unpack(data: bytes) -> bytes:
    """Undo gzip, within bounds.

    Raises:
        CaptureError: it is no gzip, is cut short, or holds too much.
    """
    unpacking = zlib.decompressobj(_GZIP)
    try:
        plain = unpacking.decompress(data, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise CaptureError("is no capture: no gzip file, or a damaged one") from error
    if unpacking.unconsumed_tail:
        raise CaptureError(f"holds more than {UNPACKED_BYTES_MAX >> 20} MiB")
    if not unpacking.eof:
        raise CaptureError("is cut short")
    return plain


# --- writing --------------------------------------------------------------------------------------


def encode_capture(records: Iterable[pb.CapturedInstance], program: str) -> bytes:
    """Write a capture file; the same records give the same bytes."""
    capture = pb.Capture(version=VERSION, program=program, records=records)
    return gzip.compress(capture.SerializeToString(deterministic=True), mtime=0)


def record_to_pb(record: InstanceRecord) -> pb.CapturedInstance:
    """Write what one node has; values are digests."""
    target = pb.CapturedInstance(
        validator=record.validator,
        nodes=record.nodes,
        first_leader=record.first_leader,
        clock_offset_ms=record.clock_offset_ms,
        dropped=record.dropped,
        opened_ms=record.opened_ms,
        closed_ms=record.closed_ms,
    )
    if isinstance(record.instance, InstanceId):
        target.instance.topic = record.instance.topic
        target.instance.height = record.instance.height
    for entry in record.entries:
        _fill_entry(target.entries.add(), entry)
    return target


def fill_record(
    target: pb.CapturedInstance, record: InstanceRecord, bytes_max: int
) -> Iterator[None]:
    """Write a record within so many bytes, what is newest first; yields so that others may run."""
    target.CopyFrom(record_to_pb(replace(record, entries=())))
    size = target.ByteSize() + AROUND_BYTES_MAX
    newest: list[pb.CapturedEntry] = []
    for number, entry in enumerate(reversed(record.entries)):
        written = pb.CapturedEntry()
        _fill_entry(written, entry)
        size += written.ByteSize() + TAG_BYTES_MAX
        if size > bytes_max:
            target.dropped += len(record.entries) - number
            break
        newest.append(written)
        if number % ENTRIES_PER_STEP == ENTRIES_PER_STEP - 1:
            yield
    target.entries.extend(reversed(newest))


def _fill_entry(target: pb.CapturedEntry, entry: Entry) -> None:
    target.at_ms, target.sender = entry.at_ms, entry.sender
    target.put_aside, target.cut = entry.put_aside, entry.cut
    match entry.what:
        case Message() as message:
            _fill_message(target.message, message)
        case Start():
            target.start.CopyFrom(_NOTHING)
        case InputValue(value):
            target.input = _bytes(value)
        case TimerExpired():
            target.timer_expired.CopyFrom(_NOTHING)
        case Resumed(votes, input_):
            target.resumed.input = _bytes(input_)
            for own in votes:
                _fill_vote(target.resumed.votes.add(), own)
        case TimerSet(round_, deadline_ms):
            target.timer.round, target.timer.deadline_ms = round_, deadline_ms
        case Compared():
            raise ValueError("a comparison is not recorded: it is off wherever votes are journaled")
        case _:
            assert_never(entry.what)
    for effect in entry.effects:
        _fill_effect(target.effects.add(), effect)


def _fill_effect(target: pb.CapturedEffect, effect: Effect) -> None:
    match effect:
        case Broadcast(message):
            _fill_message(target.broadcast, message)
        case StartTimer(round_):
            target.timer_started = round_
        case StopTimer():
            target.timer_stopped.CopyFrom(_NOTHING)
        case Decide(value, round_, _):
            target.decided.round, target.decided.value = round_, _bytes(value)
        case Failed(reason):
            target.failed = reason[:TEXT_MAX]
        case RuleFired(rule, round_):
            target.rule_fired.rule, target.rule_fired.round = rule.value, round_
        case RoundChanged(from_round, to_round, rule):
            changed = target.round_changed
            changed.rule, changed.round, changed.to_round = rule.value, from_round, to_round
        case Unjustified(message):
            _fill_message(target.unjustified, message)
        case Compare():
            raise ValueError("a comparison is not recorded: it is off wherever votes are journaled")
        case _:
            assert_never(effect)


def _fill_vote(target: pb.CapturedVote, own: OwnVote) -> None:
    _fill_message(target.vote, own.vote)
    for prepare in own.prepares:
        _fill_message(target.prepares.add(), prepare.stripped())


def _fill_message(target: pb.CapturedMessage, message: Message) -> None:
    target.type = int(message.type)  # type: ignore[assignment]  # the numbers are the same
    target.source, target.round = message.source, message.round
    target.value = _bytes(message.value)
    target.prepared_round = message.prepared_round
    target.prepared_value = _bytes(message.prepared_value)
    for nested in message.justification:
        _fill_message(target.justification.add(), nested.stripped())


def _bytes(value: Value | None) -> bytes:
    return value if isinstance(value, bytes) else b""


# --- reading --------------------------------------------------------------------------------------


def decode_capture(plain: bytes) -> list[InstanceRecord]:
    """Read what `encode_capture` wrote, unpacked.

    Raises:
        CaptureError: it is something else, of another version, or out of range.
    """
    try:
        capture = pb.Capture.FromString(plain)
    except DecodeError as error:
        raise CaptureError("is no capture") from error
    if not capture.version or not capture.records:
        raise CaptureError("is no capture")
    if capture.version != VERSION:
        raise CaptureError(f"is of version {capture.version}; known here is {VERSION}")
    _check(len(capture.records) <= RECORDS_MAX, "too many records")
    return [record_from_pb(record) for record in capture.records]


def record_from_pb(source: pb.CapturedInstance) -> InstanceRecord:
    """Read one record.

    Raises:
        CaptureError: something in it is out of range.
    """
    nodes = source.nodes
    _check(1 <= nodes <= VALIDATORS_MAX, f"{nodes} nodes")
    _check(source.validator < nodes and source.first_leader < nodes, "a validator that is none")
    _check(abs(source.clock_offset_ms) <= TIME_MS_MAX, "a clock that is none")
    _check(len(source.entries) <= ENTRIES_MAX, "too many entries")
    try:
        instance = InstanceId(source.instance.topic, source.instance.height)
    except ValueError as error:
        raise CaptureError(str(error)) from error
    return InstanceRecord(
        instance,
        source.validator,
        nodes,
        source.first_leader,
        tuple(_entry_of(entry, instance, nodes) for entry in source.entries),
        _time_of(source.opened_ms) if source.HasField("opened_ms") else None,
        _time_of(source.closed_ms) if source.HasField("closed_ms") else None,
        source.dropped,
        source.clock_offset_ms,
    )


def own_record(
    source: pb.CapturedInstance, instance: InstanceId, validator: int, nodes: int
) -> InstanceRecord:
    """Read a node's record of an instance that it was asked about.

    Raises:
        CaptureError: it is of something else, or out of range.
    """
    record = record_from_pb(source)
    if (record.instance, record.validator, record.nodes) != (instance, validator, nodes):
        raise CaptureError("is of another instance or node than was asked about")
    return record


def _entry_of(source: pb.CapturedEntry, instance: InstanceId, nodes: int) -> Entry:
    _check(source.sender < nodes, "a sender that is no validator")
    return Entry(
        _time_of(source.at_ms),
        source.sender,
        _what_of(source, instance, nodes),
        tuple(_effect_of(effect, instance, nodes) for effect in source.effects),
        _text_of(source.put_aside),
        source.cut,
    )


def _what_of(
    source: pb.CapturedEntry, instance: InstanceId, nodes: int
) -> Message | Start | InputValue | TimerExpired | Resumed | TimerSet:
    match source.WhichOneof("what"):
        case "message":
            return _message_of(source.message, instance, nodes)
        case "start":
            return Start()
        case "input":
            return InputValue(_value_of(source.input))
        case "timer_expired":
            return TimerExpired()
        case "resumed":
            votes = tuple(_vote_of(vote, instance, nodes) for vote in source.resumed.votes)
            return Resumed(votes, _value_of(source.resumed.input))
        case "timer":
            return TimerSet(_round_of(source.timer.round), _time_of(source.timer.deadline_ms))
        case None:
            raise CaptureError("has an entry of an unknown kind")
        case kind:
            assert_never(kind)


def _effect_of(source: pb.CapturedEffect, instance: InstanceId, nodes: int) -> Effect:
    match source.WhichOneof("effect"):
        case "broadcast":
            return Broadcast(_message_of(source.broadcast, instance, nodes))
        case "timer_started":
            return StartTimer(_round_of(source.timer_started))
        case "timer_stopped":
            return StopTimer()
        case "decided":
            return Decide(_value_of(source.decided.value), _round_of(source.decided.round), ())
        case "failed":
            return Failed(_text_of(source.failed))
        case "rule_fired":
            rule = source.rule_fired
            return RuleFired(_rule_of(rule.rule), _round_of(rule.round))
        case "round_changed":
            change = source.round_changed
            return RoundChanged(
                _round_of(change.round), _round_of(change.to_round), _rule_of(change.rule)
            )
        case "unjustified":
            return Unjustified(_message_of(source.unjustified, instance, nodes))
        case None:
            raise CaptureError("has an effect of an unknown kind")
        case kind:
            assert_never(kind)


def _vote_of(source: pb.CapturedVote, instance: InstanceId, nodes: int) -> OwnVote:
    prepares = (_message_of(prepare, instance, nodes, depth=1) for prepare in source.prepares)
    return OwnVote(_message_of(source.vote, instance, nodes), tuple(prepares))


def _message_of(
    source: pb.CapturedMessage, instance: InstanceId, nodes: int, depth: int = 0
) -> Message:
    _check(source.source < nodes, "a message of no validator")
    _check(source.prepared_round <= ROUND_MAX, "a prepared round out of range")
    nested: Sequence[pb.CapturedMessage] = source.justification
    _check(not nested or depth == 0, "a justification in a justification")
    return Message(
        type_of(source.type),
        instance,
        source.source,
        _round_of(source.round),
        _value_of(source.value),
        source.prepared_round,
        _value_of(source.prepared_value),
        tuple(_message_of(one, instance, nodes, depth=1) for one in nested),
    )


def type_of(number: int) -> MessageType:
    """The type of that number, the same here, on the wire and in the reference.

    Raises:
        CaptureError: there is none.
    """
    try:
        return MessageType(number)
    except ValueError as error:
        raise CaptureError(f"has a message of type {number}") from error


def _value_of(value: bytes) -> bytes | None:
    _check(len(value) <= TEXT_MAX, "a digest that is none")
    return value or None


def _round_of(round_: int) -> int:
    _check(1 <= round_ <= ROUND_MAX, f"round {round_}")
    return round_


def _time_of(at_ms: int) -> int:
    _check(at_ms <= TIME_MS_MAX, "a time that is none")
    return at_ms


def _text_of(text: str) -> str:
    _check(len(text) <= TEXT_MAX and text.isprintable(), "a text that is none")
    return text


def _rule_of(name: str) -> UponRule:
    try:
        return UponRule(name)
    except ValueError as error:
        raise CaptureError("has a rule of an unknown name") from error


def _check(holds: object, what: str) -> None:
    if not holds:
        raise CaptureError(f"has {what}")
