"""The engine against the traces recorded from the reference, and the tool that compares them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qbft.parity import DIFFERENCES_MAX, ParityReport, TraceError, main, replay_files

RECORDED = Path(__file__).with_name("reference-traces.jsonl.gz")


def trace(**changes: object) -> dict[str, object]:
    """A small life: one validator alone starts, gets its input and proposes it."""
    proposal = {"type": 1, "source": 0, "round": 1, "value": 7, "pr": 0, "pv": 0}
    prepare = proposal | {"type": 2}
    return {
        "nodes": 1,
        "fifo_limit": 100,
        "instance": 0,
        "process": 0,
        "events": [
            {"kind": "start"},
            {"kind": "input", "value": 7},
            {"kind": "recv", "msg": proposal},
        ],
        "outputs": [
            {"timer": [1]},
            {"broadcast": [proposal]},
            {"broadcast": [prepare], "rule": "justified_pre_prepare", "timer": [1]},
        ],
    } | changes


def written(path: Path, *traces: object) -> Path:
    """Write traces as a plain file."""
    path.write_text("".join(json.dumps(one) + "\n" for one in traces))
    return path


def test_every_recorded_step_is_reproduced() -> None:
    """All 91,436 steps of all 2,005 traces: what makes this engine the reference's equal."""
    assert replay_files([RECORDED]) == ParityReport(2005, 91436, 0, ())


def test_a_plain_file_and_a_compressed_one_are_read_alike(tmp_path: Path) -> None:
    """Told apart by their first bytes, not by their names; several files add up."""
    plain = written(tmp_path / "traces.gz", trace(), trace())
    packed = tmp_path / "traces.jsonl"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert replay_files([plain, str(packed)]) == ParityReport(4, 12, 0, ())


def test_equal_traces_exit_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 2: the counts, and success."""
    assert main([str(written(tmp_path / "t", trace()))]) == 0
    assert capsys.readouterr().out == "traces 1 steps 3 mismatches 0\n"


def changed(step: int, **output: object) -> dict[str, object]:
    """The small life with one output recorded differently."""
    outputs = trace()["outputs"]
    assert isinstance(outputs, list)
    outputs[step] = {k: v for k, v in (outputs[step] | output).items() if v is not None}
    return trace(outputs=outputs)


COMMIT = {"type": 3, "source": 0, "round": 1, "value": 7, "pr": 0, "pv": 0}


@pytest.mark.parametrize(
    ("difference", "named"),
    [
        (changed(0, timer=[2]), "event 0: timer [1], expected [2]"),
        (changed(0, timer=None), "event 0: timer [1], expected []"),
        (changed(0, rule="quorum_commits"), "event 0: rule [], expected [quorum_commits]"),
        (changed(0, unjust=True), "event 0: unjust 0, expected 1"),
        (changed(1, broadcast=None), "event 1: broadcast [PRE_PREPARE of 0 round 1 value 7"),
        (changed(1, broadcast=[COMMIT | {"just": [COMMIT]}]), "expected [COMMIT of 0 round 1"),
        (
            changed(2, round_change=[{"from": 1, "to": 2, "rule": "round_timeout"}]),
            "event 2: round_change [], expected [[1, 2, round_timeout]]",
        ),
        (
            changed(2, decide={"value": 7, "round": 1, "qcommit": [COMMIT]}),
            "event 2: decide None, expected [7, 1, [COMMIT of 0 round 1 value 7",
        ),
        (
            trace(events=[{"kind": "start"}, {"kind": "input", "value": 0}], outputs=[{}, {}]),
            "event 0: timer [1], expected []",
        ),
    ],
)
def test_any_difference_is_found_and_told(
    difference: object, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every key of the format takes part in the comparison, also where it is left out."""
    path = written(tmp_path / "t", trace(), difference)
    assert main([str(path)]) == 1
    told, counts = capsys.readouterr().out.splitlines()
    assert told.startswith(f"{path}: line 2, event ")
    assert named in told
    assert not counts.endswith("mismatches 0")


def test_a_failed_engine_differs(tmp_path: Path) -> None:
    """The reference never stops within a trace, so an engine that does is not exact (rule 6)."""
    events = [{"kind": "start"}, {"kind": "input", "value": 0}]
    path = written(tmp_path / "t", trace(events=events, outputs=[{"timer": [1]}, {}]))
    assert "failed no value" in str(replay_files([path]).differences[0])


def test_the_order_within_a_justification_does_not_matter(tmp_path: Path) -> None:
    """The traces hold them sorted, while the reference's order is random (REFERENCE N2, N5)."""
    bare = {"round": 1, "value": 7, "pr": 0, "pv": 0}
    commits = [{"type": 3, "source": s} | bare for s in (2, 0, 1)]
    decided = {"type": 5, "source": 2, "just": commits} | bare
    outputs = [
        {"timer": [1]},
        {
            "rule": "justified_decided",
            "decide": {"value": 7, "round": 1, "qcommit": [commits[1], commits[2], commits[0]]},
        },
    ]
    events = [{"kind": "start"}, {"kind": "recv", "msg": decided}]
    path = written(tmp_path / "t", trace(nodes=4, process=0, events=events, outputs=outputs))
    assert not replay_files([path]).mismatches


def test_a_rejected_value_fails_the_comparison_and_a_hanging_one_never_answers(
    tmp_path: Path,
) -> None:
    """Keys `reject` and `hang`: no PREPARE either way, and only the second waits (rule 32)."""
    outputs = trace()["outputs"]
    assert isinstance(outputs, list)
    outputs[2] = {"rule": "justified_pre_prepare", "timer": [1]}
    rejected, hanging = trace(outputs=outputs, reject=[7]), trace(outputs=outputs, hang=[7])
    assert not replay_files([written(tmp_path / "t", rejected, hanging)]).mismatches
    other = trace(reject=[8], hang=[9])
    assert not replay_files([written(tmp_path / "t", other)]).mismatches


def test_the_report_stays_short(tmp_path: Path) -> None:
    """One difference a trace, a bounded number of traces, and a full count."""
    bad = trace(outputs=[{}, {}, {}])
    report = replay_files([written(tmp_path / "t", *[bad] * (DIFFERENCES_MAX + 5))])
    assert report.mismatches == 3 * (DIFFERENCES_MAX + 5)
    assert len(report.differences) == DIFFERENCES_MAX


def spoiled(change: Callable[[dict[str, object]], object]) -> str:
    """A trace with something wrong in it, as a line."""
    one = trace()
    change(one)
    return json.dumps(one)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no trace"),
        (b"\n\n", "holds no trace"),
        (b"nonsense\n", "line 1 is not a trace"),
        (b"\xff\xfe\n", "line 1 is not a trace"),
        (b"[" * 100_000, "line 1 is not a trace"),
        (b"[]\n", "line 1 is not a trace"),
        (b"\x1f\x8b\x08garbage", "cannot be read"),
        (gzip.compress(b"{}" * 500)[:-9], "cannot be read"),
        (spoiled(lambda t: t.pop("nodes")), "nodes: Field required"),
        (spoiled(lambda t: t.update(nodes=0)), "nodes: Input should be greater"),
        (spoiled(lambda t: t.update(nodes="4")), "nodes: Input should be a valid integer"),
        (spoiled(lambda t: t.update(outputs=[{}])), "3 events but 1 outputs"),
        (spoiled(lambda t: t.update(events=[{"kind": "stop"}], outputs=[{}])), "events.0.kind"),
        (spoiled(lambda t: t.update(events=[{"kind": "recv"}], outputs=[{}])), "msg belongs to"),
        (spoiled(lambda t: t.update(events=[{"kind": "input"}], outputs=[{}])), "value belongs"),
        (spoiled(lambda t: t.update(events=[], outputs=[{"timers": [1]}])), "outputs.0.timers"),
        (
            spoiled(lambda t: t.update(events=[{"kind": "recv", "msg": COMMIT | {"type": 9}}])),
            "events.0.msg.type",
        ),
        (
            spoiled(
                lambda t: t.update(
                    events=[{"kind": "recv", "msg": COMMIT | {"just": [COMMIT | {"just": []}]}}]
                )
            ),
            "events.0.msg.just.0.just",
        ),
    ],
    ids=[str(number) for number in range(18)],
)
def test_what_is_no_trace_is_one_clear_line(
    content: bytes | str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input of issue 2: the file and the line named, exit 2, nothing half-told."""
    path = tmp_path / "t"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"qbft parity: {path}: ")
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """An operating failure, as an exception at the edge (DESIGN, errors)."""
    with pytest.raises(TraceError, match="gone: cannot be read: No such file"):
        replay_files([tmp_path / "gone"])
    with pytest.raises(TraceError, match="cannot be read: Is a directory"):
        replay_files([tmp_path])


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    """`python -m qbft.parity FILE`; without a file it says how it is used."""
    command = [sys.executable, "-m", "qbft.parity"]
    path = written(tmp_path / "t", trace())
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "traces 1 steps 3 mismatches 0\n"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
