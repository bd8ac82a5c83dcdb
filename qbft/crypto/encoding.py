"""The one way in which bytes to be signed or hashed are put together."""

from __future__ import annotations

from collections.abc import Iterable


def pack(fields: Iterable[bytes]) -> bytes:
    """Join fields, each preceded by its length as 4 bytes, big-endian: no two lists are alike."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def number(value: int) -> bytes:
    """Write a number as a field: 8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def unpack(data: bytes, fields_max: int) -> list[bytes]:
    """Split what `pack` has joined.

    Raises:
        ValueError: it is something else, or has more fields than that.
    """
    fields: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "big")
        if place + 4 > len(data) or end > len(data) or len(fields) == fields_max:
            raise ValueError("not a list of fields")
        fields.append(data[place + 4 : end])
        place = end
    return fields
