"""Every bound that is counted is seen to be counted."""

from __future__ import annotations

import re
from pathlib import Path

from qbft.replica.bounds import Bound
from qbft_server.bounds import NodeBound

TESTS = Path(__file__).parents[1]
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
