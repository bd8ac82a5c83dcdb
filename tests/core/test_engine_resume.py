"""`Instance.resume`: what a restarted engine remembers, and that it contradicts nothing (W5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from engine_builders import (
    INSTANCE,
    A,
    B,
    change,
    changes,
    commit,
    commits,
    definition,
    feed,
    fired,
    prepare,
    prepares,
    propose,
    sent,
    timers,
)
from resume_property import resumed, sample

from qbft.core import Decide, Instance, Message, OwnVote, StartTimer, TimerExpired, UponRule, Value
from qbft.errors import InvariantViolation
from qbft.sim.oracle import Violation


def resume(
    process: int, *votes: Message | OwnVote, input_: Value | None = None
) -> tuple[Instance, tuple[object, ...]]:
    """Resume from these votes, in this order."""
    own = [vote if isinstance(vote, OwnVote) else OwnVote(vote) for vote in votes]
    return Instance.resume(definition(), INSTANCE, process, own, input_)


def test_resuming_without_a_vote_is_a_start() -> None:
    """W5: `start`, then the input; so a leader that never proposed does so now."""
    _, effects = resume(3, input_=A)
    assert effects == (StartTimer(1),)
    _, effects = resume(0, input_=A)
    assert sent(effects) == [propose(A)]  # type: ignore[arg-type]
    engine, _ = resume(0)
    assert sent(feed(engine, propose(B))) == [prepare(0, B)]


def test_it_goes_on_in_the_round_of_its_highest_vote() -> None:
    """W5: not in round 1, where safety would forbid it to vote; its timer runs."""
    engine, effects = resume(3, prepare(3), change(3, 2), change(3, 5), prepare(3, B, 5))
    assert engine.round == 5
    assert effects == (StartTimer(5),)


def test_what_it_prepared_goes_into_its_next_round_change() -> None:
    """W5, K6: the highest own COMMIT, with the PREPAREs journaled beside it."""
    first, second = OwnVote(commit(3), prepares()), OwnVote(commit(3, B, 2), prepares(B, 2))
    engine, _ = resume(3, first, change(3, 2, 1, A, prepares()), second)
    assert sent(engine.step(TimerExpired())) == [change(3, 3, 2, B, prepares(B, 2))]


def test_it_prepares_and_commits_nothing_twice_in_its_round() -> None:
    """W5, K2: PREPARE and COMMIT cast before the restart hold their rules down."""
    engine, _ = resume(3, prepare(3), OwnVote(commit(3), prepares()))
    assert feed(engine, propose(B), *prepares(B), *prepares()) == ()
    only_committed, _ = resume(3, OwnVote(commit(3), prepares()))
    assert sent(feed(only_committed, propose(B))) == [prepare(3, B)], "rule 28 allows it"


def test_its_own_votes_of_the_round_count_again() -> None:
    """W5: two more make the quorum; not counted, they dead-locked others."""
    engine, _ = resume(3, prepare(3))
    assert sent(feed(engine, prepare(0), prepare(1))) == [commit(3)]
    engine, _ = resume(3, prepare(3), OwnVote(commit(3), prepares()))
    assert feed(engine, commit(0), commit(1))[-1] == Decide(A, 1, commits(A, 1, (0, 1, 3)))
    engine, _ = resume(1, change(1, 2), input_=B)
    assert sent(feed(engine, change(0, 2), change(2, 2))) == [propose(B, 2, changes())]


def test_a_leader_that_proposed_does_not_propose_again() -> None:
    """W5, K10 to K12: neither in round 1 nor later, whatever its input is now."""
    engine, effects = resume(0, propose(A), input_=B)
    assert sent(effects) == [prepare(0)], "its own proposal came back"  # type: ignore[arg-type]
    assert sent(feed(engine, *changes(1))) == []

    proof = [change(0), change(2), change(3)]
    engine, effects = resume(1, change(1, 2), propose(A, 2, proof), input_=B)
    assert sent(effects) == [prepare(1, A, 2)]  # type: ignore[arg-type]
    assert sent(feed(engine, *proof, change(1))) == []


def test_a_leader_of_round_1_that_had_not_proposed_waits_for_its_input() -> None:
    """W5: the kept proof is empty there; in later rounds it has to be gathered again."""
    engine, effects = resume(0, OwnVote(commit(0, B), prepares(B)), input_=A)
    assert sent(effects) == [propose(A)]  # type: ignore[arg-type]
    assert timers(effects) == [1]  # type: ignore[arg-type]
    engine, effects = resume(1, change(1, 2), input_=A)
    assert sent(effects) == []  # type: ignore[arg-type]
    assert fired(feed(engine, change(0), change(2))) == [UponRule.QUORUM_ROUND_CHANGES]


def test_a_restart_that_decides_from_its_own_votes() -> None:
    """A validator alone: its COMMIT, looped back, decides again (K13, K16)."""
    alone = [OwnVote(prepare(0)), OwnVote(commit(0), (prepare(0),))]
    engine, effects = Instance.resume(definition(1), INSTANCE, 0, alone, None)
    assert effects[-1] == Decide(A, 1, (commit(0),))
    assert engine.decision == effects[-1]


def test_every_recorded_life_cut_anywhere_contradicts_nothing() -> None:
    """W5: a seeded sample of the cuts; the module's command tries all (about 20,000)."""
    tried = votes = 0
    for drop, share in ((False, 0.1), (True, 0.02)):
        for life, cut in sample(share, seed=5, drop=drop):
            tried += 1
            votes += resumed(life, cut) + resumed(life, cut, backwards=True)
    assert tried > 2500
    assert votes > 10_000


def forgets_its_round(self: Instance, votes: Sequence[OwnVote]) -> None:
    """A resumed engine that begins in round 1 again."""
    restore(self, votes)
    self.round = 1


def forgets_what_it_prepared(self: Instance, votes: Sequence[OwnVote]) -> None:
    """A resumed engine whose ROUND-CHANGE hides a COMMIT."""
    restore(self, votes)
    self.prepared_round, self.prepared_value, self.prepared_justification = 0, None, ()


def forgets_what_fired(self: Instance, votes: Sequence[OwnVote]) -> None:
    """A resumed engine that takes another proposal in its round."""
    restore(self, votes)
    self._fired.clear()


restore = Instance._restore


@pytest.mark.pure
@pytest.mark.parametrize("wrong", [forgets_its_round, forgets_what_it_prepared, forgets_what_fired])
def test_the_property_finds_a_resume_that_forgets(
    wrong: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A property that no mistake breaks shows nothing."""
    monkeypatch.setattr(Instance, "_restore", wrong)
    with pytest.raises((Violation, InvariantViolation)):
        sum(resumed(life, cut, backwards=True) for life, cut in sample(1.0, 5, drop=True))
