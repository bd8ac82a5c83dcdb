"""A file of either kind, read: which one it is shows in its first byte."""

from __future__ import annotations

from qbft.replay.capture import CaptureError, decode_capture, unpack
from qbft.replay.charon import decode_dump
from qbft.replay.record import InstanceRecord

_VERSION_FIRST = 0x08
"""How a capture begins: with a number in field 1. A dump has a message there, or in field 2."""


def read_records(data: bytes, first_leader: int | None = None) -> tuple[list[InstanceRecord], bool]:
    """Give the records of a capture, or of a charon node's dump; and whether it is a dump.

    `first_leader`: who leads round 1 in the instances of a dump, which does not say.

    Raises:
        CaptureError: it is neither, or damaged, or out of range.
    """
    plain = unpack(data)
    if not plain:
        raise CaptureError("is empty")
    if plain[0] == _VERSION_FIRST:
        return decode_capture(plain), False
    return decode_dump(plain, first_leader), True
