"""Why something from the wire was refused: hostile input is a value (DESIGN, errors)."""

from __future__ import annotations

from enum import StrEnum


class RejectReason(StrEnum):
    """A closed set, to be counted by its value; never logged above debug."""

    TOO_LARGE = "too_large"
    """More bytes than a frame may have; not parsed."""

    MALFORMED = "malformed"
    """No protobuf, not the kind of message that belongs here, or a field outside its range."""

    TOO_MANY = "too_many"
    """A section, or a justification, above its count."""

    BAD_TYPE = "bad_type"
    """No type of vote, or one that may not stand here."""

    BAD_INSTANCE = "bad_instance"
    """A topic or height outside what is allowed."""

    BAD_SOURCE = "bad_source"
    """No validator of this cluster."""

    BAD_ROUND = "bad_round"
    """A round, or prepared round, that a vote of its type cannot have (HARDENING D6, D13)."""

    BAD_DIGEST = "bad_digest"
    """A digest that is not of 32 bytes, zero, missing, or where none belongs (HARDENING D19)."""

    BAD_JUSTIFICATION = "bad_justification"
    """Nested votes that a vote of its type cannot carry (HARDENING D10, U6)."""

    BAD_SIGNATURE_SHAPE = "bad_signature_shape"
    """A signature of other lengths or another place than possible; not yet verified."""

    WRONG_SENDER = "wrong_sender"
    """A vote of another validator in the sender's own section (SCENARIOS F15)."""

    BAD_VALUE = "bad_value"
    """A value above its limit, or a proposer without a signature."""

    BAD_CERTIFICATE = "bad_certificate_shape"
    """A certificate that cannot be one: no quorum, or not sorted by source."""
