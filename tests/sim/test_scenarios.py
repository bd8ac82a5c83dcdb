"""The catalogue's scenarios of networks, crashes and liars, played by whole clusters.

Which those are, `scenarios.py` says; docs/TESTING.md lists each by its name.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenarios import SCENARIOS, Scenario

from qbft.sim.world import World


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario) -> None:
    """The oracle holds, all decide in the end, and the report shows what the scenario says."""
    for seed in range(scenario.seeds):
        which = replace(scenario.plan, seed=seed)
        report = World(which).run()
        assert scenario.demand(which, report), f"seed {seed}: {scenario.says}"
