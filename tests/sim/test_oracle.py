"""The oracle itself: what it holds against a node that loses its disk (HARDENING W7)."""

from __future__ import annotations

import pytest

from qbft.core import InstanceId, Message, MessageType
from qbft.sim.oracle import Oracle, Violation

INSTANCE = InstanceId("t", 0)
CHANGE = Message(MessageType.ROUND_CHANGE, INSTANCE, 2, 2)
PREPARE = Message(MessageType.PREPARE, INSTANCE, 2, 1, b"v")


def oracle(*heard: Message) -> Oracle:
    """One that saw validator 2 leave round 1, and lose its disk; these votes had been heard."""
    watching = Oracle(4, range(4))
    watching.signed(CHANGE)
    for vote in heard:
        watching.heard(vote)
    watching.forget_unheard(2)
    return watching


def test_a_vote_that_was_heard_binds_a_node_that_has_lost_it() -> None:
    """W7: somebody can tell it, so that it must not contradict it; nested votes were heard too."""
    carrier = Message(MessageType.PRE_PREPARE, INSTANCE, 3, 3, b"v", justification=(CHANGE,))
    for heard in (CHANGE, carrier):
        with pytest.raises(Violation, match="I6"):
            oracle(heard).signed(PREPARE)


def test_a_vote_that_nobody_heard_binds_nobody() -> None:
    """Nobody can tell it of that vote, and nobody will ever count it."""
    oracle().signed(PREPARE)


def test_votes_of_others_are_not_forgotten() -> None:
    """Only the one that lost its disk has forgotten."""
    watching = Oracle(4, range(4))
    watching.signed(CHANGE)
    watching.forget_unheard(1)
    with pytest.raises(Violation, match="I6"):
        watching.signed(PREPARE)


def test_a_lock_ends_with_the_commits_that_nobody_heard() -> None:
    """I8 is about Q-f honest COMMITs that exist; one that is gone for good locks nothing."""
    watching = Oracle(4, range(4))
    for source in (1, 2):
        watching.signed(Message(MessageType.COMMIT, INSTANCE, source, 1, b"v"))
    later = Message(MessageType.PREPARE, INSTANCE, 3, 2, b"w")
    watching.forget_unheard(2)
    watching.signed(later)
