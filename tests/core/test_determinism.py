"""The same inputs give the same effects, in every process (DESIGN, one step)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

from resume_property import RECORDED

from qbft.core import InstanceId

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


def test_a_pickled_instance_id_is_found_under_another_hash_seed() -> None:
    """Its hash is kept within one process only: a copy in another must equal and find its kin."""
    pickled = pickle.dumps(InstanceId("prices/btc", 17))
    script = (
        "import pickle, sys; from qbft.core import InstanceId; "
        "copy = pickle.load(sys.stdin.buffer); own = InstanceId('prices/btc', 17); "
        "sys.exit(0 if copy == own and copy in {own} else 1)"
    )
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            input=pickled,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=False,
        )
        assert ran.returncode == 0
    assert pickle.loads(pickled) == InstanceId("prices/btc", 17)  # noqa: S301 - our own bytes
