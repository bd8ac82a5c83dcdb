"""docs/PAPER.md is generated, complete and fresh (STYLE, citing)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "paper_page.py"


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    """The generator, as a module."""
    spec = importlib.util.spec_from_file_location("paper_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["paper_page"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.pure
def test_the_page_is_fresh(paper: ModuleType) -> None:
    """Code, tests and traces are as it says; else run `python docs/paper_page.py`."""
    assert paper.main(["--check"]) == 0


def test_each_rule_has_its_test(paper: ModuleType) -> None:
    """Issue 2: one hand-written test for each of rules 1 to 33, named by its number."""
    tests = paper.tests_by_rule()
    assert list(tests) == list(range(1, 34))
    for number, named in tests.items():
        assert f"::test_rule_{number:02}_" in named[0]


@pytest.mark.pure
def test_each_cited_line_is_cited_where_the_page_says(paper: ModuleType) -> None:
    """STYLE: a rule's docstring begins with its line of the paper."""
    functions = paper.functions_of_core()
    for line, _, function, _, _ in paper.LINES:
        docstring = functions[function][1].co_consts[0]
        assert docstring.startswith(f"Algorithm {line}"), function
