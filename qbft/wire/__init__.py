"""Protobuf and back: frames, hellos, journal commits, decisions; size and count limits first.

docs/PROTOCOL.md describes every byte. Nothing here imports gRPC.
"""

from qbft.wire.build import encode_certificate
from qbft.wire.decisions import (
    decision_from_pb,
    decision_to_pb,
    decode_decision,
    encode_decision,
    fill_decision,
)
from qbft.wire.evidence import decode_evidence, encode_evidence, evidence_from_pb, is_evidence
from qbft.wire.frames import Decoded, decode_frame, decode_in_steps, encode_frame
from qbft.wire.hello import Hello, Remembered, decode_hello, encode_hello
from qbft.wire.journal import decode_journal_commit, encode_journal_commit
from qbft.wire.limits import WireLimits
from qbft.wire.reject import RejectReason
from qbft.wire.shape import check_shape

__all__ = [
    "Decoded",
    "Hello",
    "RejectReason",
    "Remembered",
    "WireLimits",
    "check_shape",
    "decision_from_pb",
    "decision_to_pb",
    "decode_decision",
    "decode_evidence",
    "decode_frame",
    "decode_hello",
    "decode_in_steps",
    "decode_journal_commit",
    "encode_certificate",
    "encode_decision",
    "encode_evidence",
    "encode_frame",
    "encode_hello",
    "encode_journal_commit",
    "evidence_from_pb",
    "fill_decision",
    "is_evidence",
]
