"""The one way in which bytes to be signed or hashed are put together."""

from __future__ import annotations

from collections.abc import Iterable


def pack(fields: Iterable[bytes]) -> bytes:
    """Join fields, each preceded by its length as 4 bytes, big-endian: no two lists are alike."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def number(value: int) -> bytes:
    """Write a number as a field: 8 bytes, big-endian."""
    return value.to_bytes(8, "big")
