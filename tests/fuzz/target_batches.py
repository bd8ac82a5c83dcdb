"""Batches of ordered topics: one form of each, and what an author has signed or nothing.

Whatever a peer proposes for such a topic is read so, before any vote (docs/adr/017).
"""

from __future__ import annotations

from random import Random

from protobuf_edits import Fill

from qbft.crypto.encoding import pack, unpack
from qbft.crypto.entries import (
    WINDOW_HEIGHTS,
    Entry,
    count_in,
    decode_batch,
    encode_batch,
    entries_of,
    is_batch_valid,
    sign_entry,
)
from qbft.crypto.keys import VoteKey

TOPIC, HEIGHT, CLUSTER = "log/a", 7, bytes(32)
AUTHOR = VoteKey(b"a" * 32)
SIGNED = tuple(
    sign_entry(AUTHOR, CLUSTER, TOPIC, b"%d" % number, b"v" * number, until=until)
    for number, until in ((1, HEIGHT + 1), (2, HEIGHT + WINDOW_HEIGHTS))
)
FIELDS_MAX = 1_000


def seeds() -> list[bytes]:
    """Unsigned and signed entries, and one that is too late."""
    late = sign_entry(AUTHOR, CLUSTER, TOPIC, b"late", b"v", until=HEIGHT)
    return [
        encode_batch([Entry(b"a", b"one"), Entry(b"b", b"two")]),
        encode_batch(SIGNED),
        encode_batch([*SIGNED, late, Entry(b"c", b"three")]),
    ]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Change, double or drop a field, or bytes."""
    try:
        fields = unpack(data, FIELDS_MAX)
    except ValueError:
        fields = []
    if not fields or not random.randrange(4):
        at = random.randrange(len(data) + 1)
        return data[:at] + fill(data[at : at + 4]) + data[at + 4 :]
    at = random.randrange(len(fields))
    fields[at : at + 1] = random.choice([[fill(fields[at])], [fields[at]] * 2, []])
    return pack(fields)


def check(data: bytes) -> None:
    """Read it, and have it judged as an open and as a guarded topic do."""
    entries = entries_of(data)
    if entries:
        assert encode_batch(decode_batch(data)) == data
        assert len({entry.key for entry in entries}) == len(entries)
    counted = count_in(data)
    if entries:
        assert counted == (len(entries), sum(bool(entry.author) for entry in entries))
    if is_batch_valid(data, CLUSTER, TOPIC, HEIGHT, frozenset()):
        assert all(entry in SIGNED or not entry.author for entry in entries)
    if is_batch_valid(data, CLUSTER, TOPIC, HEIGHT, frozenset({AUTHOR.public})):
        assert entries
        assert all(entry in SIGNED for entry in entries)
