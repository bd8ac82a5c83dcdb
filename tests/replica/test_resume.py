"""A restart in the middle of an instance (HARDENING W5; SCENARIOS K2 to K12, K15, K16)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    carry_until_decided,
    certificate,
    instance,
    kinds,
    link_all,
    new_disk,
    own_section,
    proposal,
    round_change,
    run_now,
    sent_to,
    signed_by,
    vote,
)

from qbft.errors import ProposalConflict
from qbft.replica.policy import TopicPolicy
from qbft.replica.protocols import ProposalRecord

V, W = proposal(b"v"), proposal(b"w")
OWN_ONLY = TopicPolicy(adopts=False)


def prepared_rig() -> Rig:
    """Validator 1, which has PREPAREd and COMMITted v in round 1."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    turn = rig.receive(2, own_section(vote(PREPARE, 2, V)))
    assert kinds(rig.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    assert kinds(turn) == [("COMMIT", 1)]
    return rig


def test_it_sends_the_very_votes_of_before_again() -> None:
    """SCENARIOS K2, K3, K5: a restarted node re-sends its votes, byte-identical."""
    rig = prepared_rig()
    before = signed_by(rig.turns)
    again = rig.restart()
    again.replica.link_up(3, again.now)
    sent = sent_to(again.turn(), 3, "relayed")
    assert sent == before
    assert [own.proof.signature for own in sent] == [own.proof.signature for own in before]


def test_it_does_not_vote_for_another_value_in_the_round() -> None:
    """SCENARIOS K2: no second PREPARE, even if the leader equivocates afterwards."""
    again = prepared_rig().restart()
    again.receive(0, own_section(vote(PP, 0, W), proposals=(W,)))
    assert kinds(again.turns) == []


def test_its_next_round_change_carries_what_it_prepared() -> None:
    """SCENARIOS K4 to K6: the COMMIT binds it over the restart (W3)."""
    again = prepared_rig().restart()
    (change,) = signed_by(again.wait(1_000))
    assert (change.round, change.prepared_round, change.prepared_value) == (2, 1, V.digest)
    assert {nested.source for nested in change.justification} >= {0, 1, 2}


def test_it_keeps_to_its_round() -> None:
    """SCENARIOS K7 to K9: no vote below a ROUND-CHANGE that was sent."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    assert kinds(rig.wait(1_000)) == [("ROUND_CHANGE", 2)]
    again = rig.restart()
    again.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    assert kinds(again.turns) == []
    again.replica.link_up(0, again.now)
    assert [own.round for own in sent_to(again.turn(), 0, "relayed")] == [2]


async def test_a_restored_leader_never_signs_a_second_pre_prepare() -> None:
    """SCENARIOS K10 to K12: another client's input after the restart is not proposed in the round.

    The input is journaled too, so that its own client is told of the conflict (W1, G4).
    """
    rig = Rig(0)
    rig.propose(V)
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]
    again = rig.restart()
    with pytest.raises(ProposalConflict):
        again.replica.propose(W, again.now)
    again.turn()
    again.receive(2, proposals=(W,))
    assert kinds(again.turns) == []
    again.replica.link_up(2, again.now)
    turn = again.turn()
    assert sent_to(turn, 2, "relayed") == signed_by(rig.turns)
    assert sent_to(turn, 2, "proposals") == [V]


def test_a_leader_that_had_no_input_yet_may_still_propose() -> None:
    """W5: without an own vote it is started as new, then given what is journaled."""
    rig = Rig(1, policies=lambda topic: OWN_ONLY)
    rig.receive(0, proposals=(V,))
    again = rig.restart()
    assert again.replica.status().open_instances == 0
    assert kinds(again.turns) == []


def test_leaders_that_speak_first_when_they_are_resumed_speak_once() -> None:
    """W5: an input without a vote is proposed at the restart, in several instances at once.

    Those votes are signed with the first turn, and must not be taken for signed ones before.
    """
    disk = new_disk()
    led = [proposal(b"v", height) for height in (0, 4)]
    run_now(disk.commit([ProposalRecord(what, is_input=True) for what in led]))
    rig = Rig(0, disk=disk).restart()
    assert kinds(rig.settle()) == 2 * [("PRE_PREPARE", 1), ("PREPARE", 1)]
    rig.replica.link_up(2, rig.now)
    assert sent_to(rig.turn(), 2, "relayed") == signed_by(rig.turns)


def test_own_votes_count_again_after_a_restart() -> None:
    """W5: own votes of the round are looped back, or a quorum that needs them never comes."""
    again = prepared_rig().restart()
    again.receive(2, own_section(vote(COMMIT, 2, V)))
    again.receive(3, own_section(vote(COMMIT, 3, V)))
    assert again.disk.get(instance()).value == b"v"


def test_own_commits_of_earlier_rounds_count_after_a_restart() -> None:
    """W5: own COMMITs of all rounds seed the collector; SCENARIOS K16."""
    rig = prepared_rig()
    rig.wait(1_000)
    again = rig.restart()
    again.receive(2, relayed=(vote(COMMIT, 2, V),))
    again.receive(3, relayed=(vote(COMMIT, 3, V),))
    assert again.disk.get(instance()).certificate.round == 1


def test_only_the_committed_value_can_win_after_all_restart() -> None:
    """SCENARIOS K15: two honest COMMITs of v, everybody restarts, and v alone is decided."""
    rigs = [Rig(index) for index in range(4)]
    for rig in rigs[1:3]:
        rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
        rig.receive(3 - rig.index, own_section(vote(PREPARE, 3 - rig.index, V)))
    assert [kinds(rig.turns) for rig in rigs[1:3]] == [[("PREPARE", 1), ("COMMIT", 1)]] * 2
    for rig in (rigs[0], rigs[3]):
        rig.receive(3 if rig is rigs[0] else 0, proposals=(W,))
    lives = [rig.restart() for rig in rigs]
    link_all(lives)
    carry_until_decided(lives)
    assert {life.disk.get(instance()).value for life in lives} == {b"v"}


def test_a_decided_instance_is_not_resumed() -> None:
    """SCENARIOS K14: what is decided and durable answers from the store."""
    rig = prepared_rig()
    rig.receive(3, certificates=(certificate(V),))
    again = rig.restart()
    assert again.replica.status().open_instances == 0
    turn = again.receive(3, relayed=(round_change(3, 2),))
    assert [c.value for c in sent_to(turn, 3, "certificates")] == [V.digest]


def test_all_open_instances_are_resumed_with_their_timers() -> None:
    """W5: timer(r) is started; a node that restarts alone goes on to the next round by itself."""
    rig = Rig(1)
    for height in range(5):
        rig.receive(2, proposals=(proposal(b"v", height),))
    again = rig.restart()
    assert again.replica.status().open_instances == 5
    assert sorted(own.instance.height for own in signed_by(again.wait(1_000))) == [0, 1, 2, 3, 4]
