"""Peers who are left unread: what is not read costs nothing (HARDENING U7)."""

from __future__ import annotations

import pytest
from replica_builders import COMMIT, PREPARE, Rig, proposal, vote

from qbft.replica.limits import ReplicaLimits
from qbft.transport import Frame, Memory

V = proposal(b"v")


@pytest.mark.bites("waste_work_max")
def test_who_wastes_work_is_left_unread() -> None:
    """HARDENING U7: what a liar sends costs time to read, even if nothing of it is taken.

    It is read again when its time has come, whether or not there was a turn meanwhile.
    """
    rig = Rig(1, limits=ReplicaLimits(waste_work_max=10, waste_work_per_ms=1))
    rig.replica.note_waste(3, 110, 0)
    assert not rig.replica.takes_from(3, 50)
    assert rig.replica.takes_from(2, 50)
    assert rig.replica.takes_from(3, 101)


def test_of_whom_much_waits_no_more_is_read() -> None:
    """Frames that wait unread cost nothing; those that are read and dropped cost their reading."""
    limits = ReplicaLimits(turn_work_max=4, waiting_work_per_peer_max=40)
    rig = Rig(1, limits=limits)
    for height in range(4):
        votes = tuple(vote(PREPARE, 3, proposal(b"%d" % i, height)) for i in range(6))
        rig.replica.receive(3, Frame(relayed=votes), 0)
    assert not rig.replica.takes_from(3, 0)
    rig.settle()
    assert rig.replica.takes_from(3, 0)
    assert not [reason for reason, _ in rig.rejected if reason == "overloaded"]


@pytest.mark.bites("held_votes_per_peer_max", "waste_work_max")
def test_who_floods_with_votes_for_nothing_is_left_unread() -> None:
    """SCENARIOS C17: genuine votes for instances that nobody opens; those that make way are waste.

    As many as there is room for cost their sender nothing.
    """
    limits = ReplicaLimits(held_votes_per_peer_max=20, waste_work_max=5, waste_work_per_ms=0.1)
    rig = Rig(1, limits=limits)
    for height in range(20):
        rig.receive(3, votes=(vote(COMMIT, 3, proposal(b"v", height)),))
    assert rig.replica.takes_from(3, rig.now)
    for height in range(20, 30):
        rig.receive(3, votes=(vote(COMMIT, 3, proposal(b"v", height)),))
    assert not rig.replica.takes_from(3, rig.now)
    assert rig.replica.takes_from(2, rig.now)


@pytest.mark.parametrize(
    "frame",
    [Frame(), Frame(memory=Memory(0, 1, False, False, 0), relayed=(vote(PREPARE, 0, V),) * 40)],
)
def test_what_nobody_asked_for_is_held_against_its_sender(frame: Frame) -> None:
    """HARDENING U7: empty frames, and memories that nobody wants, have to be read all the same."""
    rig = Rig(1, limits=ReplicaLimits(waste_work_max=50, waste_work_per_ms=1))
    for _ in range(60):
        rig.replica.receive(3, frame, rig.now)
        rig.turn()
    assert not rig.replica.takes_from(3, rig.now)
    assert rig.replica.takes_from(2, rig.now)
    why = "nothing_said" if frame.memory is None else "nothing_asked"
    assert {reason for reason, peer in rig.rejected if peer == 3} >= {why}
