"""`qbft replay` on files: what it prints, writes and refuses (issue 7, the recorder)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from charon_dumps import dump_of
from recorded_runs import plan, records

from qbft.core import InstanceId
from qbft.replay.capture import encode_capture, record_to_pb
from qbft.replay.record import InstanceRecord
from qbft.sim.plan import Liar, Plan
from qbft_server.cli import main

CASE = records(plan(Liar(0, "Silent"), seed=2))


def saved(path: Path, which: list[InstanceRecord]) -> str:
    """A capture file of these records."""
    file = path / "case.qbft"
    file.write_bytes(encode_capture(map(record_to_pb, which), "tests"))
    return str(file)


def test_a_case_is_told_drawn_and_written_as_a_scenario(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One command: a table for each node, a diagram, and a scenario that `simulate` plays."""
    svg, scenario = tmp_path / "case.svg", tmp_path / "case.json"
    arguments = [saved(tmp_path, CASE), "--svg", str(svg), "--scenario", str(scenario)]
    assert main(["replay", *arguments]) == 0
    told = capfd.readouterr().out
    assert "sim/0 at node 1 of 4; node 0 leads round 1" in told
    assert "timer expired" in told
    assert "enters round 2: round_timeout" in told
    assert "differ" not in told
    assert svg.read_text().startswith("<svg")
    assert "node 0 (no record)" in svg.read_text()
    assert Plan.from_json(scenario.read_text()).nodes == 4
    assert main(["simulate", "run", "--scenario", str(scenario), "--json"]) == 0


def test_json_has_a_line_for_each_step(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For scripts: one object a step, of the node that was asked for."""
    assert main(["replay", saved(tmp_path, CASE), "--json", "--node", "2"]) == 0
    steps = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {step["node"] for step in steps} == {2}
    assert len(steps) == len(next(r for r in CASE if r.validator == 2).entries)
    assert any(effect.startswith("decides") for step in steps for effect in step["effects"])


def test_a_dump_of_charon_is_recognised(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same command reads the other kind of file."""
    file = tmp_path / "consensus_messages.pb.gz"
    file.write_bytes(dump_of(CASE))
    svg = tmp_path / "dump.svg"
    assert main(["replay", str(file), "--svg", str(svg)]) == 0
    assert "charon/3/8 at node 1 of 4" in capfd.readouterr().out
    assert svg.read_text().startswith("<svg")


def test_an_engine_that_does_otherwise_is_exit_code_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole record that the engine does not follow again is an answer, and it is no."""
    entries = list(CASE[0].entries)
    number = next(n for n, entry in enumerate(entries) if entry.effects and n > 3)
    entries[number] = replace(entries[number], effects=())
    changed = replace(CASE[0], entries=tuple(entries))
    assert main(["replay", saved(tmp_path, [changed])]) == 1
    assert capfd.readouterr().err == "qbft: 1 steps differ from what was recorded\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--node", "0"], "--node 0: is not in the file"),
        (["--instance", "sim/7"], "--instance sim/7: is not in the file"),
    ],
)
def test_what_is_not_in_the_file_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    """Usage errors name the option and what is wrong with it."""
    assert main(["replay", saved(tmp_path, CASE), *arguments]) == 2
    assert capfd.readouterr().err == f"qbft: {told}\n"


def test_of_several_instances_one_is_to_be_chosen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A diagram is of one instance: the message names those that there are."""
    other = replace(CASE[0], instance=InstanceId("sim", 1))
    file = saved(tmp_path, [CASE[0], other])
    assert main(["replay", file]) == 2
    assert capfd.readouterr().err == "qbft: --instance: choose one of sim/0, sim/1\n"


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b\x00", b"hello"])
def test_a_wrong_file_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes
) -> None:
    """Exit code 2, and one line that names the file."""
    file = tmp_path / "wrong"
    file.write_bytes(data)
    assert main(["replay", str(file)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"qbft: {file}: ")
    assert said.count("\n") == 1
