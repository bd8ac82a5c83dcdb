"""The suite finds bugs: patched copies of engine and replica are caught (`make mutants`: all)."""

from __future__ import annotations

import re

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
    "first-commit-tells",
    "carriers-are-not-counted",
    "nothing-was-voted-on",
    "late-commits-are-lost",
    "resume-in-round-1",
    "prepare-not-journaled",
    "no-relay",
    "justifications-unverified",
)
"""One of each sort, of those that are caught soon."""

MOMENTS = {
    "resume-forgets-prepare": "test_a_crash_around_a_prepare",
    "resume-forgets-prepared": "test_a_crash_around_a_commit",
    "prepares-not-journaled": "test_a_crash_around_a_commit",
    "round-change-not-journaled": "test_a_crash_around_a_round_change",
    "resume-proposes-again": "test_a_crash_around_a_proposal",
    "commit-not-journaled": "test_a_crash_of_all_after_commits",
}
"""What a restart may forget, and who must notice: the crashes around votes of that kind."""

CATALOGUE = """
    503 504 507 508 513 532 536 535 539 540 628 1505 2139 2144 3946 4011 4372 4557 4624 4619 4622
    4628 2869 1989
    977 1469 3416 2448 2249 4626 1223 1556 1861 2040 2079 2115 2338 2542 2096 2213 4243 4623 4537
    3643 4512 4478
    549 592 600 599 979 981 132 1343 2449 7875 2095 8307 7642 1516 d055e2b eea78df 628065c 00f7637
    200 850 864 2797 2649
"""
"""The bugs of SCENARIOS, section 2, by their numbers there: core, service, ports and siblings."""

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def test_there_are_enough() -> None:
    """At least 30, each with a name of its own; what is left out has its reason."""
    assert len(BY_NAME) == len(MUTANTS) >= 30
    assert all(EXCLUDED.values())


@pytest.mark.parametrize("number", CATALOGUE.split())
def test_each_bug_of_the_catalogue_is_a_mutant_or_left_out_for_a_reason(number: str) -> None:
    """SCENARIOS, section 2: so that none is forgotten."""
    listed = [*(mutant.says for mutant in MUTANTS), *EXCLUDED]
    assert any(re.search(rf"\b{number}\b", text) for text in listed)


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


@pytest.mark.parametrize("name", MOMENTS)
def test_crashes_show_what_is_forgotten(name: str) -> None:
    """SCENARIOS K1 to K12, K15: a test of crashes that no such bug makes fail shows nothing."""
    test = f"tests:sim/test_crash_moments.py::{MOMENTS[name]}"
    assert hunt(BY_NAME[name], (test,)).seen.startswith(MOMENTS[name])


def test_without_a_bug_nothing_is_caught() -> None:
    """The hunters hunt bugs, not the code as it is.

    One seed, and one file of tests: the others are run on the shipped code as what they are.
    """
    hunters = ("swarm", "duel", "scenarios", "tests:wire/test_shape.py")
    assert hunt(None, hunters, seeds=1).seed is None
