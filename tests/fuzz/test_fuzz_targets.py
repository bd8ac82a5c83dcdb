"""Each target of `make fuzz`, played by the suite: all that is kept, and edits of it (I11)."""

from __future__ import annotations

from random import Random

import pytest
from fuzz import figures
from fuzz_targets import CORPUS, TARGETS, load
from hypothesis import given, settings
from hypothesis import strategies as st

EDITED = {
    "codec": 600,
    "certificates": 150,
    "batches": 400,
    "cluster_file": 100,
    "node_file": 60,
    "journal": 150,
    "peer_service": 40,
}
"""Edited inputs of each target; what one costs differs as much."""

CORPUS_BYTES_MAX = 256 << 10
"""Of each target: what is kept is read by every run of the suite."""


SAID = """\
INFO: -max_len is not provided
#2	INITED cov: 12 ft: 40 corp: 5/10Kb exec/s: 0 rss: 50Mb
#1024	pulse  cov: 448 ft: 1716 corp: 307/166Kb lim: 1536 exec/s: 303 rss: 54Mb
#130055	REDUCE cov: 449 ft: 1716 corp: 308/166Kb lim: 1536 exec/s: 303 rss: 54Mb L: 330/1510
"""


def test_what_the_fuzzer_says_is_counted() -> None:
    """Also when a crash keeps it from its last words, and when it never began."""
    assert figures(SAID) == (130_055, 449, 308)
    last_words = "Done 130100 runs in 31 second(s)\nstat::number_of_executed_units: 130100\n"
    assert figures(SAID + last_words) == (130_100, 449, 308)
    assert figures("No module named atheris") == (0, 0, 0)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_finds_nothing(name: str) -> None:
    """Genuine input, what once reached something of its own, and what once was a finding."""
    target = load(name)
    assert target.inputs
    for data in target.inputs:
        target.check(data)
    assert sum(path.stat().st_size for path in (CORPUS / name).glob("*")) <= CORPUS_BYTES_MAX


@pytest.mark.parametrize("name", TARGETS)
def test_edits_of_it_find_nothing(name: str) -> None:
    """The same edits in every run: how many an input gets, and which, follows from a number."""
    target = load(name)

    @settings(derandomize=True, deadline=None, max_examples=EDITED[name])
    @given(st.sampled_from(target.inputs), st.integers(1, 4), st.integers(0, 2**32 - 1))
    def play(data: bytes, edits: int, seed: int) -> None:
        random = Random(seed)
        for _ in range(edits):
            data = target.mutated(
                data, random, lambda some: random.randbytes(random.randrange(len(some) + 3))
            )
        target.check(data)

    play()
