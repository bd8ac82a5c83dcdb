"""The debug dump of a charon node (Obol's distributed validator), as records of our own kind.

A dump holds the consensus messages that one node has seen, its own among them, but neither when its
round timer ran out nor what its input was. Both show: an own ROUND-CHANGE for a round that the
engine is not in yet comes after a timer, an own PRE-PREPARE carries the input. So the records are
made by running the engine along.

Its engine is the reference of this one (REFERENCE). Who leads is said nowhere in a dump: by default
(slot + type of duty + round) mod nodes, unless the reader says who leads round 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from qbft.core import Definition, InputValue, Instance, InstanceId, Message, MessageType, Start
from qbft.core.effects import Input, TimerExpired
from qbft.core.messages import HEIGHT_MAX, ROUND_MAX
from qbft.crypto.proposal import DIGEST_BYTES
from qbft.replay.capture import ENTRIES_MAX, RECORDS_MAX, TIME_MS_MAX, CaptureError, type_of
from qbft.replay.record import Entry, InstanceRecord, lean
from qbft.wire.limits import VALIDATORS_MAX
from qbft.wire.v1 import charon_pb2 as pb

ROUNDS_SKIPPED_MAX = 64
"""Rounds that an own ROUND-CHANGE may be ahead of the engine; one beyond says nothing of timers."""

_ZERO = bytes(DIGEST_BYTES)


def decode_dump(plain: bytes, first_leader: int | None = None) -> list[InstanceRecord]:
    """Read a dump, unpacked: a record for each instance, named charon/TYPE/SLOT.

    Raises:
        CaptureError: it is none, or something in it is out of range.
    """
    try:
        dump = pb.SniffedConsensusInstances.FromString(plain)
    except DecodeError as error:
        raise CaptureError("is no dump of a charon node") from error
    if not dump.instances:
        raise CaptureError("holds no instance")
    if len(dump.instances) > RECORDS_MAX:
        raise CaptureError("has too many instances")
    return [_record_of(one, first_leader) for one in dump.instances if one.msgs]


def _record_of(source: pb.SniffedConsensusInstance, first_leader: int | None) -> InstanceRecord:
    nodes, own = source.nodes, source.peer_idx
    if not 1 <= nodes <= VALIDATORS_MAX or not 0 <= own < nodes:
        raise CaptureError(f"has node {own} of {nodes}")
    if first_leader is not None and first_leader >= nodes:
        raise CaptureError(f"has {nodes} nodes: none of them is {first_leader}")
    if len(source.msgs) > ENTRIES_MAX:
        raise CaptureError("has too many messages")
    duty = source.msgs[0].msg.msg.duty
    instance = _instance_of(duty)
    if first_leader is None:
        first_leader = (duty.slot + duty.type + 1) % nodes
    empty = InstanceRecord(instance, own, nodes, first_leader, ())
    began_ms = _ms_of(source.started_at) if source.HasField("started_at") else None
    entries = _entries(empty, source.msgs, began_ms)
    return InstanceRecord(instance, own, nodes, first_leader, entries, opened_ms=entries[0].at_ms)


def _entries(
    record: InstanceRecord, messages: Sequence[pb.SniffedConsensusMsg], began_ms: int | None
) -> tuple[Entry, ...]:
    """Run the engine along, and put in what a dump leaves out."""
    own = record.validator
    engine = Instance(Definition(record.nodes, record.leader), record.instance, own)
    entries: list[Entry] = []

    def give(at_ms: int, sender: int, what: Input) -> None:
        try:
            effects = lean(engine.step(what))
        except Exception:  # noqa: BLE001 - a hostile dump: the replay tells what comes of it
            effects = ()
        entries.append(Entry(at_ms, sender, what, effects))

    first_ms = _ms_of(messages[0].timestamp)
    give(first_ms if began_ms is None else min(began_ms, first_ms), own, Start())
    has_input = False
    for sniffed in messages:
        at_ms, message = _ms_of(sniffed.timestamp), _message_of(sniffed.msg, record)
        if message.source == own:
            if message.type is MessageType.PRE_PREPARE and not has_input:
                has_input = True
                give(at_ms, own, InputValue(message.value))
            if message.type is MessageType.ROUND_CHANGE:
                for _ in range(min(message.round - engine.round, ROUNDS_SKIPPED_MAX)):
                    give(at_ms, own, TimerExpired())
        give(at_ms, message.source, message)
    return tuple(entries)


def _message_of(source: pb.QBFTConsensusMsg, record: InstanceRecord) -> Message:
    justification = tuple(_bare_of(nested, record) for nested in source.justification)
    bare = _bare_of(source.msg, record)
    return Message(
        bare.type,
        bare.instance,
        bare.source,
        bare.round,
        bare.value,
        bare.prepared_round,
        bare.prepared_value,
        justification,
    )


def _bare_of(source: pb.QBFTMsg, record: InstanceRecord) -> Message:
    if _instance_of(source.duty) != record.instance:
        raise CaptureError("has messages of two duties in one instance")
    if not 0 <= source.peer_idx < record.nodes:
        raise CaptureError(f"has a message of node {source.peer_idx} of {record.nodes}")
    if not 1 <= source.round <= ROUND_MAX or not 0 <= source.prepared_round <= ROUND_MAX:
        raise CaptureError("has a round out of range")
    return Message(
        type_of(source.type),
        record.instance,
        source.peer_idx,
        source.round,
        _value_of(source.value_hash),
        source.prepared_round,
        _value_of(source.prepared_value_hash),
    )


def _instance_of(duty: pb.Duty) -> InstanceId:
    if duty.slot > HEIGHT_MAX or duty.type < 0:
        raise CaptureError("has a duty out of range")
    return InstanceId(f"charon/{duty.type}", duty.slot)


def _value_of(digest: bytes) -> bytes | None:
    """A hash of another length, or all zero, is none (REFERENCE 34)."""
    return digest if len(digest) == DIGEST_BYTES and digest != _ZERO else None


def _ms_of(time: pb.Timestamp) -> int:
    at_ms = time.seconds * 1_000 + time.nanos // 1_000_000
    if not 0 <= at_ms <= TIME_MS_MAX:
        raise CaptureError("has a time out of range")
    return at_ms
