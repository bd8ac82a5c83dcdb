"""examples/library.py, as docs/EMBEDDING.md shows it."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "library.py"


async def test_tasks_of_one_process_agree() -> None:
    """Issue 7: four tasks with four wishes return one of them, all the same."""
    values = ["ramen", "pizza", "tacos", "salad"]
    decisions = await runpy.run_path(str(EXAMPLE))["agree"](values)
    assert len(decisions) == 4
    (value,) = {decision.value for decision in decisions}
    assert value in values
