"""The suite finds bugs: patched copies of engine and replica are caught (`make mutants`: all)."""

from __future__ import annotations

import pytest
from mutants import EXCLUDED, MUTANTS, Mutant
from mutation import ROOT, hunt

FAST = (
    "faulty-n-over-3",
    "j1-any-null",
    "rules-fire-again",
    "prepared-is-forgotten",
    "later-leader-without-input",
    "votes-are-not-distinct",
    "carriers-are-not-counted",
    "resume-in-round-1",
    "prepare-not-journaled",
    "no-relay",
    "justifications-unverified",
)
"""One of each sort, of those that are caught soon."""

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def test_there_are_enough() -> None:
    """At least 30, each with a name of its own; what is left out has its reason."""
    assert len(BY_NAME) == len(MUTANTS) >= 30
    assert all(EXCLUDED.values())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_place_is_there(mutant: Mutant) -> None:
    """A mutant that no longer fits the code proves nothing: it must be moved along with it."""
    source = (ROOT / "qbft" / mutant.file).read_text(encoding="utf-8")
    assert mutant.apply(source) != source


@pytest.mark.parametrize("name", FAST)
def test_it_is_caught(name: str) -> None:
    """By the hunter it names, within 500 seeds."""
    caught = hunt(BY_NAME[name], (BY_NAME[name].hunter,))
    assert caught.seed is not None


def test_without_a_bug_nothing_is_caught() -> None:
    """The hunters hunt bugs, not the code as it is."""
    assert hunt(None, ("swarm", "duel", "scenarios"), seeds=3).seed is None
