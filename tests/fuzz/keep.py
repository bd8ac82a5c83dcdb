"""Of what `fuzz.py` has kept, adds to the corpus what reaches a branch that nothing there reaches.

python tests/fuzz/keep.py                # all targets
python tests/fuzz/keep.py codec          # one of them

The fuzzer keeps each input that reached anything in a new way, hundreds of them. The suite reads
the corpus in every run, so that only a few are worth it: the smallest first, each for branches of
its own. They are named by their content.
"""

from __future__ import annotations

import hashlib
import sys

from coverage import Coverage
from fuzz import WORK
from fuzz_targets import CORPUS, TARGETS, Target, load

Branches = set[tuple[str, int, int]]
"""(file, from line, to line)."""

KEPT_BYTES_MAX = 4_096


def main() -> None:
    """Add to the corpora, and say what was added."""
    for name in sys.argv[1:] or TARGETS:
        target = load(name)
        reached: Branches = set()
        for data in target.inputs:
            reached |= branches(target, data)
        before, added = len(reached), 0
        found = [path.read_bytes() for path in (WORK / name / "corpus").glob("*")]
        for data in sorted(set(found), key=lambda data: (len(data), data)):
            if len(data) > KEPT_BYTES_MAX or not (new := branches(target, data) - reached):
                continue
            reached |= new
            added += 1
            path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        print(f"{name}: {added} of {len(found)} added, {before} branches and now {len(reached)}")


def branches(target: Target, data: bytes) -> Branches:
    """The branches of what is shipped that an input goes through."""
    coverage = Coverage(branch=True, data_file=None, source_pkgs=["qbft", "qbft_server"])
    coverage.set_option("run:disable_warnings", ["module-not-measured", "module-not-imported"])
    with coverage.collect():
        target.check(data)
    measured = coverage.get_data()
    return {
        (path, first, then)
        for path in measured.measured_files()
        for first, then in measured.arcs(path) or ()
    }


if __name__ == "__main__":
    main()
