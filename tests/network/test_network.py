"""Real nodes on hosts of their own, and a network that loses, delays and cuts (SCENARIOS, M)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from network import network_scenarios
from network.hub import can_be_used

pytestmark = pytest.mark.e2e

SECONDS = 400
TESTS = Path(__file__).parents[1]
WHY_NOT = can_be_used()


@pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespaces here: {WHY_NOT}")
@pytest.mark.parametrize("name", network_scenarios.SCENARIOS)
def test_a_network_scenario(name: str, tmp_path: Path) -> None:
    """What a scenario shows stands in its docstring, and is named in docs/TESTING.md by it.

    In namespaces of its own: when its program ends, everything in them ends with it.
    """
    own = ["unshare", "-m", "-n", "-p", "-f", "--mount-proc", "--propagation", "private"]
    program = [sys.executable, "-W", "error", "-m", "network.network_scenarios"]
    ran = subprocess.run(
        [*own, "--kill-child", *program, name, str(tmp_path)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    print(ran.stdout, end="")  # its figures, for `pytest -s`
    logs = "\n".join(path.read_text()[-2_000:] for path in tmp_path.glob("cluster/node-*/node.log"))
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr[-6_000:]}\n{logs}"
