"""Entries of an ordered topic, and the batches of them that are decided (docs/adr/017).

The value that is decided for a height of an ordered topic is a batch: some entries, each what one
client has appended. docs/PROTOCOL.md, section 15, has the bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from qbft.crypto.encoding import number, pack, unpack
from qbft.crypto.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, VoteKey, is_signature_valid
from qbft.crypto.proposal import value_digest

BATCH_TAG = b"qbft/entries/v1"
ENTRY_TAG = b"qbft/entry/v1"
BATCH_ENTRIES_MAX = 128
"""Entries that share a height of an ordered topic."""

REQUEST_ID_BYTES_MAX = 64
"""A client's name for what it appends."""

ENTRY_OVERHEAD_BYTES_MAX = 5 * 4 + REQUEST_ID_BYTES_MAX + 8 + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
"""What an entry adds to a batch beside its value."""

BATCH_OVERHEAD_BYTES = 4 + len(BATCH_TAG)
WINDOW_HEIGHTS = 1_024
"""For so many heights an entry may stand, and is its request id remembered (docs/adr/017)."""

_FIELDS = 5
_SIGNATURE_FIELD = 4
_BEGINNING = pack([BATCH_TAG])
_LENGTH = Struct(">I")
_NUMBER_BYTES = 8
_VERIFIED_MAX = 4_096
"""Entries whose signature was checked: one that loses its height comes again."""

Key = tuple[bytes, bytes]
"""Author and request id: what makes an entry a repetition of another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client appends.

    `request_id` is the client's own name for it, 1 to 64 bytes: however often it is sent, it lands
    once. `author` is the client's Ed25519 public key (32 bytes), `signature` its signature, and
    `until` the height from which on the entry stands no more; without an author all three are
    empty, and `until` 0.
    """

    request_id: bytes
    value: bytes
    author: bytes = b""
    signature: bytes = b""
    until: int = 0

    @property
    def key(self) -> Key:
        """What makes it a repetition of another one, whatever its value is."""
        return self.author, self.request_id

    @property
    def size(self) -> int:
        """The bytes that it takes up in a batch, at most."""
        return len(self.value) + ENTRY_OVERHEAD_BYTES_MAX

    def is_well_formed(self) -> bool:
        """Whether its parts have lengths that they can have."""
        signed = len(self.author) == PUBLIC_KEY_BYTES and len(self.signature) == SIGNATURE_BYTES
        unsigned = not self.author and not self.signature and not self.until
        return (
            1 <= len(self.request_id) <= REQUEST_ID_BYTES_MAX
            and bool(self.value)
            and ((signed and 0 < self.until < 1 << 64) or unsigned)
        )


def sign_entry(
    key: VoteKey, cluster_id: bytes, topic: str, request_id: bytes, value: bytes, *, until: int
) -> Entry:
    """Append as the client that holds this key; `until` is as in `Entry`."""
    entry = Entry(request_id, value, key.public, bytes(SIGNATURE_BYTES), until)
    signature = key.sign(_payload(entry, cluster_id, topic))
    return Entry(request_id, value, key.public, signature, until)


def is_entry_genuine(entry: Entry, cluster_id: bytes, topic: str) -> bool:
    """Whether the entry has the signature of the author it names."""
    return _is_valid(entry.author, _payload(entry, cluster_id, topic), entry.signature)


def encode_batch(entries: Sequence[Entry]) -> bytes:
    """The bytes that are decided.

    Raises:
        ValueError: they are no batch: none, too many, one twice, or one that cannot be.
    """
    _check(entries)
    fields = [BATCH_TAG]
    for each in entries:
        fields += [each.request_id, each.value, number(each.until), each.author, each.signature]
    return pack(fields)


def decode_batch(value: bytes) -> tuple[Entry, ...]:
    """Read what `encode_batch` wrote, and nothing else. No signature is verified.

    Raises:
        ValueError: it is no batch.
    """
    if not value.startswith(_BEGINNING):
        raise ValueError("not a batch of entries")
    _, *fields = unpack(value, 1 + _FIELDS * BATCH_ENTRIES_MAX)
    if len(fields) % _FIELDS:
        raise ValueError("not a batch of entries")
    entries = tuple(
        Entry(request_id, data, author, signature, _until(until))
        for request_id, data, until, author, signature in zip(
            *(fields[start::_FIELDS] for start in range(_FIELDS)), strict=True
        )
    )
    _check(entries)
    return entries


def entries_of(value: object) -> tuple[Entry, ...]:
    """The entries that a decided value holds; none if it is no batch.

    A topic may have values from before it was ordered.
    """
    try:
        return decode_batch(value) if isinstance(value, bytes) else ()
    except ValueError:
        return ()


def is_standing_at(entry: Entry, height: int) -> bool:
    """Whether an entry may stand at a height: one without an author anywhere."""
    return not entry.author or height < entry.until <= height + WINDOW_HEIGHTS


def is_batch_valid(
    value: bytes, cluster_id: bytes, topic: str, height: int, authors: Collection[bytes]
) -> bool:
    """Whether a value may be decided for a height of an ordered topic: every entry of it.

    Deterministic in these. `authors` are those who may append; none means anyone, also without
    saying who, but whoever says so proves it.
    """
    try:
        entries = decode_batch(value)
    except ValueError:
        return False
    if authors and any(entry.author not in authors for entry in entries):
        return False
    return all(
        is_standing_at(entry, height)
        and (not entry.author or is_entry_genuine(entry, cluster_id, topic))
        for entry in entries
    )


def count_in(value: bytes) -> tuple[int, int]:
    """(entries, signatures) that there are to check, by the lengths of the fields alone.

    So the cost of `is_batch_valid` is known before any of it, whether it is a batch or not: what is
    none has as many as come before what is wrong with its lengths.
    """
    if not value.startswith(_BEGINNING):
        return 0, 0
    lengths: list[int] = []
    place, last = len(_BEGINNING), len(value) - _LENGTH.size
    while place <= last and len(lengths) < _FIELDS * BATCH_ENTRIES_MAX:
        (length,) = _LENGTH.unpack_from(value, place)
        place += _LENGTH.size + length
        lengths.append(length)
    signatures = lengths[_SIGNATURE_FIELD::_FIELDS].count(SIGNATURE_BYTES)
    return -(-len(lengths) // _FIELDS), signatures


def _check(entries: Sequence[Entry]) -> None:
    if not 1 <= len(entries) <= BATCH_ENTRIES_MAX:
        raise ValueError(f"a batch has 1 to {BATCH_ENTRIES_MAX} entries, not {len(entries)}")
    if not all(entry.is_well_formed() for entry in entries):
        raise ValueError("not an entry")
    if len({entry.key for entry in entries}) < len(entries):
        raise ValueError("a batch has no request twice")


def _until(field: bytes) -> int:
    if len(field) != _NUMBER_BYTES:
        raise ValueError("a height has 8 bytes")
    return int.from_bytes(field, "big")


def _payload(entry: Entry, cluster_id: bytes, topic: str) -> bytes:
    digest = value_digest(entry.value)
    fields = (entry.request_id, number(entry.until), digest)
    return pack((ENTRY_TAG, cluster_id, topic.encode(), *fields))


@lru_cache(maxsize=_VERIFIED_MAX)
def _is_valid(author: bytes, payload: bytes, signature: bytes) -> bool:
    """Remembered: an entry that loses its height comes again in the next batch."""
    return is_signature_valid(author, payload, signature)
