"""The growth tables and the guard of ratios (issue 5): they measure, and they can fail."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from benchmark_scripts import load_benchmark, run_benchmark


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    """The guard as a module."""
    return load_benchmark("guard")


def test_a_price_may_rise_by_half_and_no_more(guard: ModuleType) -> None:
    """Issue 5: the guard compares ratios; what costs twice as much is told by name."""
    then = {"engine": 2.0, "cluster": 12.0}
    assert guard.worse({"engine": 3.0, "cluster": 11.0}, then) == []
    assert guard.worse({"engine": 1.0, "cluster": 24.0}, then) == ["cluster"]


def test_what_is_on_record_has_every_price(guard: ModuleType) -> None:
    """Issue 5: each ratio that is measured is held against one that was."""
    assert set(json.loads(guard.RECORD.read_text())) == {"engine", "cluster"}


def test_a_decision_of_the_engines_costs_more_than_nothing(guard: ModuleType) -> None:
    """Issue 5: the engines' price is a ratio to plain Python of about the same length."""
    assert guard.engine_ratio() > 0


def test_growth_is_told_as_rows() -> None:
    """Issue 5: a size of the cluster is measured by real nodes, with its memory and frames."""
    done = run_benchmark("growth", "nodes", "4", "--seconds", "1", "--warm-up", "0.1", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["size"] == 4
    assert min(row.values()) > 0
