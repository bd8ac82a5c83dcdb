"""Bugs, own and others': quarantine, the alarm, and own votes that were never cast (DESIGN)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    definition,
    instance,
    kinds,
    new_disk,
    own_section,
    proposal,
    records_of,
    round_change,
    vote,
)

from qbft.core import Failed, Instance, Message, Proof
from qbft.core.messages import Definition
from qbft.errors import InvariantViolation, QbftError
from qbft.replica.protocols import QuarantineRecord
from qbft.replica.replica import Replica
from qbft.sim.authenticator import SimAuthenticator
from qbft.timers import exponential

V, W = proposal(b"v"), proposal(b"w")


def break_engine(monkeypatch: pytest.MonkeyPatch, how: object) -> None:
    """Let every engine meet a bug at a ROUND-CHANGE of validator 3."""
    step = Instance.step

    def broken(engine: Instance, input_: object) -> object:
        if isinstance(input_, Message) and input_.source == 3:
            if isinstance(how, Exception):
                raise how
            return (how,)
        return step(engine, input_)

    monkeypatch.setattr(Instance, "step", broken)


@pytest.mark.parametrize("how", [ZeroDivisionError("a bug"), Failed("a bug")])
def test_a_bug_in_one_engine_ends_that_instance_only(
    how: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN, errors: journaled, no further vote, alarm; all honest nodes may have got the same."""
    break_engine(monkeypatch, how)
    rig = Rig(1)
    other = proposal(b"v", 1)
    rig.receive(2, proposals=(V, other))
    turn = rig.receive(3, own_section(round_change(3, 2)))
    (record,) = records_of(turn, lambda r: isinstance(r, QuarantineRecord))
    assert record.instance == instance()
    assert "a bug" in record.reason
    assert rig.rejected == [("instance_quarantined", 1)]
    rig.receive(0, own_section(vote(PP, 0, V)))
    assert [own for own in rig.wait(1_000) if kinds(own)]
    assert {own.instance.height for own in votes_of(rig)} == {1}


def votes_of(rig: Rig) -> list[Message]:
    """All own votes of a rig."""
    return [r.vote for turn in rig.turns for r in turn.records if hasattr(r, "vote")]


async def test_a_quarantine_outlives_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journaled: no further vote, in the next life either; a client is told."""
    break_engine(monkeypatch, ZeroDivisionError("a bug"))
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    rig.receive(3, own_section(vote(PREPARE, 3, V)))
    again = rig.restart()
    assert again.replica.status().open_instances == 0
    again.receive(2, proposals=(V,))
    again.receive(0, own_section(vote(PP, 0, V)))
    assert kinds(again.wait(5_000)) == []
    with pytest.raises(QbftError, match="does not vote in"):
        again.replica.propose(V, 0)


def test_a_bug_while_resuming_ends_that_instance_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node must not fail at every start over one instance (SCENARIOS K23: no crash loop)."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))

    def broken(*given: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Instance, "resume", broken)
    again = rig.restart()
    turn = again.turn()
    assert records_of(turn, lambda r: isinstance(r, QuarantineRecord))
    assert again.replica.status().open_instances == 0


def test_a_vote_that_contradicts_the_journal_stops_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DESIGN, errors: a bug that the guard meets is not one instance's business."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V, W)))
    (opened,) = rig.replica._open.values()
    forget = Instance(definition(), instance(), 1)
    monkeypatch.setattr(opened, "_engine", forget)
    with pytest.raises(InvariantViolation, match="two contents of PREPARE"):
        rig.receive(0, own_section(vote(PP, 0, W)))


def test_a_comparison_is_refused_where_votes_are_journaled() -> None:
    """HARDENING D7: one flip of a comparison breaks its safety argument."""
    disk = new_disk()
    with pytest.raises(InvariantViolation, match="comparison"):
        Replica(
            definition=Definition(4, lambda which, round_: 0, compares=True),
            validator=0,
            authenticator=SimAuthenticator(0, 4),
            journal=disk,
            store=disk,
            timers=exponential(),
        )


def test_own_votes_that_come_back_are_nothing_new() -> None:
    """A peer may relay them, or nest them; they were counted when they were cast."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    rig.receive(2, relayed=(vote(PREPARE, 1, V),))
    assert rig.rejected == []
    assert kinds(rig.turns) == [("PREPARE", 1)]


@pytest.mark.parametrize("is_open", [True, False])
def test_an_own_vote_that_was_never_cast_is_counted(*, is_open: bool) -> None:
    """W8: one's own genuine vote that is not in the journal: a lost disk, or a second process."""
    rig = Rig(1)
    if is_open:
        rig.receive(2, proposals=(V,))
    rig.receive(2, relayed=(vote(COMMIT, 1, W),))
    assert rig.rejected == [("own_vote_never_cast", 2)]
    assert kinds(rig.turns) == []


def test_a_forged_own_vote_is_just_forged() -> None:
    """A liar cannot raise that alarm."""
    rig = Rig(1)
    rig.receive(2, relayed=(replace(vote(COMMIT, 1, W), proof=Proof()),))
    assert rig.rejected == [("bad_vote_signature", 2)]


def test_forged_votes_are_counted_and_do_nothing() -> None:
    """SCENARIOS F3, F15: in the own section all must be the peer's, and signed by it."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    forged = replace(vote(PREPARE, 3, V), proof=Proof())
    rig.receive(3, own_section(forged))
    rig.receive(3, own_section(vote(PREPARE, 0, V)))
    rig.receive(3, relayed=(forged,))
    change = round_change(3, 2, prepared=V)
    nested = (*change.justification[:2], replace(change.justification[2], proof=Proof()))
    rig.receive(3, own_section(replace(change, justification=nested)))
    assert rig.rejected == [
        ("bad_section_signature", 3),
        ("bad_section_signature", 3),
        ("bad_vote_signature", 3),
        ("bad_justification_signature", 3),
    ]
    assert kinds(rig.turns) == []


def test_a_stranger_is_not_heard() -> None:
    """Frames of what is no peer, oneself included, change nothing."""
    rig = Rig(1)
    for stranger in (1, 4, -1):
        rig.receive(stranger, proposals=(V,))
    assert rig.replica.status().open_instances == 0
    assert rig.replica.status().peers_heard == {}


def test_the_state_says_who_was_heard() -> None:
    """GetStatus tells when each peer's last frame came."""
    rig = Rig(1)
    rig.now = 5
    rig.receive(2, proposals=(V,))
    assert rig.replica.status().peers_heard == {2: 5}
