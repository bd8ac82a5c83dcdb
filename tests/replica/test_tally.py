"""What a replica counts of its work, for metrics (issue "See it, run it", metrics)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    own_section,
    proposal,
    round_change,
    vote,
    votes,
)

from qbft.core import MessageType
from qbft.distribution import Distribution
from qbft.replica.tally import PROPOSAL

V = proposal(b"v")


def decide(rig: Rig, round_: int = 1, leader: int = 0) -> None:
    """Let the others vote until it is decided: each kind of vote 10, 20 and 40 ms later."""
    rig.now += 10
    rig.receive(leader, own_section(vote(PP, leader, V, round_)))
    rig.now += 20
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V, round_)))
    rig.now += 40
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, V, round_)))


def test_numbers_fall_between_the_bounds() -> None:
    """As Prometheus counts: an upper end belongs to its bucket, the last has none."""
    some = Distribution((1, 2.5))
    for number in (0, 1, 1.5, 2.5, 3):
        some.add(number)
    assert (some.counts, some.sum) == ([2, 2, 1], 8)


def test_a_decision_tells_its_round_and_how_long_each_phase_took() -> None:
    """From opening to PRE-PREPARE, to prepared, to decided, as seen here."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    decide(rig)
    tally = rig.replica.tally
    assert (tally.opened, tally.by_quorum, tally.by_certificate, tally.unopened) == (1, 1, 0, 0)
    assert tally.rounds.sum == 1
    assert [tally.accepted_ms.sum, tally.prepared_ms.sum, tally.decided_ms.sum] == [10, 20, 40]


def test_the_round_that_decides_counts_and_the_lost_ones_are_waiting() -> None:
    """Where rounds change, accepting takes long; a timer that waits for company has not run out."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    rig.wait(1_000)
    assert rig.replica.tally.expired == 1
    rig.wait(5_000)
    assert rig.replica.tally.expired == 1  # it is alone in its round
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 2)))
    decide(rig, 2, leader=1)
    tally = rig.replica.tally
    assert tally.rounds.sum == 2
    assert [tally.accepted_ms.sum, tally.prepared_ms.sum, tally.decided_ms.sum] == [6_000, 30, 40]


def test_what_is_learnt_has_no_phases() -> None:
    """Neither has what a certificate decides, open here or not, nor what began before a restart."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    rig.receive(3, certificates=(certificate(proposal(b"w", 4), (0, 2, 3), 7),))
    tally = rig.replica.tally
    assert (tally.by_quorum, tally.by_certificate, tally.unopened) == (0, 1, 1)
    assert tally.rounds.sum == 8
    before = Rig(1)
    before.receive(0, proposals=(V,))
    again = before.restart()
    decide(again)
    assert (again.replica.tally.opened, again.replica.tally.by_quorum) == (0, 1)
    assert [sum(each.counts) for each in (tally.decided_ms, again.replica.tally.decided_ms)] == [
        0,
        0,
    ]


def test_messages_are_counted_by_type_and_sender() -> None:
    """Each copy: re-sent ones too, and one for all peers once for each; what is nested is not."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    change = round_change(3, 2, prepared=V, prepares=(0, 2, 3))
    rig.receive(2, relayed=(*votes(PREPARE, (0, 3), V), change))
    rig.receive(2, certificates=(certificate(V, (0, 2, 3)),))
    tally = rig.replica.tally
    received = {
        (peer, slot): count
        for peer, slots in tally.received.items()
        for slot, count in enumerate(slots)
        if count
    }
    assert received == {
        (0, PP): 1,
        (0, PROPOSAL): 1,
        (2, PREPARE): 2,
        (2, MessageType.ROUND_CHANGE): 1,
        (2, MessageType.DECIDED): 1,
    }
    assert tally.sent[PREPARE] == 3


@pytest.mark.parametrize("peer", [0, 2])
def test_what_waits_is_told_by_peer(peer: int) -> None:
    """Whose votes are held, who opened what, and how far a peer's feed is read."""
    rig = Rig(1)
    rig.receive(peer, own_section(vote(PREPARE, peer, proposal(b"w", 9))))
    rig.receive(peer, proposals=(V,))
    depths = rig.replica.depths()
    told = depths.by_peer[peer]
    assert (told.held_votes, told.opened_instances, told.waiting_work) == (1, 1, 0)
    assert [each.held_votes for index, each in depths.by_peer.items() if index != peer] == [0, 0]
    rig.receive(peer, certificates=(certificate(proposal(b"u", 8), (0, 2, 3)),))
    assert rig.replica.depths().bare == 1
