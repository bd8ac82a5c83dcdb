"""Evidence of misbehaviour as bytes: what journals keep, clients are given, and files hold."""

from __future__ import annotations

from qbft.crypto.evidence import Evidence
from qbft.wire.build import fill_signed
from qbft.wire.parse import PARSE_ERRORS, Refused, signed_vote_of
from qbft.wire.v1 import messages_pb2 as pb


def fill_evidence(target: pb.Evidence, evidence: Evidence) -> None:
    """Write evidence in place.

    Raises:
        InvariantViolation: a vote is not signed.
    """
    fill_signed(target.first, evidence.first)
    fill_signed(target.second, evidence.second)


def evidence_of(message: pb.Evidence) -> Evidence:
    """Read evidence; internal to `qbft.wire`, raises `Refused`."""
    return Evidence(signed_vote_of(message.first, 0), signed_vote_of(message.second, 0))


def encode_evidence(evidence: Evidence) -> bytes:
    """Write evidence as the bytes of a file.

    Raises:
        InvariantViolation: a vote is not signed.
    """
    message = pb.Evidence()
    fill_evidence(message, evidence)
    return message.SerializeToString()


def evidence_from_pb(message: pb.Evidence) -> Evidence:
    """Read what a node tells of another; nothing of it is verified yet.

    Raises:
        ValueError: it cannot be evidence.
    """
    try:
        return evidence_of(message)
    except Refused as refused:
        raise ValueError(f"not evidence: {refused}") from None


def decode_evidence(data: bytes) -> Evidence:
    """Read a file that holds evidence; nothing of it is verified yet.

    Raises:
        ValueError: it holds something else.
    """
    try:
        return evidence_of(pb.Evidence.FromString(data))
    except Refused as refused:
        raise ValueError(f"not evidence: {refused}") from None
    except PARSE_ERRORS:
        raise ValueError("not evidence: malformed") from None


def is_evidence(data: bytes) -> bool:
    """Whether the bytes of a file hold evidence rather than a decision or certificate.

    Field numbers alone tell: nothing of it need be well-formed or true.
    """
    try:
        message = pb.Evidence.FromString(data)
    except PARSE_ERRORS:
        return False
    return message.HasField("first") or message.HasField("second")
