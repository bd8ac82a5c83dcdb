"""Below a low-water mark nothing is voted on again, whoever asks for it (DESIGN, retention)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    run_now,
    sent_to,
    vote,
    votes,
)

from qbft.errors import BelowLowWaterMark
from qbft.replica.protocols import DecisionRecord, MarkRecord, QuarantineRecord

V, W = proposal(b"v", 4), proposal(b"w", 4)
MARK = MarkRecord("t", 5)


def compacted() -> Rig:
    """Validator 1, which had decided v at height 4, and keeps the topic from height 5 on."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(3, certificates=(certificate(V),))
    assert rig.disk.get(instance(4)).value == b"v"
    run_now(rig.disk.commit([MARK]))
    return rig


@pytest.mark.parametrize("restarts", [False, True])
def test_old_messages_replayed_start_nothing(restarts: bool) -> None:
    """SCENARIOS K28: an instance that was compacted is not run again, in this life or the next."""
    rig = compacted()
    if restarts:
        rig = rig.restart()
    before = len(rig.turns)
    rig.receive(0, own_section(vote(PP, 0, W), vote(PREPARE, 0, W), proposals=(W,)))
    rig.receive(2, own_section(vote(PREPARE, 2, W)))
    for source in (0, 2, 3):
        rig.receive(source, relayed=(round_change(source, 2, instance(4)),))
    rig.receive(0, relayed=votes(COMMIT, (0, 2, 3), W))
    rig.receive(2, certificates=(certificate(W),), proposals=(W,))
    rig.receive(2, wanted_decisions=(instance(4),))
    rig.wait(5_000)
    assert kinds(rig.turns[before:]) == []
    assert not any(turn.records for turn in rig.turns[before:])
    assert not rig.replica.is_open(instance(4))
    assert rig.replica.status().held_votes == 0
    assert sent_to(rig.turns[before:], 2, "certificates") == []


async def test_a_client_is_told_where_the_mark_is() -> None:
    """SCENARIOS K28: a proposal below it is refused, with the lowest height that is kept."""
    rig = compacted()
    with pytest.raises(BelowLowWaterMark, match="from height 5 on") as refused:
        rig.propose(W)
    assert refused.value.mark == 5
    rig.propose(proposal(b"next", 5))
    assert kinds(rig.turns[-1]) == [("PRE_PREPARE", 1), ("PREPARE", 1)]


def test_votes_that_wait_are_let_go_when_the_mark_passes_them() -> None:
    """What was held for an instance before must not open it afterwards."""
    rig = Rig(1)
    rig.receive(2, relayed=(round_change(2, 2, instance(4)),))
    assert rig.replica.status().held_votes == 1
    run_now(rig.disk.commit([MARK]))
    rig.receive(3, relayed=(round_change(3, 2, instance(4)),))
    rig.receive(3, proposals=(V,))
    assert rig.replica.status().held_votes == 0
    assert not rig.replica.is_open(instance(4))
    assert kinds(rig.turns) == []


def test_no_mark_may_pass_what_is_open_or_on_its_way() -> None:
    """The store asks the replica: open, decided without bytes, and all that the journal has."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    assert list(rig.replica.undecided()) == [instance(4)]
    bare = proposal(b"x", 7)
    rig.receive(3, certificates=(certificate(bare),))
    assert set(rig.replica.undecided()) == {instance(4), instance(7)}
    rig.receive(3, proposals=(bare,), certificates=(certificate(V),))
    assert list(rig.replica.undecided()) == []


def test_an_abandoned_instance_is_not_resumed() -> None:
    """The operator's word ends its votes there; others' quorum still decides it."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    run_now(rig.disk.commit([QuarantineRecord(instance(4), "given up", abandoned=True)]))
    again = rig.restart()
    assert list(again.replica.undecided()) == []
    again.receive(2, own_section(vote(PREPARE, 2, V)))
    assert kinds(again.turns) == []
    again.receive(2, relayed=votes(COMMIT, (0, 2, 3), V), proposals=(V,))
    again.receive(2, proposals=(V,))
    assert again.disk.get(instance(4)).value == b"v"
    assert any(isinstance(r, DecisionRecord) for turn in again.turns for r in turn.records)
