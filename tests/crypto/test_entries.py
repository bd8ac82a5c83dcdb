"""Entries of ordered topics and the batches that are decided of them (docs/adr/017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import by_the_page
import pytest
from crypto_builders import VECTORS
from hypothesis import given
from hypothesis import strategies as st

from qbft.crypto.encoding import number, pack
from qbft.crypto.entries import (
    BATCH_ENTRIES_MAX,
    BATCH_TAG,
    ENTRY_OVERHEAD_BYTES_MAX,
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

VECTOR = VECTORS["entries"]
CLUSTER = bytes.fromhex(VECTORS["cluster"]["cluster_id"])
ALICE, BOB = VoteKey(b"a" * 32), VoteKey(b"b" * 32)
TOPIC = "orders/eu"


def signed(
    value: bytes = b"v", *, until: int = 8, key: VoteKey = ALICE, name: bytes = b"1"
) -> Entry:
    """An entry of Alice's that may stand at height 7."""
    return sign_entry(key, CLUSTER, TOPIC, name, value, until=until)


def valid(*entries: Entry, height: int = 7, authors: frozenset[bytes] = frozenset()) -> bool:
    """Whether a batch of these may be decided."""
    return is_batch_valid(encode_batch(entries), CLUSTER, TOPIC, height, authors)


def test_the_vector() -> None:
    """docs/PROTOCOL.md, section 15: payload, signature and the bytes that are decided."""
    entries = [_entry_of(each) for each in VECTOR["entries"]]
    value = bytes.fromhex(VECTOR["value"])
    assert encode_batch(entries) == value == by_the_page.entries(VECTOR["entries"])
    assert decode_batch(value) == tuple(entries)
    assert is_batch_valid(value, CLUSTER, VECTOR["topic"], VECTOR["height"], frozenset())
    written = VECTOR["entries"][1]
    again = sign_entry(
        VoteKey(bytes.fromhex(VECTOR["seed"])),
        CLUSTER,
        VECTOR["topic"],
        entries[1].request_id,
        entries[1].value,
        until=entries[1].until,
    )
    assert again == entries[1]
    page = by_the_page.entry_payload(CLUSTER, VECTOR["topic"], written)
    assert page.hex() == VECTOR["payload"]


def _entry_of(vector: dict[str, Any]) -> Entry:
    return Entry(
        bytes.fromhex(vector["request_id"]),
        bytes.fromhex(vector["value"]),
        bytes.fromhex(vector["author"]),
        bytes.fromhex(vector["signature"]),
        vector["until"],
    )


ENTRIES = st.builds(
    Entry, request_id=st.binary(min_size=1, max_size=64), value=st.binary(min_size=1, max_size=40)
)


@given(st.lists(ENTRIES, min_size=1, max_size=8, unique_by=lambda entry: entry.key))
def test_a_batch_has_one_form(entries: list[Entry]) -> None:
    """What is read is what was written, and nothing else reads alike: the digest names entries."""
    value = encode_batch(entries)
    assert decode_batch(value) == tuple(entries)
    assert len(value) <= len(pack((BATCH_TAG,))) + sum(
        len(entry.value) + ENTRY_OVERHEAD_BYTES_MAX for entry in entries
    )
    for changed in (value + b"\0", value[:-1], value[:-1] + b"\0\0"):
        assert not entries_of(changed) or decode_batch(changed) != tuple(entries)


@given(st.binary(max_size=200))
def test_anything_may_be_read(data: bytes) -> None:
    """What is no batch holds no entries, and raises nothing that a reader does not expect."""
    assert entries_of(data) == ()
    assert count_in(data) == (0, 0)


GOOD = (b"1", b"v", number(0), b"", b"")


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (BATCH_TAG,),
        (b"qbft/entries/v2", *GOOD),
        (BATCH_TAG, *GOOD, *GOOD),
        (BATCH_TAG, *GOOD, b"1"),
        (BATCH_TAG, b"", *GOOD[1:]),
        (BATCH_TAG, b"1" * 65, *GOOD[1:]),
        (BATCH_TAG, b"1", b"", *GOOD[2:]),
        (BATCH_TAG, b"1", b"v", b"\0" * 7, b"", b""),
        (BATCH_TAG, b"1", b"v", number(1), b"", b""),
        (BATCH_TAG, b"1", b"v", number(0), b"a" * 32, b"s" * 64),
        (BATCH_TAG, b"1", b"v", number(1), b"a" * 31, b"s" * 64),
        (BATCH_TAG, b"1", b"v", number(1), b"a" * 32, b""),
        (BATCH_TAG, *(f for n in range(BATCH_ENTRIES_MAX + 1) for f in (b"%d" % n, *GOOD[1:]))),
    ],
)
def test_what_is_no_batch(fields: tuple[bytes, ...]) -> None:
    """docs/PROTOCOL.md, section 15: counts, lengths, and no request twice."""
    with pytest.raises(ValueError, match=r".+"):
        decode_batch(pack(fields))


def test_what_a_batch_costs_is_known_before_it_is_read() -> None:
    """HARDENING U7: entries and signatures, by lengths alone; never more than a batch may have."""
    unsigned = [Entry(b"%d" % n, b"v") for n in range(BATCH_ENTRIES_MAX)]
    assert count_in(encode_batch([signed(), *unsigned[:2]])) == (3, 1)
    assert count_in(encode_batch(unsigned)) == (BATCH_ENTRIES_MAX, 0)
    fields = [field for n in range(2 * BATCH_ENTRIES_MAX) for field in (b"%d" % n, *GOOD[1:])]
    assert count_in(pack((BATCH_TAG, *fields))) == (BATCH_ENTRIES_MAX, 0)
    assert count_in(pack((BATCH_TAG, *GOOD, *GOOD))) == (2, 0)
    assert count_in(pack((BATCH_TAG, *GOOD, b"1")) + b"\xff" * 4) == (2, 0)


def test_every_entry_is_checked() -> None:
    """Issue 7: one bad entry among good ones keeps the batch from being decided."""
    authors = frozenset({ALICE.public})
    good, other = signed(name=b"0"), signed(b"w")
    assert valid(good, other, authors=authors)
    for bad in (
        replace(other, value=b"x"),
        replace(other, request_id=b"2"),
        replace(other, until=9),
        replace(other, author=BOB.public),
        signed(b"w", key=BOB),
        Entry(b"1", b"w"),
        sign_entry(ALICE, bytes(32), TOPIC, b"1", b"w", until=8),
        sign_entry(ALICE, CLUSTER, "orders/us", b"1", b"w", until=8),
    ):
        assert not valid(good, bad, authors=authors)
    assert valid(good, signed(b"w", key=BOB), Entry(b"1", b"w")), "open: anyone, signed or not"
    assert not valid(good, replace(other, value=b"x")), "but a false signature is false"


def test_an_entry_stands_only_where_it_was_signed_for() -> None:
    """docs/adr/017: no signed entry can stand twice, for both heights were within one window."""
    last = WINDOW_HEIGHTS + 100
    for height, stands in ((99, False), (100, True), (last - 1, True), (last, False)):
        assert valid(signed(until=last), height=height) is stands
    assert valid(Entry(b"1", b"v"), height=2**40), "without an author it stands anywhere"
