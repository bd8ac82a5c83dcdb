"""The table from scenario to test cannot rot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "scenario_table.py"


def test_the_table_in_the_documentation_is_fresh() -> None:
    """docs/TESTING.md lists what the tests' docstrings say; `python docs/scenario_table.py`."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
