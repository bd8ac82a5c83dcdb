"""Every bound that is counted is seen to be counted, and each has its line in docs/SECURITY.md."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from qbft.replica.bounds import Bound
from qbft_server.bounds import NodeBound

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGE = ROOT / "docs" / "SECURITY.md"
BEGIN, END = "<!-- bounds: begin -->", "<!-- bounds: end -->"
MARKED = re.compile(r"mark\.bites\(([^)]*)\)")
ASSERTED = "server/services/test_decision_service.py"
"""Where some are asserted, not marked."""


def test_every_bound_bites_in_some_test() -> None:
    """DESIGN, bounds: one that bites is counted. The marker `bites` demands it of its test."""
    marked = {
        name
        for path in TESTS.rglob("test_*.py")
        for inside in MARKED.findall(path.read_text())
        for name in re.findall(r'"(\w+)"', inside)
    }
    marked |= set(re.findall(r'"(\w+_max)"\)', (TESTS / ASSERTED).read_text()))
    assert marked == {*Bound, *NodeBound}


def test_every_constant_that_bounds_has_a_line() -> None:
    """Issue 6, attack: every bound has a name, a default, what it does, and a line in the page.

    As many lines as modules have such a constant: several have one of the same name.
    """
    constants = Counter(
        node.id
        for top in ("qbft", "server")
        for path in (ROOT / top).rglob("*.py")
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.isupper()
        if node.id.endswith("_MAX")
    )
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    names = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert constants == Counter(re.findall(r"`(\w+_MAX)`", " ".join(names)))
