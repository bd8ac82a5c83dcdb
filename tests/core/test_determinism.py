"""The same inputs give the same effects, in every process (DESIGN, one step)."""

from __future__ import annotations

import os
import subprocess
import sys

from resume_property import RECORDED

DIGEST = """
import hashlib, itertools, sys
from pathlib import Path
from qbft.parity import read_traces
digest = hashlib.sha256()
for _, trace in itertools.islice(read_traces(Path(sys.argv[1])), 0, None, 9):
    engine = trace.engine()
    for event in trace.events:
        digest.update(repr(trace.step(engine, event)).encode())
print(digest.hexdigest(), hash("qbft"))
"""


def test_effects_do_not_depend_on_the_hash_seed() -> None:
    """Down to the order within justifications, which parity sorts away; over every ninth trace."""
    seen, hashes = set(), set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST, str(RECORDED)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digest, hash_ = done.stdout.split()
        seen.add(digest)
        hashes.add(hash_)
    assert len(seen) == 1
    assert len(hashes) == 3, "the seeds did take effect"
