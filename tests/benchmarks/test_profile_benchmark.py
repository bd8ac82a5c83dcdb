"""The profile (issue 5): every sample is charged to one stage, and the names are still there."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmark_scripts import run_benchmark
from flame import draw
from stages import IDLE, LOOP, RULES, STAGES, Frame, Sample, by_stage, read_samples

_TURN = "main (/x/server/qbft_server/node.py);Driver._turn (/x/qbft/replica/driver.py)"
_ENCODE = "encode_frame (/x/qbft/wire/frames.py);fill_vote (/x/qbft/wire/build.py)"
_WRITE = "VoteJournal._write (/y/site-packages/qbft_server/store/journal.py)"
_RECORD = "encode_journal_commit (/x/qbft/wire/journal.py);fill_vote (/x/qbft/wire/build.py)"
_SYNC = "SegmentLog.sync (/x/server/qbft_server/store/segments.py)"
FOLDED = f"""\
thread (7): MainThread;{_TURN};{_ENCODE} 3
thread (7): MainThread;{_TURN};{_WRITE};{_RECORD} 2
thread (7): MainThread;{_TURN};{_WRITE};{_SYNC} 1
thread (7): MainThread;Runner.run (/z/lib/python3.11/asyncio/runners.py:118) 4
thread (9): uvloop_0;_worker (/z/lib/python3.11/concurrent/futures/thread.py) 10
"""


def test_the_innermost_stage_counts_and_other_threads_do_not() -> None:
    """A helper's time is its caller's: writing a vote is encoding, or the journal's work."""
    samples = list(read_samples(FOLDED))
    assert [(one.stage, one.count) for one in samples] == [
        ("encode", 3),
        ("journal", 2),
        ("sync", 1),
        (LOOP, 4),
    ]
    assert str(samples[0].stack[0]) == "main (qbft_server/node.py)"
    assert str(samples[1].stack[2]) == "VoteJournal._write (qbft_server/store/journal.py)"


@pytest.mark.parametrize(
    ("busy", "loop", "idle"), [(0.6, 0.1, 0.3), (0.2, 0.0, 0.4), (1.0, 0.4, 0.0)]
)
def test_what_the_loop_works_comes_from_the_processors_time(
    busy: float, loop: float, idle: float
) -> None:
    """Waiting and working look the same from outside; shares are of all the time."""
    shares = by_stage(list(read_samples(FOLDED)), busy)
    assert list(shares) == list(STAGES)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["encode"] == pytest.approx(0.3)
    assert (shares[LOOP], shares[IDLE]) == (pytest.approx(loop), pytest.approx(idle))


@pytest.mark.parametrize(("stage", "path", "functions"), RULES)
def test_what_the_stages_name_is_there(stage: str, path: str, functions: tuple[str, ...]) -> None:
    """A file or function that is renamed would silently be charged to another stage."""
    assert stage in STAGES
    package, _, rest = path.partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    place = Path(spec.origin).parent / rest
    assert place.is_dir() if path.endswith("/") else place.is_file()
    if functions:
        tree = ast.walk(ast.parse(place.read_text()))
        defined = {
            node.name for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert set(functions) <= defined


def test_the_flame_graph_is_as_wide_as_the_time() -> None:
    """Each frame's box has its share of the width, and lies under its caller's."""
    outer, left, right = (
        Frame("run<", "qbft/a.py"),
        Frame("b", "qbft/b.py"),
        Frame("c", "qbft/c.py"),
    )
    svg = ET.fromstring(draw([Sample((outer, left), 3), Sample((outer, right), 1)], "a & b"))  # noqa: S314 - our own drawing
    boxes = {}
    for group in svg.iter("{http://www.w3.org/2000/svg}g"):
        title = group.findtext("{http://www.w3.org/2000/svg}title")
        box = group.find("{http://www.w3.org/2000/svg}rect")
        assert box is not None
        boxes[title] = {key: float(box.get(key, "0")) for key in ("x", "y", "width")}
    assert boxes["run< (qbft/a.py): 100.0%"]["width"] == 1200
    assert boxes["b (qbft/b.py): 75.0%"]["width"] == 900
    assert boxes["c (qbft/c.py): 25.0%"]["x"] == boxes["b (qbft/b.py): 75.0%"]["x"] + 900
    assert boxes["b (qbft/b.py): 75.0%"]["y"] > boxes["run< (qbft/a.py): 100.0%"]["y"]


def test_a_node_that_is_not_there_is_told() -> None:
    """Bad input: one clear line, before anything is started."""
    done = run_benchmark("profile", "--nodes", "4", "--node", "4")
    assert done.returncode == 2
    assert "--node 4: there are 0 to 3" in done.stderr


@pytest.mark.e2e
def test_a_running_node_is_profiled(tmp_path: Path) -> None:
    """Issue 5: a table of the stages and a flame graph, of a real node under load."""
    if shutil.which("py-spy", path=sysconfig.get_path("scripts")) is None:
        pytest.skip("py-spy is not installed beside this interpreter")
    picture, folded = tmp_path / "flame.svg", tmp_path / "folded"
    words = ("--concurrency", "4", "--seconds", "2", "--rate", "50", "--json")
    done = run_benchmark("profile", *words, "--flame", str(picture), "--samples", str(folded))
    if "could not look" in done.stderr:
        pytest.skip(f"this system does not let py-spy look: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["stages"]) == list(STAGES)
    assert sum(row["share"] for row in told["stages"].values()) == pytest.approx(1.0, abs=0.01)
    assert told["decisions_s"] > 0
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314 - our own drawing
    assert "MainThread" in folded.read_text()
