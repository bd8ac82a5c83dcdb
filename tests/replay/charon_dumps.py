"""Dumps as a charon node's debug page gives them, made from simulated runs."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from qbft.core import Message
from qbft.replay.record import InstanceRecord
from qbft.wire.v1 import charon_pb2 as pb

SLOT, DUTY = 8, 3
"""With four nodes (slot + type + round) mod 4 is 0 in round 1, as in the simulator."""


def dump_of(records: Iterable[InstanceRecord], *, slot: int = SLOT) -> bytes:
    """What these nodes' engines were given, each as an instance of one dump."""
    dump = pb.SniffedConsensusInstances(git_hash="0123abc")
    for record in records:
        told = dump.instances.add(
            nodes=record.nodes,
            peer_idx=record.validator,
            protocol_id="/charon/consensus/qbft/2.0.0",
        )
        told.started_at.seconds = record.entries[0].at_ms // 1000
        for entry, message in record.messages():
            if entry.put_aside:
                continue
            sniffed = told.msgs.add()
            sniffed.timestamp.seconds = entry.at_ms // 1000
            sniffed.timestamp.nanos = entry.at_ms % 1000 * 1_000_000
            _fill(sniffed.msg.msg, message, slot)
            for nested in message.justification:
                _fill(sniffed.msg.justification.add(), nested, slot)
    return gzip.compress(dump.SerializeToString())


def _fill(target: pb.QBFTMsg, message: Message, slot: int) -> None:
    target.type = int(message.type)
    target.duty.slot, target.duty.type = slot, DUTY
    target.peer_idx, target.round = message.source, message.round
    target.prepared_round = message.prepared_round
    target.value_hash = message.value if isinstance(message.value, bytes) else bytes(32)
    prepared = message.prepared_value
    target.prepared_value_hash = prepared if isinstance(prepared, bytes) else b""


# --- written by hand ------------------------------------------------------------------------------


def field(number: int, content: bytes | int) -> bytes:
    """One field as protobuf's encoding has it, without a schema: a varint, or bytes by length."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def bare(
    kind: int, peer: int, round_: int, value: bytes, *, prepared: tuple[int, bytes] = (0, b"")
) -> bytes:
    """A QBFTMsg.

    {type=1, duty=2 {slot=1, type=2}, peer_idx=3, round=4, prepared_round=6, signature=8,
    value_hash=11, prepared_value_hash=12}
    """
    return (
        field(1, kind)
        + field(2, field(1, SLOT) + field(2, DUTY))
        + (field(3, peer) if peer else b"")  # as proto3 has it, zero is left out
        + field(4, round_)
        + (field(6, prepared[0]) if prepared[0] else b"")
        + field(8, bytes(65))
        + (field(11, value) if value else b"")
        + (field(12, prepared[1]) if prepared[1] else b"")
    )


def sniffed(at_ms: int, message: bytes, *justification: bytes) -> bytes:
    """A SniffedConsensusMsg.

    {timestamp=1, msg=2 {msg=1, justification=2, values=3}}, the values being google.protobuf.Any
    """
    values = field(3, field(1, b"type.googleapis.com/core.corev1.UnsignedDataSet") + field(2, b"v"))
    nested = b"".join(field(2, each) for each in justification)
    when = field(1, at_ms // 1000) + field(2, at_ms % 1000 * 1_000_000)
    return field(1, when) + field(2, field(1, message) + nested + values)


def dump_by_hand(own: int, nodes: int, *messages: bytes) -> bytes:
    """SniffedConsensusInstances, of one instance.

    {instances=1 {started_at=1, nodes=2, peer_idx=3, msgs=4, protocol_id=5}, git_hash=2}
    """
    one = field(1, field(1, 1_700_000_000)) + field(2, nodes) + field(3, own)
    one += b"".join(field(4, each) for each in messages)
    one += field(5, b"/charon/consensus/qbft/2.0.0")
    return gzip.compress(field(1, one) + field(2, b"0123abc"))
