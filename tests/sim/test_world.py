"""The small simulator: shipped replicas under seeded faults (SCENARIOS, section 0, K and M)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from qbft.errors import QbftError
from qbft.replica.replica import Replica
from qbft.sim.disk import SimDisk
from qbft.sim.network import NetworkFaults
from qbft.sim.oracle import Violation
from qbft.sim.world import CrashPoint, World, WorldSettings

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

ONE = WorldSettings(instances=1, faults_ms=3_000)
"""One instance: few enough crash points to try each of them."""

SLOW_ONE = replace(ONE, faults_ms=4_000, faults=NetworkFaults(200, 700))
"""One instance whose first round is too short, so that its nodes change rounds."""


@pytest.mark.parametrize("name", WORLDS)
def test_every_seed_keeps_the_oracle_and_decides_everywhere(name: str) -> None:
    """I1 to I8 hold at every step; after healing every node decides every instance (I9)."""
    settings = WORLDS[name]
    crashes = 0
    for seed in range(SEEDS):
        report = World(seed, settings).run()
        assert report.decided == settings.instances
        crashes += report.crashes
    assert (crashes > SEEDS) == (settings.crash_probability > 0)


@pytest.mark.parametrize("everyone", [False, True], ids=["one node", "all nodes"])
@pytest.mark.parametrize("settings", [ONE, SLOW_ONE], ids=["one round", "several rounds"])
def test_a_crash_at_every_point(settings: WorldSettings, *, everyone: bool) -> None:
    """SCENARIOS K1 to K16: a crash before and after each commit, and before each copy is sent.

    Of each node, at each point of a whole run; and of all nodes together (K15, K16).
    """
    calm = World(1, settings).run()
    assert calm.crashes == 0
    assert (max(calm.rounds) > 1) == (settings is SLOW_ONE)
    for node, points in enumerate(calm.crash_points):
        assert points > 10
        for number in range(points):
            point = CrashPoint(node, number, everyone=everyone)
            report = World(1, replace(settings, crash_at=point)).run()
            assert report.decided == 1
            assert report.crashes >= 1


def test_a_failure_names_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in a run, its seed is told, so that it can be run again."""

    def broken(*given: object) -> None:
        raise QbftError("broken")

    monkeypatch.setattr(Replica, "recover", broken)
    with pytest.raises(BaseException, match="unhandled errors") as caught:
        World(17, ONE).run()
    assert any("seed 17" in note for note in caught.value.__notes__)


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    """A run is a function of its seed (oracle I12), under any PYTHONHASHSEED (DESIGN, one step).

    Compared is the digest of every record journaled and every frame sent, with its time.
    """
    settings = WORLDS["crashing"]
    here = World(7, settings, traced=True).run()
    assert World(7, settings, traced=True).run() == here
    assert World(8, settings, traced=True).run().digest != here.digest
    program = (
        "from qbft.sim.network import NetworkFaults\n"
        "from qbft.sim.world import World, WorldSettings\n"
        f"print(World(7, {settings_without_timers(settings)}, traced=True).run().digest)"
    )
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == here.digest


def settings_without_timers(settings: WorldSettings) -> str:
    """The settings as an expression, but for the timers, which are the default's."""
    return (
        f"WorldSettings(faults={settings.faults!r}, crash_probability={settings.crash_probability})"
    )


def test_amnesia_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: nodes that forget their votes at a restart break I5, I6 or I7 (D4)."""
    monkeypatch.setattr(SimDisk, "recover", lambda self: [])
    caught = [violation for seed in range(SEEDS) if (violation := violation_of(seed)) is not None]
    assert caught
    assert all(message.startswith("seed ") for message in caught)
    assert any(name in message for message in caught for name in ("I5", "I6", "I7"))


def violation_of(seed: int) -> str | None:
    """What the oracle finds in the crashing world of this seed."""
    try:
        World(seed, WORLDS["crashing"]).run()
    except Violation as violation:
        return str(violation)
    return None
