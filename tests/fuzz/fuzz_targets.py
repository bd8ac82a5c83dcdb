"""What is fuzzed: a check that raises where it finds a bug, genuine input, and edits that fit it.

The suite plays each target's corpus and some thousand edits of it (`test_fuzz_targets.py`), and
`make fuzz` lets a coverage-guided fuzzer loose on it (`fuzz.py`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from protobuf_edits import Fill

CORPUS = Path(__file__).parent / "corpus"
"""A folder for each target: inputs that reached what no other reached, and those of mended bugs."""

TARGETS = (
    "codec",
    "certificates",
    "batches",
    "cluster_file",
    "node_file",
    "journal",
    "peer_service",
)

sys.path.append(str(Path(__file__).parents[1] / "replica"))  # for its Rig, a node without sockets


@dataclass(frozen=True, slots=True)
class Target:
    """One target: `check(input)` is silent, whatever the input is, or has found something.

    `mutated(input, random, fill)` gives an input like it; `fill` changes bytes that have no inside.
    """

    name: str
    check: Callable[[bytes], None]
    mutated: Callable[[bytes, Random, Fill], bytes]
    inputs: tuple[bytes, ...]


def load(name: str) -> Target:
    """Import one target, by its name; its inputs are the seeds and the corpus."""
    module = importlib.import_module(f"target_{name}")
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    return Target(name, module.check, module.mutated, (*module.seeds(), *kept))
