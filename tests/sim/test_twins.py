"""Twins, part by part; all of it is `qbft simulate twins` (SCENARIOS C23)."""

from __future__ import annotations

import json

import pytest

from qbft.core import Definition
from qbft.sim.twins import NODES, RUNS, leader, run_all, schedule_of
from qbft_server.cli import main

STEP = 211
"""Every so manyth run: a prime, so that every twin and every partition of every round is met."""


def test_no_partition_makes_twins_fork() -> None:
    """SCENARIOS C23: one key, two correct copies: no fork, and all decide after healing."""
    tally = run_all(range(0, RUNS, STEP))
    assert not tally.violations
    assert tally.runs == -(-RUNS // STEP)
    assert set(tally.decided) >= {1, 2, 3, 4, 5}


def test_every_schedule_has_its_number() -> None:
    """16 partitions for each of four rounds, four twins: 65,536 schedules, 262,144 runs."""
    assert RUNS == 16**4 * 4
    seen = {schedule_of(number) for number in range(RUNS)}
    assert len(seen) == RUNS


def test_too_small_a_quorum_forks() -> None:
    """Negative control: where two of four decide, two values are decided, and it is told."""
    weak = Definition(NODES, leader)
    object.__setattr__(weak, "quorum", 2)
    found = run_all(range(0, RUNS, 2_003), weak).violations
    assert {what.partition(":")[0] for what in found.values()} == {"I1", "I8"}


def test_the_command_plays_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts are printed, so that a part is not taken for the whole."""
    command = ["simulate", "twins", "--part", "7/4000", "--jobs", "1"]
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["runs"], record["of"], record["violations"]) == (66, RUNS, {})
    assert main(command) == 0
    assert "262144" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "a/b", "1/999999999"])
def test_a_part_is_one_of_several(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is wrong usage."""
    assert main(["simulate", "twins", "--part", part]) == 2
    assert "part" in capsys.readouterr().err
