"""The benchmark of the engine measures what it says: from start to the last decision (issue 2)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engine.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, as a module."""
    spec = importlib.util.spec_from_file_location("engine_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_happy_path_is_a_proposal_and_two_votes_of_each(bench: ModuleType) -> None:
    """1 + 2n messages, each a step of n engines."""
    for nodes in (1, 4, 7):
        elapsed, steps = bench.happy_path(nodes)
        assert elapsed > 0
        assert steps == (1 + 2 * nodes) * nodes


def test_a_round_change_adds_one_message_of_each(bench: ModuleType) -> None:
    """Of n validators: n proven ROUND-CHANGEs first; all decide in round 2."""
    _, steps = bench.round_change(4)
    assert steps == (4 + 1 + 2 * 4) * 4


def test_the_figures_have_the_agreed_names(bench: ModuleType) -> None:
    """Microseconds for a decision, nanoseconds for a message."""
    assert bench.NODES == (4, 7, 10, 13, 22, 31, 64, 100)
    assert bench.REPEATS == 5
    figures = bench.measure(22, changes=False)
    assert set(figures) == {"decision_us", "message_ns"}
    assert figures["decision_us"] * 1000 == pytest.approx(figures["message_ns"] * 45 * 22, rel=0.01)
