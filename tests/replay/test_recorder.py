"""The recorder keeps what came and what the engine did (issue 7; DESIGN, bounds)."""

from __future__ import annotations

import tracemalloc

import pytest
from recorded_runs import FIRST, plan, played, record_of, recorder, records, tell, vote
from replica_builders import COMMIT, PP, PREPARE, Rig, own_section, proposal
from replica_builders import vote as signed_vote

from qbft.core import (
    Broadcast,
    Decide,
    InputValue,
    InstanceId,
    Message,
    MessageType,
    Proof,
    RuleFired,
    Start,
    TimerExpired,
    UponRule,
)
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.replay.record import Resumed, TimerSet
from qbft.replay.running import replayed
from qbft.replay.words import effects_in_words
from qbft.sim.plan import Crash, Liar
from qbft_server.telemetry.recorder import ENTRY_BYTES, LEAN_BYTES, Recorder

MIB = 1 << 20


def heights(kept: Recorder, topic: str) -> list[int]:
    """Of which heights of a topic there is something."""
    return sorted(r.instance.height for r in kept.latest(10_000) if r.instance.topic == topic)


def test_every_node_keeps_what_it_was_given_and_what_its_engine_did() -> None:
    """A run that decides in round 1 leaves its inputs, the rules that fired and the decision.

    Every vote with who sent it, the timer too, all in order; the decision's COMMITs are not held
    twice.
    """
    fired: set[str] = set()
    for validator, record in enumerate(records(plan())):
        assert record.validator == validator
        assert record.is_whole
        assert record.opened_ms is not None
        assert record.closed_ms is not None
        assert [e.at_ms for e in record.entries] == sorted(e.at_ms for e in record.entries)
        inputs = list(record.inputs())
        assert isinstance(inputs[0].what, Start)
        assert any(isinstance(entry.what, InputValue) for entry in inputs)
        assert any(isinstance(entry.what, TimerSet) for entry in record.entries)
        assert all(entry.sender == message.source for entry, message in record.messages())
        effects = [effect for entry in inputs for effect in entry.effects]
        fired |= {effect.rule.value for effect in effects if isinstance(effect, RuleFired)}
        [decided] = [effect for effect in effects if isinstance(effect, Decide)]
        assert decided.commits == ()
    assert fired == {"justified_pre_prepare", "quorum_prepares", "quorum_commits"}


def test_a_restarted_node_keeps_from_what_it_went_on() -> None:
    """After a crash the record begins with the journaled votes it resumed from (HARDENING W5)."""
    kept = played(plan(Crash(1, at_ms=25, down_ms=300), seed=3))[1]
    first = record_of(kept).entries[0].what
    assert isinstance(first, Resumed)
    assert record_of(kept).is_whole


def test_a_justification_is_kept_once() -> None:
    """A ROUND-CHANGE or PRE-PREPARE nests votes: among the effects it stands without them."""
    whole = records(plan(Liar(0, "Silent"), seed=2))
    casts = [
        effect.message
        for record in whole
        for entry in record.entries
        for effect in entry.effects
        if isinstance(effect, Broadcast)
    ]
    assert any(message.round > 1 for message in casts)
    assert not any(message.justification for message in casts)
    assert any(m.justification for record in whole for _, m in record.messages())
    assert any(isinstance(e.what, TimerExpired) for e in whole[1].inputs())


async def test_what_is_refused_is_kept_with_its_reason() -> None:
    """What the engine did not get is kept with the peer that sent it, and why.

    Bad signatures, votes for what is not open yet, and votes that come too late.
    """
    kept = recorder(0)
    rig = Rig(0, observer=kept)
    what = proposal()
    forged = signed_vote(PREPARE, 2, what, sequence=7)
    rig.receive(1, own_section(signed_vote(PREPARE, 1, what)))
    rig.receive(3, relayed=(Message(COMMIT, what.instance, 2, 1, what.digest),))
    rig.propose(what)
    for source in (1, 2, 3):
        rig.receive(source, own_section(signed_vote(COMMIT, source, what)))
    rig.receive(1, own_section(signed_vote(PREPARE, 1, what)))
    rig.receive(2, relayed=(forged,))
    record = record_of(kept, what.instance)
    aside = [(e.put_aside, e.sender, m.source) for e, m in record.messages() if e.put_aside]
    assert aside == [
        ("held", 1, 1),
        ("bad_vote_signature", 3, 2),
        ("late", 1, 1),
    ]


async def test_a_message_that_waits_for_its_bytes_is_kept_as_waiting() -> None:
    """A PRE-PREPARE whose value is not here yet is put aside, and given to the engine later."""
    kept = recorder(1)
    rig = Rig(1, observer=kept)
    ours, theirs = proposal(b"ours"), proposal(b"theirs")
    rig.propose(ours)
    rig.receive(0, own_section(signed_vote(PP, 0, theirs)))
    rig.receive(0, proposals=(theirs,))
    met = [
        (e.put_aside, m.type) for e, m in record_of(kept, ours.instance).messages() if m.type is PP
    ]
    assert met == [("awaits_value", PP), ("", PP)]


@pytest.mark.parametrize("bytes_max", [64 << 10, MIB])
def test_all_of_it_together_is_bounded(bytes_max: int) -> None:
    """Whatever it is told, it never occupies more than its bound; what goes is counted."""
    kept = recorder(bytes_max=bytes_max)
    for height in range(300):
        tell(kept, InstanceId("t", height), opener=height % 4, finished=height % 3 > 0)
        assert kept.bytes <= bytes_max
    assert kept.instances_dropped == 300 - len(kept)


def test_the_oldest_finished_instance_goes_first() -> None:
    """Of one owner's instances the finished ones go, as they finished; open ones stay."""
    kept = recorder(bytes_max=MIB)
    tell(kept, InstanceId("open", 0), opener=0, finished=False)
    for height in range(200):
        tell(kept, InstanceId("t", height), opener=0)
    assert heights(kept, "open") == [0]
    left = heights(kept, "t")
    assert left == list(range(200 - len(left), 200))
    assert len(left) > 20


def test_who_opens_many_instances_takes_the_place_of_its_own() -> None:
    """A liar opens thousands of instances, in which honest validators vote too.

    Those that others have opened stay, as long as these have no more than an equal share.
    """
    kept = recorder(bytes_max=MIB)
    for height in range(10):
        tell(kept, InstanceId("honest", height), opener=1)
    for height in range(2_000):
        tell(kept, InstanceId("liar", height), opener=3, finished=height % 2 > 0)
    assert heights(kept, "honest") == list(range(10))


def test_naming_an_instance_early_does_not_make_it_ones_own() -> None:
    """A liar votes ahead in instances that others open later: they are the openers' from then on.

    What the liar has too much of takes none of them along.
    """
    kept = recorder(bytes_max=MIB)
    for height in range(10):
        instance = InstanceId("honest", height)
        kept.put_aside(instance, 3, vote(3, instance), "held", 0)
        tell(kept, instance, opener=1)
    for height in range(2_000):
        instance = InstanceId("liar", height)
        kept.put_aside(instance, 3, vote(3, instance), "held", 0)
    assert heights(kept, "honest") == list(range(10))


def test_a_flood_within_an_instance_makes_way_for_itself() -> None:
    """A peer that sends without end into one instance drops its own oldest messages.

    The others' stay, and how much went is said.
    """
    kept = recorder(bytes_max=MIB)
    tell(kept, FIRST, opener=1, finished=False)
    for round_ in range(2, 1_000):
        kept.stepped(FIRST, 3, vote(3, FIRST, round_=round_), (), 0)
    record = record_of(kept)
    assert {m.source for _, m in record.messages()} == {0, 1, 2, 3}
    assert [m.round for e, m in record.messages() if e.sender == 3][-1] == 999
    assert record.dropped > 900
    assert not record.is_whole


def test_a_peer_that_floods_every_instance_is_kept_short() -> None:
    """Above twice an equal share of the whole a peer has room for eight votes in an instance.

    So it does not crowd out the instances that it floods.
    """
    kept = recorder(bytes_max=4 * MIB)
    for height in range(150):
        instance = InstanceId("t", height)
        tell(kept, instance, opener=height % 3, finished=False)
        for round_ in range(2, 40):
            kept.stepped(instance, 3, vote(3, instance, round_=round_), (), 0)
        kept.closed(instance, 0)
    entries = record_of(kept, InstanceId("t", 149)).messages()
    flooded = [message for entry, message in entries if entry.sender == 3]
    assert 0 < len(flooded) <= LEAN_BYTES // ENTRY_BYTES
    assert len(kept) > 100


def test_a_message_above_its_senders_room_is_kept_without_what_it_nests() -> None:
    """A justification larger than any honest one is left out, and it is said how large it was."""
    kept = recorder(bytes_max=MIB)
    nested = tuple(vote(source % 4, FIRST, MessageType.PREPARE) for source in range(500))
    kept.stepped(FIRST, 2, vote(2, FIRST, MessageType.ROUND_CHANGE, nested=nested), (), 0)
    [(entry, message)] = record_of(kept).messages()
    assert entry.cut == 500
    assert message.justification == ()
    assert not record_of(kept).is_whole


def test_what_comes_late_begins_no_record() -> None:
    """A late vote for what is decided, and recorded no more, does not push out something else."""
    kept = recorder()
    kept.put_aside(FIRST, 1, vote(1, FIRST), "late", 0)
    kept.closed(FIRST, 0)
    assert kept.snapshot(FIRST, 0) is None
    assert len(kept) == 0
    assert kept.bytes == 0


def test_the_latest_come_first() -> None:
    """The instances of which there is something, so many of them, the newest first."""
    kept = recorder()
    for height in range(5):
        tell(kept, InstanceId("t", height), opener=1)
    assert [r.instance.height for r in kept.latest(3)] == [4, 3, 2]


def test_an_instance_that_is_opened_once_more_is_open_again() -> None:
    """A node whose engines were all closed, and which votes again, goes on in the same record."""
    kept = recorder(bytes_max=MIB)
    tell(kept, FIRST, opener=0)
    tell(kept, FIRST, opener=0, finished=False)
    record = record_of(kept)
    assert record.closed_ms is None
    assert sum(isinstance(entry.what, Start) for entry in record.entries) == 2
    done = [w for step in replayed(record, compare=False) for w in effects_in_words(step.effects)]
    assert not any("fails" in words for words in done)
    for height in range(200):
        tell(kept, InstanceId("t", height), opener=0)
    assert heights(kept, "sim") == [0]


def signed_commit(number: int) -> Message:
    """A COMMIT signed in a batch of 256, of which nothing is shared with another."""
    byte = bytes([number % 256])
    header = BatchHeader(byte * 16, number, byte * 64)
    path = tuple(byte * 31 + bytes([level]) for level in range(8))
    proof = Proof(VoteSignature(header, 256, 1, path))
    return Message(COMMIT, FIRST, number % 4, 1, byte * 32, proof=proof)


def test_what_it_counts_is_not_less_than_what_it_takes() -> None:
    """Votes with signatures of full batches, one object each: memory grows by no more."""
    kept = recorder()
    tracemalloc.start()
    try:
        for number in range(2_000):
            message = signed_commit(number)
            fired = (RuleFired(UponRule.QUORUM_COMMITS, number + 1_000),)
            instance = InstanceId("t", number // 8)
            kept.stepped(instance, message.source, message, fired, number + 1_000)
            del message, fired, instance
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept.entries_dropped == 0
    assert kept.bytes // 4 < taken <= kept.bytes
