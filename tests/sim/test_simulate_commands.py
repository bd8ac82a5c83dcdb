"""`qbft simulate`: what its commands print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plans import plan

from qbft.sim import swarm
from qbft.sim.byzantine import TWINS
from qbft.sim.plan import Crash, Liar, Partition, Plan
from qbft_server.cli import main

CRASH = Crash(3, at_ms=1_000)
TIMED = {"seconds", "runs_per_second"}


def test_simulate_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """As `qbft` does: the help, and the exit code of wrong usage."""
    assert main(["simulate"]) == 2
    shown = capsys.readouterr()
    assert "run" in shown.out
    assert not shown.err


def test_run_tells_the_same_story_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    """One event a line, the outcome at the end; the same seed, the same story."""
    assert main(["simulate", "run", "--seed", "3", "--nodes", "4", "--json"]) == 0
    first = capsys.readouterr().out
    assert main(["simulate", "run", "--seed", "3", "--nodes", "4", "--json"]) == 0
    assert capsys.readouterr().out == first
    *events, outcome = map(json.loads, first.splitlines())
    assert {"starts", "sends", "decides"} <= {event["kind"] for event in events}
    assert outcome["decided"] >= 1
    assert main(["simulate", "run", "--seed", "3", "--nodes", "4"]) == 0
    assert "PRE_PREPARE sim/0 round 1" in capsys.readouterr().out


def test_run_draws_a_diagram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one instance, as SVG that a browser reads."""
    path = tmp_path / "run.svg"
    command = ["simulate", "run", "--seed", "3", "--nodes", "4", "--svg", str(path)]
    assert main(command) == 0
    drawing = path.read_text(encoding="utf-8")
    assert drawing.startswith("<svg")
    assert drawing.rstrip().endswith("</svg>")
    assert "sim/0 of seed 3" in drawing
    assert main([*command, "--instance", "nonsense"]) == 2
    capsys.readouterr()


def test_swarm_counts_what_it_met(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs, coverage of rules and faults; in several processes the same as in one."""
    arguments = ["simulate", "swarm", "--seeds", "0:12", "--nodes", "4", "--json"]
    assert main([*arguments, "--jobs", "1"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--jobs", "2"]) == 0
    together = json.loads(capsys.readouterr().out)
    for record in (alone, together):
        del record["seconds"], record["runs_per_second"]
    assert alone == together
    assert alone["runs"] == 12
    assert alone["violations"] == {}
    assert alone["rules"]["unjust_quorum_round_changes"] == 0, "what never happened has a row"
    assert set(alone["happened"]) == set(swarm.HAPPENS)
    assert main(arguments[:-1]) == 0
    assert "justified_pre_prepare" in capsys.readouterr().out


@pytest.mark.real_clock
def test_a_dask_cluster_plays_the_same_runs(
    dask_cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 3: `--executor` takes an existing Dask cluster, here a local one of two workers."""
    commands = {
        "swarm": ["--seeds", "0:20", "--nodes", "4"],
        "twins": ["--part", "7/200"],
    }
    for name, given in commands.items():
        results = []
        for where in (["--jobs", "1"], ["--executor", dask_cluster]):
            assert main(["simulate", name, *given, "--json", *where]) == 0
            record = json.loads(capsys.readouterr().out)
            results.append({k: v for k, v in record.items() if k not in TIMED})
        assert results[0] == results[1]


@pytest.mark.parametrize("command", ["swarm", "twins"])
def test_an_executor_that_is_none_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage, with what is allowed."""
    assert main(["simulate", command, "--executor", "cluster"]) == 2
    assert "processes and dask://HOST:PORT" in capsys.readouterr().err


def test_a_violation_is_told_with_the_command_that_shows_it_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1, the seed and its command; `run` fails alike, and shrinks it into a file."""
    sides = Partition(((0, 1, 2), (3, 4, 5)), 0, 2_000)
    forked = plan(Liar(0, TWINS), Liar(1, TWINS), sides, CRASH, instances=2, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swarm, "draw", lambda seed, nodes=None: forked)
        command = ["simulate", "swarm", "--seeds", "7:8", "--nodes", "4"]
        assert main(command) == 1
        assert "qbft simulate run --seed 7 --nodes 4" in capsys.readouterr().err
        path = tmp_path / "fork.json"
        assert main(["simulate", "run", "--seed", "7", "--shrink", str(path)]) == 1
    capsys.readouterr()
    assert main(["simulate", "run", "--scenario", str(path)]) == 1
    assert "I1" in capsys.readouterr().err
    small = Plan.from_json(path.read_text(encoding="utf-8"))
    assert len(small.faults) <= 3
    assert CRASH not in small.faults


@pytest.mark.parametrize("seeds", ["5", "5:5", "9:3", "a:b", ":"])
def test_seeds_are_a_range(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is wrong usage."""
    assert main(["simulate", "swarm", "--seeds", seeds]) == 2
    assert "A:B" in capsys.readouterr().err


def test_a_scenario_file_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Wrong usage, with the file's name."""
    path = tmp_path / "x.json"
    assert main(["simulate", "run", "--scenario", str(path)]) == 2
    path.write_text("[1]")
    assert main(["simulate", "run", "--scenario", str(path)]) == 2
    assert "not a scenario file" in capsys.readouterr().err


def test_a_swarm_ends_when_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 3: CI plays fresh seeds for a minute; here for no time, which is one piece of them."""
    arguments = [
        "simulate",
        "swarm",
        "--seeds",
        "0:100000",
        "--nodes",
        "1",
        "--jobs",
        "1",
        "--json",
    ]
    assert main([*arguments, "--seconds", "0"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["runs"] < 100
