"""A charon node's debug dump is replayed and drawn as a capture is (issue 7, the recorder)."""

from __future__ import annotations

import contextlib
import gzip

import pytest
from charon_dumps import DUTY, SLOT, bare, dump_by_hand, dump_of, sniffed
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_runs import plan, records

from qbft.core import Decide, InputValue, InstanceId, MessageType, RoundChanged, TimerExpired
from qbft.diagram import MessageFlight
from qbft.replay.capture import CaptureError, unpack
from qbft.replay.charon import decode_dump
from qbft.replay.drawing import diagram_events
from qbft.replay.reading import read_records
from qbft.replay.record import InstanceRecord
from qbft.replay.running import replayed
from qbft.sim.plan import Liar
from qbft.wire.v1 import charon_pb2 as pb

CALM = records(plan())
SILENT = records(plan(Liar(0, "Silent"), seed=2))


def decisions(record: InstanceRecord) -> list[tuple[int, object]]:
    """(round, value) of what a replay decides."""
    effects = [effect for step in replayed(record) for effect in step.effects]
    return [(effect.round, effect.value) for effect in effects if isinstance(effect, Decide)]


@pytest.mark.parametrize("lives", [CALM, SILENT], ids=["one round", "several rounds"])
def test_a_dump_is_replayed_to_the_same_decision(lives: list[InstanceRecord]) -> None:
    """Messages alone, without timers and inputs: the engine decides what the node decided.

    The replay puts in a timer before an own ROUND-CHANGE for a later round, and the input before
    an own PRE-PREPARE, which are all that a dump leaves out.
    """
    told, is_dump = read_records(dump_of(lives))
    assert is_dump
    assert [record.instance for record in told] == [InstanceId(f"charon/{DUTY}", SLOT)] * len(lives)
    for record, life in zip(told, lives, strict=True):
        assert decisions(record) == decisions(life)
        given = [m for _, m in life.messages() if _.is_input]
        assert [message.type for _, message in record.messages()] == [m.type for m in given]


def test_a_timer_is_put_in_where_an_own_round_change_shows_one() -> None:
    """A node whose timer expired, and which was not pulled along, has one in its replay."""
    told = decode_dump(unpack(dump_of(SILENT)))
    expired = [e for r in told for e in r.inputs() if isinstance(e.what, TimerExpired)]
    changed = [
        effect
        for record in told
        for entry in record.inputs()
        for effect in entry.effects
        if isinstance(effect, RoundChanged)
    ]
    assert expired
    assert changed


def test_the_leaders_input_is_put_in() -> None:
    """An own PRE-PREPARE of round 1 shows what its sender's input was."""
    leader = decode_dump(unpack(dump_of(CALM)))[0]
    [given] = [e.what for e in leader.inputs() if isinstance(e.what, InputValue)]
    own = next(m for _, m in leader.messages() if m.type is MessageType.PRE_PREPARE)
    assert given.value == own.value


def test_a_dump_is_drawn() -> None:
    """With the dumps of several nodes in one file arrows have both ends."""
    events = diagram_events(decode_dump(unpack(dump_of(CALM))))
    flights = [event for event in events if isinstance(event, MessageFlight)]
    assert all(f.sent_ms is not None and f.received_ms is not None for f in flights)


def test_who_leads_may_be_said() -> None:
    """A dump does not say who leads: by slot, type and round, or whom its reader names."""
    data = dump_of(CALM, slot=SLOT + 1)
    by_rule, _ = read_records(data)
    told, _ = read_records(data, first_leader=0)
    assert {record.first_leader for record in by_rule} == {1}
    assert [decisions(record) for record in told] == [decisions(life) for life in CALM]
    with pytest.raises(CaptureError, match="none of them is 7"):
        read_records(data, first_leader=7)


def test_a_dump_by_hand_is_read_field_by_field() -> None:
    """The format as issue 7 has it, encoded without a schema: a wrong number in ours would show.

    Three nodes go on to round 2, one of them prepared in round 1; node 1 leads it and decides.
    """
    value, began_ms = b"\x11" * 32, 1_700_000_000_000
    changes = [bare(4, peer, 2, b"") for peer in (1, 2)] + [bare(4, 3, 2, b"", prepared=(1, value))]
    prepares = [bare(2, peer, 1, value) for peer in (1, 2, 3)]
    messages = [sniffed(began_ms + 1_000 + i, each) for i, each in enumerate(changes[:2])]
    messages += [sniffed(began_ms + 1_002, changes[2], *prepares)]
    messages += [sniffed(began_ms + 1_100, bare(1, 1, 2, value), *changes, *prepares)]
    messages += [sniffed(began_ms + 1_200 + p, bare(2, p, 2, value)) for p in (1, 2, 3)]
    messages += [sniffed(began_ms + 1_300 + p, bare(3, p, 2, value)) for p in (1, 2, 3)]
    [record], is_dump = read_records(dump_by_hand(2, 4, *messages))
    assert is_dump
    assert (record.instance, record.validator, record.nodes) == (
        InstanceId(f"charon/{DUTY}", SLOT),
        2,
        4,
    )
    assert record.opened_ms == began_ms
    told = [(entry.at_ms - began_ms, message) for entry, message in record.messages()]
    assert [at_ms for at_ms, _ in told] == [
        *(1_000, 1_001, 1_002, 1_100),
        *(1_201, 1_202, 1_203, 1_301, 1_302, 1_303),
    ]
    assert [(message.type, message.source, message.round) for _, message in told] == [
        *((MessageType.ROUND_CHANGE, peer, 2) for peer in (1, 2, 3)),
        (MessageType.PRE_PREPARE, 1, 2),
        *((MessageType.PREPARE, peer, 2) for peer in (1, 2, 3)),
        *((MessageType.COMMIT, peer, 2) for peer in (1, 2, 3)),
    ]
    prepared, proposed = told[2][1], told[3][1]
    assert (prepared.prepared_round, prepared.prepared_value) == (1, value)
    assert [message.type for message in prepared.justification] == [MessageType.PREPARE] * 3
    assert len(proposed.justification) == 6
    assert decisions(record) == [(2, value)]


def broken(**changes: int) -> bytes:
    """A dump of one message with this changed in it."""
    dump = pb.SniffedConsensusInstances.FromString(unpack(dump_of(CALM[:1])))
    one = dump.instances[0]
    del one.msgs[1:]
    for name, value in changes.items():
        if name in ("nodes", "own"):
            setattr(one, "nodes" if name == "nodes" else "peer_idx", value)
        elif name in ("slot", "duty"):
            setattr(one.msgs[0].msg.msg.duty, "slot" if name == "slot" else "type", value)
        elif name == "seconds":
            one.msgs[0].timestamp.seconds = value
        else:
            setattr(one.msgs[0].msg.msg, name, value)
    return gzip.compress(dump.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nodes": 0}, "node 0 of 0"),
        ({"nodes": 1_000_000}, "of 1000000"),
        ({"own": -1}, "node -1 of 4"),
        ({"type": 9}, "a message of type 9"),
        ({"peer_idx": 4}, "a message of node 4 of 4"),
        ({"round": 0}, "a round out of range"),
        ({"round": 1 << 40}, "a round out of range"),
        ({"prepared_round": -5}, "a round out of range"),
        ({"slot": (1 << 64) - 1}, "a duty out of range"),
        ({"duty": -1}, "a duty out of range"),
        ({"seconds": -1}, "a time out of range"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, int], told: str) -> None:
    """No index, round, duty or time of a dump is trusted."""
    with pytest.raises(CaptureError, match=told):
        read_records(broken(**changes))


def test_messages_of_two_duties_are_refused() -> None:
    """An instance is one agreement: what belongs to another is no part of it."""
    dump = pb.SniffedConsensusInstances.FromString(unpack(dump_of(CALM[:1])))
    dump.instances[0].msgs[1].msg.msg.duty.slot += 1
    with pytest.raises(CaptureError, match="two duties in one instance"):
        decode_dump(dump.SerializeToString())


def test_a_round_far_ahead_costs_little() -> None:
    """An own ROUND-CHANGE of round 2^31-1 does not make the replay count up to it."""
    told, _ = read_records(broken(type=4, peer_idx=0, round=(1 << 31) - 1))
    assert len(told[0].entries) < 100


PLAIN = unpack(dump_of(CALM[:1]))


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 1 << 20), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_dump_is_an_error_or_a_replay(place: int, bits: int, cut: bool) -> None:
    """A flipped byte or a cut anywhere in it: never another exception, in reading or replaying."""
    plain = bytearray(PLAIN)
    place %= len(plain)
    plain[place] ^= bits
    with contextlib.suppress(CaptureError):
        for record in decode_dump(bytes(plain[:place] if cut else plain)):
            assert len(list(replayed(record))) == len(record.entries)
