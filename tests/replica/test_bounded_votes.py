"""A node remembers no more of its own votes in later rounds (DESIGN, bounds; docs/adr/012)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    RC,
    Rig,
    kinds,
    own_section,
    proposal,
    round_change,
    sent_to,
    signed_by,
    vote,
    votes,
)

from qbft.core import Message
from qbft.replica.protocols import ProposalRecord, VoteRecord

V, W = proposal(b"v"), proposal(b"w")


def rig_in_round_3(*, restarts: bool = False) -> Rig:
    """Validator 3, which has COMMITted v in round 1 and gone on to round 3."""
    rig = Rig(3)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    for round_ in (2, 3):
        for peer in (1, 2):
            rig.receive(peer, own_section(round_change(peer, round_)))
    assert kinds(rig.turns) == [
        ("PREPARE", 1),
        ("COMMIT", 1),
        ("ROUND_CHANGE", 2),
        ("ROUND_CHANGE", 3),
    ]
    return rig.restart() if restarts else rig


@pytest.mark.parametrize("restarts", [False, True])
def test_what_is_kept_of_earlier_rounds(*, restarts: bool) -> None:
    """W5: the highest ROUND-CHANGE and COMMIT, the value's bytes; that is sent again, too."""
    rig = rig_in_round_3(restarts=restarts)
    kept = list(rig.disk.recover())
    assert [(r.vote.type.name, r.vote.round) for r in kept if isinstance(r, VoteRecord)] == [
        ("COMMIT", 1),
        ("ROUND_CHANGE", 3),
    ]
    assert [r.proposal for r in kept if isinstance(r, ProposalRecord)] == [V]
    rig.replica.link_up(0, rig.now)
    turn = rig.turn()
    assert kinds(turn) == []
    assert [cast.round for cast in sent_to(turn, 0, "relayed")] == [1, 3]
    assert sent_to(turn, 0, "proposals") == [V]


@pytest.mark.parametrize("restarts", [False, True])
def test_the_commit_of_an_earlier_round_still_binds(*, restarts: bool) -> None:
    """W3: the next ROUND-CHANGE tells what it had prepared, with its PREPAREs."""
    rig = rig_in_round_3(restarts=restarts)
    for peer in (1, 2):
        rig.receive(peer, own_section(round_change(peer, 4)))
    change = next(own for own in signed_by(rig.turns) if own.round == 4)
    assert (change.round, change.prepared_round, change.prepared_value) == (4, 1, V.digest)
    assert {prepare.source for prepare in change.justification} == {0, 2, 3}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    "back",
    [
        vote(PREPARE, 3, V, sequence=1),
        round_change(3, 2, prepared=V, prepares=(0, 2, 3), sequence=3),
    ],
)
def test_an_own_vote_that_was_forgotten_proves_nothing(back: Message, *, restarts: bool) -> None:
    """A peer may hand it on for ever; its number is not beyond the last one (W7, U9)."""
    rig = rig_in_round_3(restarts=restarts)
    rig.receive(2, relayed=(back,))
    assert rig.rejected == []
    assert rig.replica.status().voting


@pytest.mark.parametrize(
    "lost",
    [vote(PREPARE, 3, W, 3, sequence=2), vote(PREPARE, 3, V, 2, sequence=5)],
    ids=["in its round", "numbered beyond the last"],
)
def test_an_own_vote_that_cannot_have_been_forgotten_is_a_lost_one(lost: Message) -> None:
    """W7, W8: of its round it remembers all votes, and of its numbers the last."""
    rig = rig_in_round_3()
    rig.receive(2, relayed=(lost,))
    assert rig.rejected == [("own_vote_never_cast", 2)]
    assert not rig.replica.status().voting


def test_a_thousand_rounds_leave_what_one_leaves() -> None:
    """An instance may stay undecided for as long as a quorum is away; here with F+1 others."""
    rig = Rig(3)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    for round_ in range(2, 1_001):
        for peer in (1, 2):
            rig.receive(peer, own_section(round_change(peer, round_)))
        if round_ % 100 == 0:
            for peer in range(3):
                rig.receive(peer, own_section(vote(PREPARE, peer, V, round_)))
        if round_ % 250 == 0:
            votes_kept = [r for r in rig.disk.recover() if isinstance(r, VoteRecord)]
            assert len(votes_kept) <= 5
            rig = rig.restart()
    assert rig.disk.next_sequence > 1_000
    rig.replica.link_up(0, rig.now)
    again = sent_to(rig.turn(), 0, "relayed")
    assert {cast.round for cast in again} == {1_000}
    assert {RC, COMMIT} <= {cast.type for cast in again}


def test_commits_of_others_for_an_earlier_round_still_decide() -> None:
    """D1: a quorum of COMMITs, the own one among them where it is the highest (K16)."""
    rig = rig_in_round_3(restarts=True)
    rig.receive(2, relayed=votes(COMMIT, (1, 2), V))
    assert rig.disk.get(V.instance).certificate.round == 1
