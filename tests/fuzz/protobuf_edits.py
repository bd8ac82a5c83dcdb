"""Edits of serialised protobuf that leave its lengths right, so that what is inside gets read.

Bytes changed at random mostly break a length, and all that hostile input then shows is that broken
lengths are refused. These edits follow the encoding down to some field, change, drop, double or
move it there, and write all lengths around it anew. No schema is needed for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

ODD_NUMBERS = (0, 1, 2, 3, 127, 128, 256, 257, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
FIELD_NUMBERS = 20
"""Fields of our messages have numbers below this."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DESCEND = 0.8
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}

Fill = Callable[[bytes], bytes]
"""Gives other bytes for some: what a field without an inside is changed by."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it is on the wire: its number, its wire type, and a number or bytes."""

    number: int
    kind: int
    content: int | bytes


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def delimited(content: bytes, number: int = 1) -> bytes:
    """Bytes as the field of that number."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def fields_of(data: bytes) -> list[Field] | None:
    """The fields that these bytes are, or None if they are no message."""
    fields, at = [], 0
    while at < len(data):
        key = _read_varint(data, at)
        if key is None or key[0] >> 3 == 0:
            return None
        number, kind, at = key[0] >> 3, key[0] & 7, key[1]
        if kind == _VARINT:
            value = _read_varint(data, at)
            if value is None:
                return None
            content: int | bytes
            content, at = value
        else:
            if kind == _BYTES:
                size = _read_varint(data, at)
            else:
                size = (_FIXED_BYTES[kind], at) if kind in _FIXED_BYTES else None
            if size is None or size[1] + size[0] > len(data):
                return None
            content, at = data[size[1] : size[1] + size[0]], size[1] + size[0]
        fields.append(Field(number, kind, content))
    return fields


def message_of(fields: list[Field]) -> bytes:
    """The bytes of these fields."""
    return b"".join(map(_encoded, fields))


def edited(data: bytes, random: Random, fill: Fill) -> bytes:
    """The message after one edit somewhere in it; bytes that are no message are filled anew."""
    fields = fields_of(data)
    if not fields:
        return fill(data)
    at = random.randrange(len(fields))
    content = fields[at].content
    if isinstance(content, bytes) and random.random() < _DESCEND:
        fields[at] = replace(fields[at], content=edited(content, random, fill))
    else:
        _edit_at(fields, at, random)
    return message_of(fields)


def _edit_at(fields: list[Field], at: int, random: Random) -> None:
    """Change one field of the list, or the list at that place."""
    field, other = fields[at], fields[random.randrange(len(fields))]
    match random.randrange(6):
        case 0:
            del fields[at]
        case 1:
            fields[at:at] = [field] * random.choice((1, 2, 8, 300))
        case 2:
            fields[at] = other
        case 3:
            fields[at] = replace(field, number=random.randrange(1, FIELD_NUMBERS))
        case 4:
            fields[at] = Field(field.number, _VARINT, random.choice(ODD_NUMBERS))
        case _:
            size = random.choice((0, 1, 16, 31, 32, 33, 63, 64, 66))
            fields[at] = Field(field.number, _BYTES, random.randbytes(size))


def _read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """(number, where it ends), or None."""
    value = 0
    for index in range(10):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value & (2**64 - 1), at + index + 1
    return None


def _encoded(field: Field) -> bytes:
    key = varint(field.number << 3 | field.kind)
    if isinstance(field.content, int):
        return key + varint(field.content)
    size = varint(len(field.content)) if field.kind == _BYTES else b""
    return key + size + field.content
