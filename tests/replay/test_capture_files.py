"""Capture files: what is saved is read again, and a hostile file is one clear error (issue 7)."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_runs import FIRST, plan, records, vote

from qbft.replay.capture import (
    UNPACKED_BYTES_MAX,
    CaptureError,
    decode_capture,
    encode_capture,
    fill_record,
    own_record,
    record_to_pb,
    unpack,
)
from qbft.replay.reading import read_records
from qbft.replay.record import Entry, InstanceRecord
from qbft.sim.plan import Crash, Liar
from qbft.wire.v1 import capture_pb2 as pb

TROUBLED = plan(Crash(1, at_ms=25, down_ms=300), Liar(3, "SplitVoter"), seed=3)


def file_of(which: list[InstanceRecord]) -> bytes:
    """A capture file of these."""
    return encode_capture(map(record_to_pb, which), "tests")


def small(**changes: object) -> pb.CapturedInstance:
    """A record of one vote, with this changed in it."""
    record = InstanceRecord(FIRST, 1, 4, 0, (Entry(5, 2, vote(2, FIRST)),))
    written = record_to_pb(record)
    for name, value in changes.items():
        setattr(written, name, value)
    return written


def test_what_is_saved_is_read_again() -> None:
    """Every field of the records of a run with a crash and a liar; twice the same bytes."""
    saved = records(TROUBLED)
    again, is_dump = read_records(file_of(saved))
    assert again == saved
    assert not is_dump
    assert file_of(saved) == file_of(again)


def test_a_file_of_another_version_is_refused() -> None:
    """A reader says which version it knows, instead of guessing."""
    capture = pb.Capture(version=2, records=[small()])
    with pytest.raises(CaptureError, match="is of version 2; known here is 1"):
        decode_capture(capture.SerializeToString())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"nodes": 0}, "has 0 nodes"),
        ({"nodes": 257}, "has 257 nodes"),
        ({"validator": 4}, "a validator that is none"),
        ({"first_leader": 9}, "a validator that is none"),
        ({"clock_offset_ms": 1 << 60}, "a clock that is none"),
        ({"opened_ms": 1 << 63}, "a time that is none"),
    ],
)
def test_a_record_out_of_range_is_refused(changed: dict[str, int], told: str) -> None:
    """Each number of a record has its range."""
    with pytest.raises(CaptureError, match=told):
        decode_capture(pb.Capture(version=1, records=[small(**changed)]).SerializeToString())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("source", 4, "a message of no validator"),
        ("round", 0, "has round 0"),
        ("round", 1 << 40, "has round"),
        ("prepared_round", 1 << 40, "a prepared round out of range"),
        ("type", 6, "a message of type 6"),
        ("value", b"x" * 1_000, "a digest that is none"),
    ],
)
def test_a_message_out_of_range_is_refused(field: str, value: object, told: str) -> None:
    """Each field of a message has its range, and its type must be one of the five."""
    written = small()
    setattr(written.entries[0].message, field, value)
    with pytest.raises(CaptureError, match=told):
        decode_capture(pb.Capture(version=1, records=[written]).SerializeToString())


def test_nesting_is_one_level_deep() -> None:
    """A justification within a justification is refused, however deep it goes."""
    written = small()
    message = written.entries[0].message
    for _ in range(2):
        message = message.justification.add()
        message.type, message.round = 2, 1
    with pytest.raises(CaptureError, match="a justification in a justification"):
        decode_capture(pb.Capture(version=1, records=[written]).SerializeToString())


def test_a_bomb_is_not_unpacked() -> None:
    """Zeros without end, packed a thousandfold: unpacking stops at its bound."""
    bomb = gzip.compress(bytes(UNPACKED_BYTES_MAX + 1))
    with pytest.raises(CaptureError, match="holds more than 32 MiB"):
        unpack(bomb)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is cut short"),
        (b"no gzip at all", "is no capture: no gzip file"),
        (zlib.compress(b"zlib, not gzip"), "is no capture: no gzip file"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b"\xff\xff\xff", mtime=0), "is no dump"),
        (gzip.compress(b"\x08", mtime=0), "is no capture"),
        (gzip.compress(pb.Capture(version=1).SerializeToString(), mtime=0), "is no capture"),
        (gzip.compress(b"some bytes", mtime=0)[:-9], "is cut short"),
    ],
)
def test_what_is_no_capture_is_said_to_be_none(data: bytes, told: str) -> None:
    """Each wrong file is one error that says what is wrong."""
    with pytest.raises(CaptureError, match=told):
        read_records(data)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 1 << 20), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_an_error_or_a_record(place: int, bits: int, cut: bool) -> None:
    """A flipped byte or a cut anywhere in it: never another exception."""
    plain = bytearray(PLAIN)
    place %= len(plain)
    plain[place] ^= bits
    with contextlib.suppress(CaptureError):
        assert decode_capture(bytes(plain[:place] if cut else plain))


PLAIN = unpack(file_of(records(plan())[:1]))


def test_a_reply_holds_what_is_newest() -> None:
    """A record above the limit of a message is shortened, and says how much was left out."""
    record = records(plan())[0]
    whole, short = pb.CapturedInstance(), pb.CapturedInstance()
    list(fill_record(whole, record, 1 << 20))
    assert whole == record_to_pb(record)
    list(fill_record(short, record, 500))
    assert short.ByteSize() <= 500
    assert short.dropped == len(record.entries) - len(short.entries) > 0
    assert short.entries[-1] == whole.entries[-1]


def test_a_node_answers_for_itself_alone() -> None:
    """A node that sends another's record, or that of another instance, is not believed."""
    [record] = records(plan())[:1]
    assert own_record(record_to_pb(record), FIRST, 0, 4) == record
    with pytest.raises(CaptureError, match="is of another instance or node"):
        own_record(record_to_pb(replace(record, validator=2)), FIRST, 0, 4)
