"""The vote guard (HARDENING W2 and W3; oracle I5 to I7)."""

from __future__ import annotations

import pytest
from replica_builders import COMMIT, PP, PREPARE, proposal, round_change, vote

from qbft.core import Message, MessageType
from qbft.errors import InvariantViolation
from qbft.replica.guard import VoteGuard
from qbft.replica.own_votes import VoteRounds

V, W = proposal(b"v"), proposal(b"w")


@pytest.mark.parametrize("kind", [PP, PREPARE, COMMIT])
def test_a_second_content_in_a_round_is_refused(kind: MessageType) -> None:
    """At most one content per (instance, type, round) (W2, oracle I5)."""
    guard = VoteGuard([vote(kind, 0, V)])
    with pytest.raises(InvariantViolation, match="two contents"):
        guard.admit(vote(kind, 0, W))


def test_a_second_round_change_of_a_round_must_say_the_same() -> None:
    """It may not hide what an earlier one told to be prepared (W2)."""
    guard = VoteGuard([round_change(0, 3, prepared=V)])
    with pytest.raises(InvariantViolation, match="two contents"):
        guard.admit(round_change(0, 3))


def test_the_same_content_again_is_no_new_vote() -> None:
    """It is not signed again: a vote is signed once in its life (DESIGN, signatures)."""
    guard = VoteGuard()
    assert guard.admit(vote(PREPARE, 0, V)) is True
    assert guard.admit(vote(PREPARE, 0, V)) is False
    assert guard.has_signed(vote(PREPARE, 0, V))
    assert not guard.has_signed(vote(PREPARE, 0, W))
    assert not guard.has_signed(vote(COMMIT, 0, V))


@pytest.mark.parametrize("kind", [PP, PREPARE, COMMIT])
def test_nothing_is_signed_below_the_highest_round_change(kind: MessageType) -> None:
    """A node that said it left a round does not vote in it any more (W2, oracle I6)."""
    guard = VoteGuard([round_change(0, 3)])
    with pytest.raises(InvariantViolation, match="after a vote in round 3"):
        guard.admit(vote(kind, 0, V, 2))
    assert guard.admit(vote(kind, 0, V, 3))


def test_commit_may_come_before_prepare() -> None:
    """A quorum of PREPAREs may come before the PRE-PREPARE (REFERENCE rule 28, W2)."""
    guard = VoteGuard()
    assert guard.admit(vote(COMMIT, 0, V))
    assert guard.admit(vote(PREPARE, 0, W))


def test_a_round_change_may_not_hide_a_commit() -> None:
    """RC(r) carries a prepared round >= every COMMIT round signed (W3, oracle I7)."""
    guard = VoteGuard([vote(COMMIT, 0, V, 2)])
    with pytest.raises(InvariantViolation, match="COMMIT 2 was signed"):
        guard.admit(round_change(0, 3, prepared=V, prepared_round=1))
    assert guard.admit(round_change(0, 3, prepared=V, prepared_round=2))


def test_a_journal_that_contradicts_itself_is_refused() -> None:
    """What was read from the journal passes the guard as well (W2)."""
    with pytest.raises(InvariantViolation, match="two contents of COMMIT"):
        VoteGuard([vote(COMMIT, 0, V), vote(COMMIT, 0, W)])


@pytest.mark.parametrize(
    "left",
    [round_change(0, 5, prepared=V, prepared_round=3), vote(PREPARE, 0, V, 5)],
    ids=["ROUND-CHANGE", "PREPARE"],
)
def test_nothing_at_all_is_signed_in_a_round_that_was_left(left: Message) -> None:
    """No rule leads back before the decision, and what was said there is forgotten (ADR 012)."""
    guard = VoteGuard([round_change(0, 3), vote(COMMIT, 0, V, 3), left])
    for late in (round_change(0, 4, prepared=V, prepared_round=3), vote(PREPARE, 0, V, 4)):
        with pytest.raises(InvariantViolation, match="after a vote in round 5"):
            guard.admit(late)
    assert guard.admit(vote(COMMIT, 0, V, 3)) is False, "the highest COMMIT is remembered"
    with pytest.raises(InvariantViolation, match="two contents"):
        guard.admit(vote(COMMIT, 0, W, 3))
    with pytest.raises(InvariantViolation, match="COMMIT 3 was signed"):
        guard.admit(round_change(0, 6))


def test_it_remembers_no_more_after_a_thousand_rounds() -> None:
    """Each round has a full set of votes; those that are not current are let go of (ADR 012)."""
    guard = VoteGuard()
    for round_ in range(1, 1_001):
        if round_ > 1:
            guard.admit(round_change(0, round_, prepared=V, prepared_round=round_ - 1))
        for kind in (PP, PREPARE, COMMIT):
            guard.admit(vote(kind, 0, V, round_))
        assert len(guard) <= 4
    assert guard.round == 1_000


CAST = [
    vote(PP, 0, V, 1),
    vote(COMMIT, 0, V, 1),
    round_change(0, 2, prepared=V),
    vote(COMMIT, 0, V, 2),
    round_change(0, 4, prepared=V, prepared_round=2),
    vote(PREPARE, 0, V, 4),
    vote(PREPARE, 0, V, 5),
]


def test_which_votes_are_current() -> None:
    """Those of the highest round, the highest ROUND-CHANGE, the highest COMMIT (DESIGN, links)."""
    rounds = VoteRounds()
    assert [rounds.note(cast) for cast in CAST] == [False, False, True, True, True, False, True]
    current = [cast for cast in CAST if rounds.is_current(cast.type, cast.round)]
    assert current == [CAST[3], CAST[4], CAST[6]]
    assert not VoteRounds().is_current(COMMIT, 1)
