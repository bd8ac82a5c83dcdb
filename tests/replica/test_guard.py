"""The vote guard (HARDENING W2 and W3; oracle I5 to I7)."""

from __future__ import annotations

import pytest
from replica_builders import COMMIT, PP, PREPARE, proposal, round_change, vote

from qbft.core import MessageType
from qbft.errors import InvariantViolation
from qbft.replica.guard import VoteGuard

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
    with pytest.raises(InvariantViolation, match="after ROUND-CHANGE 3"):
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


def test_round_changes_may_go_up_only_by_saying_so() -> None:
    """A lower ROUND-CHANGE than the highest is no contradiction by itself: rounds may go back."""
    guard = VoteGuard([round_change(0, 5)])
    assert guard.admit(round_change(0, 4))
    with pytest.raises(InvariantViolation):
        guard.admit(vote(PREPARE, 0, V, 4))
