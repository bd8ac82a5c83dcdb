"""Rounds meet again: a node that is ahead waits for a quorum (SCENARIOS I9, found by simulation).

With timers at their cap all rounds last the same. At most F nodes that are a round ahead of the
others pull nobody along (Algorithm 3:5 wants F+1), and would stay ahead for ever.
"""

from __future__ import annotations

from replica_builders import (
    Rig,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    signed_by,
)

from qbft.core.messages import ROUND_MAX

V = proposal(b"v")


def lone_rig() -> Rig:
    """Validator 3 of four, alone in round 2 since 1 s of its clock."""
    rig = Rig(3)
    rig.receive(2, proposals=(V,))
    rig.wait(1_000)
    assert kinds(rig.turns) == [("ROUND_CHANGE", 2)]
    return rig


def test_a_node_that_is_ahead_waits() -> None:
    """Its rounds do not run on while no quorum is with it."""
    rig = lone_rig()
    rig.wait(60_000)
    rig.receive(0, own_section(round_change(0, 2)))
    rig.wait(60_000)
    assert kinds(rig.turns) == [("ROUND_CHANGE", 2)]


def test_a_round_begins_when_a_quorum_is_in_it() -> None:
    """Then it lasts as long as its timer says, from that moment on."""
    rig = lone_rig()
    rig.wait(60_000)
    rig.receive(0, own_section(round_change(0, 2)))
    rig.receive(2, own_section(round_change(2, 2)))
    rig.wait(1_999)
    assert kinds(rig.turns)[-1] == ("ROUND_CHANGE", 2)
    rig.wait(1)
    assert kinds(rig.turns)[-1] == ("ROUND_CHANGE", 3)


def test_who_is_beyond_the_round_is_company_too() -> None:
    """The hindmost correct node always has company: it is bound to follow."""
    rig = lone_rig()
    rig.receive(0, own_section(round_change(0, 5)))
    rig.receive(2, own_section(round_change(2, 2)))
    rig.wait(2_000)
    assert ("ROUND_CHANGE", 3) in kinds(rig.turns)


def test_after_the_last_round_comes_no_other() -> None:
    """SCENARIOS C18: a round that cannot be written would make the journal unreadable.

    With three nodes there is no f+1 of which one is honest: one ROUND-CHANGE pulls everybody along.
    """
    rig = Rig(1, nodes=3)
    rig.receive(0, own_section(round_change(0, ROUND_MAX)))
    for source in (0, 2):
        rig.receive(source, own_section(round_change(source, ROUND_MAX)))
    assert {own.round for own in signed_by(rig.turns)} == {ROUND_MAX}
    for _ in range(6):
        rig.wait(70_000)
    assert {own.round for own in signed_by(rig.turns)} == {ROUND_MAX}
    assert rig.replica.is_open(instance())
