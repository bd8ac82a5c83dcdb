"""Decisions and certificates: what clients are given, stores keep, and files hold."""

from __future__ import annotations

from qbft.decision import Decision
from qbft.errors import InvariantViolation
from qbft.wire.build import fill_certificate, fill_instance
from qbft.wire.limits import VALIDATORS_MAX
from qbft.wire.parse import PARSE_ERRORS, Refused, certificate_of, instance_of
from qbft.wire.reject import RejectReason
from qbft.wire.v1 import messages_pb2 as pb


def decision_to_pb(decision: Decision) -> pb.Decision:
    """Write a decision; one without its value stays without.

    Raises:
        InvariantViolation: it is none of the service: its value is no bytes, or it is not signed.
    """
    message = pb.Decision()
    fill_decision(message, decision)
    return message


def fill_decision(target: pb.Decision, decision: Decision) -> None:
    """Write a decision in place; see `decision_to_pb`."""
    fill_instance(target.instance, decision.instance)
    target.round = decision.round
    if decision.value is not None:
        if not isinstance(decision.value, bytes):
            raise InvariantViolation(f"decided value {decision.value!r} is no bytes")
        target.value = decision.value
    fill_certificate(target.certificate, decision.certificate)
    if decision.own:
        target.own = True


def decision_from_pb(message: pb.Decision, nodes: int = VALIDATORS_MAX) -> Decision:
    """Read a decision of a cluster of so many validators; nothing of it is verified yet.

    Its value is None where the message has none.

    Raises:
        ValueError: it cannot be one.
    """
    try:
        return decision_of(message, nodes)
    except Refused as refused:
        raise ValueError(f"not a decision: {refused}") from None


def decision_of(message: pb.Decision, nodes: int = VALIDATORS_MAX) -> Decision:
    """Read a decision; internal to `qbft.wire`, raises `Refused`."""
    certificate = certificate_of(message.certificate, nodes)
    if instance_of(message.instance) != certificate.instance or message.round != certificate.round:
        raise Refused(RejectReason.BAD_CERTIFICATE)
    value = message.value if message.HasField("value") else None
    return Decision(value, certificate, message.own)


def encode_decision(decision: Decision) -> bytes:
    """Write a decision as the bytes of a file.

    Raises:
        InvariantViolation: see `decision_to_pb`.
    """
    return decision_to_pb(decision).SerializeToString()


def decode_decision(data: bytes, nodes: int = VALIDATORS_MAX) -> Decision:
    """Read a file that holds a decision or only a certificate, which gives the value None.

    The field numbers of the two are apart, so that the bytes themselves say which it is; a
    decision's field of the certificate settles it. Nothing is verified yet.

    Raises:
        ValueError: it is neither.
    """
    try:
        decision = pb.Decision.FromString(data)
        if decision.HasField("certificate"):
            return decision_of(decision, nodes)
        return Decision(None, certificate_of(pb.Certificate.FromString(data), nodes))
    except Refused as refused:
        raise ValueError(f"not a decision or certificate: {refused}") from None
    except PARSE_ERRORS:
        raise ValueError("not a decision or certificate: malformed") from None
