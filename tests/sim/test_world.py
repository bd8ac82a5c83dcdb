"""The small simulator: shipped replicas under seeded faults (SCENARIOS, section 0, K and M)."""

from __future__ import annotations

import pytest

from qbft.sim.network import NetworkFaults
from qbft.sim.oracle import Violation
from qbft.sim.world import SimDisk, World, WorldSettings

SEEDS = 200

WORLDS = {
    "calm": WorldSettings(),
    "lossy": WorldSettings(faults=NetworkFaults(1, 60, loss=0.3, duplication=0.1)),
    "slow": WorldSettings(faults=NetworkFaults(50, 900)),
    "crashing": WorldSettings(
        faults=NetworkFaults(1, 60, loss=0.1, duplication=0.1), crash_probability=0.03
    ),
    "seven": WorldSettings(
        nodes=7, instances=2, faults=NetworkFaults(1, 60, loss=0.1), crash_probability=0.01
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_every_seed_keeps_the_oracle_and_decides_everywhere(name: str) -> None:
    """I1 to I7 hold at every step; after healing every node decides every instance (I9)."""
    settings = WORLDS[name]
    crashes = 0
    for seed in range(SEEDS):
        report = World(seed, settings).run()
        assert report.decided == settings.instances
        crashes += report.crashes
    assert (crashes > SEEDS) == (settings.crash_probability > 0)


def test_the_same_seed_gives_the_same_run() -> None:
    """A run is a function of its seed (oracle I12)."""
    settings = WORLDS["crashing"]
    assert [World(7, settings).run() for _ in range(2)] == [World(7, settings).run()] * 2


def test_amnesia_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: nodes that forget their votes at a restart break I5, I6 or I7 (D4)."""
    monkeypatch.setattr(SimDisk, "recover", lambda self: [])
    with pytest.raises(Violation, match=r"seed \d+: I[567]"):
        for seed in range(SEEDS):
            World(seed, WORLDS["crashing"]).run()
