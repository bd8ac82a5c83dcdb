"""Hunts a bug in whatever `qbft` is first on the path: `python hunt.py HUNTER FIRST END`.

HUNTER is one of `HUNTERS`, or scenarios:NAME, or tests:FILE.

Prints one line of JSON: the seed that shows it and what was seen; exit code 0 if it was found.
"""

# ruff: noqa: PLC0415 - a hunter needs only its own prey
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).parents[1]
ENGINE_TESTS = ("core/test_shipped_bugs.py", "core/test_engine_resume.py")


def by_swarm(seed: int) -> str | None:
    """Play the swarm's run of a seed."""
    from qbft.sim.swarm import run_seed

    return run_seed(seed).violations.get(seed)


def by_scenarios(seed: int, name: str = "") -> str | None:
    """Play every scenario under a seed, or the one of this name."""
    from scenarios import SCENARIOS

    from qbft.sim.world import World

    for scenario in SCENARIOS:
        if name not in {"", scenario.name}:
            continue
        which = replace(scenario.plan, seed=seed)
        violation, report = World.play(which)
        if violation is not None:
            return f"{scenario.name}: {violation}"
        if report is not None and seed < scenario.seeds and not scenario.demand(which, report):
            return f"{scenario.name}: not so: {scenario.says}"
    return None


def by_duel(seed: int) -> str | None:
    """Let the engine live beside the naive one."""
    from differential_fuzz import DifferenceFound, Life, Tally

    try:
        Life(seed).run(Tally())
    except DifferenceFound as difference:
        return str(difference)
    except Exception as error:  # noqa: BLE001 - `step` is total: whatever it raises is the bug
        return f"step raised {type(error).__name__}: {error}"
    return None


def by_tests(seed: int, name: str = "") -> str | None:
    """Run this file of tests, or those of others' bugs and restarts; a seed is no use to them."""
    tests = [str(TESTS / file) for file in ([name] if name else ENGINE_TESTS)]
    safely = [sys.executable, "-P"]  # else the working directory's `qbft` comes before the prey
    command = [*safely, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:  # neither passed nor failed: that is no catch, and no escape
        raise RuntimeError(f"pytest could not run: {done.stdout}{done.stderr}")
    if not done.returncode:
        return None
    return next(line.strip("_ ") for line in done.stdout.splitlines() if line.startswith("_"))


HUNTERS: dict[str, Callable[..., str | None]] = {
    "swarm": by_swarm,
    "scenarios": by_scenarios,
    "duel": by_duel,
    "tests": by_tests,
}
"""Each takes a seed; scenarios and tests also the one to take of them."""


def main(arguments: list[str]) -> int:
    """Hunt from the command line."""
    sys.path[:0] = [str(TESTS / "sim"), str(TESTS / "core")]
    hunter, first, end = arguments[0], int(arguments[1]), int(arguments[2])
    hunts, _, name = hunter.partition(":")
    for seed in range(first, end):
        seen = HUNTERS[hunts](seed, *([name] if name else []))
        if seen is not None:
            print(json.dumps({"hunter": hunter, "seed": seed, "seen": seen}))
            return 0
    print("null")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
