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
