"""Bugs that the suite must find, each as a patch of one file of `qbft` (SCENARIOS, section 2).

Each has the hunter that is tried first:

- swarm: `qbft simulate swarm`, seeds from 0;
- scenarios: the plans of `scenarios.py`, under seeds from 0; one of them by its name;
- duel: hostile lives of the engine beside the naive one, `tests/core/differential_fuzz.py`. What
  the gate of the wire, the replica's own checks or its caller keep from an engine is seen only
  there;
- tests: `tests/core/test_shipped_bugs.py` and `test_engine_resume.py`, for what even hostile lives
  hardly ever meet, or what the replica cures by itself; a file of tests by its name, for what shows
  only at the surface of one part.

What is left out, and why, is in `EXCLUDED`.
"""

from __future__ import annotations

from mutants.around import AROUND_ENGINE
from mutants.engine import OF_ENGINE
from mutants.excluded import EXCLUDED
from mutants.mutant import Mutant

__all__ = ["EXCLUDED", "MUTANTS", "Mutant"]

MUTANTS = [*OF_ENGINE, *AROUND_ENGINE]
