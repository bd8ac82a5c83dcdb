"""`qbft demo` from outside: what it proves, and that nothing of it is left (issue 2, stage 4).

The whole demo takes about 10 s, an interrupted one 2 s.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from command_line import COMMAND, SECONDS, Ended, end, environment, processes_about, qbft

from qbft.cluster import Cluster
from qbft.verify import verify
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.demo import run_demo
from qbft_server.demo.load import CLIENTS, in_flight_per_client
from qbft_server.demo.rows import ROWS_MIN, Row, read_rows, read_sample
from qbft_server.demo.story import VICTIM, Listener, Story

ROOT = Path(__file__).parents[2]
DEMO_SECONDS_MAX = 60.0
"""In which the whole demo must have ended, from its first word (issue 2)."""


def test_the_sample_ships_once() -> None:
    """Issue 2: at least 1,000 rows under examples/, the same that an installed wheel has."""
    rows = read_sample()
    assert len(rows) >= 1_000
    assert read_rows(ROOT / "examples" / "rates.csv") == rows
    assert files("qbft_server.demo").joinpath("rates.csv").is_file()
    assert read_sample(100) == rows[:100]


def test_the_sample_is_what_its_maker_makes(capfd: pytest.CaptureFixture[str]) -> None:
    """It is made up, always the same; whoever changes it changes its maker."""
    maker = (ROOT / "examples" / "make_rates.py").read_text()
    exec(compile(maker, "make_rates.py", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert capfd.readouterr().out == (ROOT / "examples" / "rates.csv").read_text()


@pytest.mark.parametrize("rows", [ROWS_MIN, 100, 1_200, 100_000])
def test_an_outage_meets_rows_that_begin_in_it(rows: int) -> None:
    """What is in flight at the kill is less than what is decided before the restart."""
    assert CLIENTS * in_flight_per_client(rows) < 2 * rows // 3 - rows // 3


def test_a_claim_that_does_not_hold_is_told_and_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 2: exit 0 only if every claim it prints was checked, and found true."""

    async def tell(rows: list[Row], directory: Path, listener: Listener) -> Story:
        story = Story(rows, directory)
        story.claim("the sky is blue", True)
        story.claim("the earth is flat", False)
        return story

    monkeypatch.setattr("qbft_server.demo.tell", tell)
    for as_json in (False, True):
        with pytest.raises(CommandError) as ended:
            run_demo(None, 30, tmp_path / f"keep{as_json}", as_json=as_json)
        assert ended.value.code == ExitCode.NEGATIVE
        out = capsys.readouterr().out
        assert "the earth is flat" in out
        assert ('"ok": false' if as_json else "NO") in out
    assert not Story([], tmp_path).holds


@pytest.mark.e2e
def test_the_demo_proves_what_it_prints(tmp_path: Path) -> None:
    """Issue 2, stage 4: four nodes, an outage under load, a recovery, certificates offline.

    What it claims is looked at once more from what it kept: each file is verified here again.
    """
    keep = tmp_path / "kept"
    changes = {"TMPDIR": str(tmp_path), "QBFT_CLUSTER": "/nowhere"}  # a shell's own settings
    ended = qbft("demo", "--rows", "120", "--json", "--keep", keep, changes=changes)
    assert (ended.code, ended.err) == (0, "")
    told = ended.json()
    assert told["ok"] is True
    assert all(claim["holds"] for claim in told["claims"])
    assert len(told["claims"]) == 5
    assert (told["rows"], sum(told["rounds"].values())) == (120, 120)
    assert told["seconds"] < DEMO_SECONDS_MAX
    assert told["outage"]["node"] == VICTIM
    assert told["outage"]["in_flight_at_kill"] > 0
    assert sum(phase["decisions"] for phase in told["phases"].values()) == 120
    cluster = Cluster.load(keep / "cluster" / "cluster.toml")
    proven = [verify(file.read_bytes(), cluster) for file in sorted(keep.glob("certificates/*"))]
    assert [(p.instance, p.value) for p in proven] == [
        (row.instance, row.value) for row in read_sample(120)
    ]
    assert processes_about(tmp_path) == []


async def _interrupted(folder: Path, when: Callable[[Path], bool], number: signal.Signals) -> Ended:
    """Run the demo in its own temporary folder, and signal it when this is so."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("demo", "--rows", "400", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({"TMPDIR": str(folder)}),
    )
    try:
        async with asyncio.timeout(SECONDS):
            while not when(folder):
                assert process.returncode is None
                await asyncio.sleep(0.02)
            process.send_signal(number)
            out, err = await process.communicate()
    finally:
        await end(process)
    return Ended(process.returncode or 0, out.decode(), err.decode())


def _left(folder: Path) -> list[object]:
    """What a demo has left: processes and files."""
    return [*processes_about(folder), *folder.iterdir()]


def _nodes_begin(folder: Path) -> bool:
    return any(folder.glob("qbft-demo-*/cluster/node-0/node.log"))


def _victim_is_back(folder: Path) -> bool:
    logs = folder.glob(f"qbft-demo-*/cluster/node-{VICTIM}/node.log")
    return any(log.read_text().count("node is up") == 2 for log in logs)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("when", "number"),
    [
        (_nodes_begin, signal.SIGINT),
        (_victim_is_back, signal.SIGINT),
        (_victim_is_back, signal.SIGTERM),
    ],
)
async def test_an_interrupted_demo_leaves_nothing(
    tmp_path: Path, when: Callable[[Path], bool], number: signal.Signals
) -> None:
    """Issue 2: Ctrl-C leaves no process behind, nor a directory, whenever it comes."""
    ended = await _interrupted(tmp_path, when, number)
    assert (ended.code, ended.out, ended.err) == (130, "", "qbft: interrupted\n")
    assert _left(tmp_path) == []


@pytest.mark.e2e
def test_a_demo_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Issue 2: a node that cannot start is one line and a non-zero exit; the others are stopped."""
    changes = {"TMPDIR": str(tmp_path), "QBFT_TIMER__FIRST_ROUND_MS": "no number"}
    ended = qbft("demo", changes=changes)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.count("\n") == 1
    assert "QBFT_TIMER__FIRST_ROUND_MS" in ended.err
    assert _left(tmp_path) == []
