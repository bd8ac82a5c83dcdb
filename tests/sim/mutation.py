"""The mutation check: `python tests/sim/mutation.py [NAME...]` prints which bug is caught by what.

Each mutant is a patched copy of `qbft` in a directory of its own, hunted in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
HUNT = Path(__file__).parent / "hunt.py"
SEEDS = 500
TIMEOUT_SECONDS = 1_200
"""Of one hunter; it matters only where a bug makes a run endless."""
HUNTERS = ("swarm", "duel", "scenarios", "tests")
SEEDS_OF = {"scenarios": 20, "tests": 1}
"""Fewer, where a seed is many runs."""


@dataclass(frozen=True)
class Caught:
    """How a mutant was caught; `seed` None: it was not."""

    mutant: Mutant
    hunter: str
    seed: int | None
    seen: str
    seconds: float


def hunt(mutant: Mutant | None, hunters: tuple[str, ...], seeds: int = SEEDS) -> Caught:
    """Hunt a mutant, the likeliest hunter first; None: the code as it is."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qbft-mutant-") as directory:
        copy = Path(directory) / "qbft"
        shutil.copytree(ROOT / "qbft", copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            place = copy / mutant.file
            place.write_text(mutant.apply(place.read_text(encoding="utf-8")), encoding="utf-8")
        for hunter in hunters:
            found = _run(directory, hunter, seeds)
            if found is not None:
                return Caught(
                    mutant or MUTANTS[0],
                    hunter,
                    found["seed"],
                    found["seen"],
                    time.monotonic() - began,
                )
    return Caught(mutant or MUTANTS[0], "nothing", None, "", time.monotonic() - began)


def _run(directory: str, hunter: str, seeds: int) -> dict[str, object] | None:
    kind, _, name = hunter.partition(":")
    most = seeds if kind == "scenarios" and name else SEEDS_OF.get(kind, seeds)
    try:
        done = subprocess.run(
            [sys.executable, HUNT, hunter, "0", str(min(seeds, most))],
            env={**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    if not done.stdout.strip():
        raise RuntimeError(f"the hunt itself failed:\n{done.stderr}")
    return json.loads(done.stdout)


def in_order(mutant: Mutant) -> tuple[str, ...]:
    """The hunters, the mutant's own first."""
    return (mutant.hunter, *(h for h in HUNTERS if h != mutant.hunter))


def main(names: list[str]) -> int:
    """Print the table; 1 if one is not caught."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    missed = 0
    print(f"{'bug':<32} {'caught by':<10} {'seed':>4} {'seconds':>8}  what was seen")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for caught in pool.map(lambda m: hunt(m, in_order(m)), chosen):
            missed += caught.seed is None
            seed = "-" if caught.seed is None else str(caught.seed)
            seen = " ".join(caught.seen.split())[:90]
            name = caught.mutant.name
            print(
                f"{name:<32} {caught.hunter:<10} {seed:>4} {caught.seconds:>8.1f}  {seen}",
                flush=True,
            )
    print(f"{len(chosen) - missed} of {len(chosen)} caught within {SEEDS} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
