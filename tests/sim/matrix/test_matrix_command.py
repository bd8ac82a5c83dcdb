"""`qbft simulate matrix`: tables, files, picture, gate, and where the runs are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from qbft.sim.matrix import cells
from qbft.sim.matrix.settings import all_settings
from qbft_server.cli import executors, main, matrix_plot

FEW = ["simulate", "matrix", "--iterations", "2"]


class AtOnce(Executor):
    """An executor of the simplest kind: it does all in the caller's thread."""

    def submit(self, fn, /, *args, **kwargs):
        """Do it now."""
        future: Future[object] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def at_once(_name: str, _jobs: int | None) -> Iterator[Executor]:
    """Stands for `executors.executor`."""
    yield AtOnce()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process: any executor fits the command."""
    monkeypatch.setattr(executors, "executor", at_once)


@pytest.mark.usefixtures("here")
def test_tables_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 3: a row a cell and a timer, the same as JSON, and a picture."""
    figures, picture = tmp_path / "m.json", tmp_path / "m.svg"
    assert main([*FEW, "--json", str(figures), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert sum("edouble_1000_eager" in line for line in out.splitlines()) == 18 + 1
    record = json.loads(figures.read_text())
    assert len(record["cells"]) == 90
    assert next(row["timer"] for row in record["timers"]) == "inc"
    assert sum(row["runs"] for row in record["cells"]) == 180
    assert picture.read_text().lstrip().startswith("<?xml")


@pytest.mark.usefixtures("here")
def test_the_tail_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIMULATION, the round timers: the table of long runs comes from a command."""
    monkeypatch.setenv("COLUMNS", "150")
    file = tmp_path / "tail.json"
    assert main([*FEW, "--tail", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert sum("exp_2000_eager" in line for line in out.splitlines()) == 6
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 24
    assert {row["runs"] for row in rows} == {6}
    assert all(row["median_s"] <= row["within_99_s"] <= row["slowest_s"] for row in rows)


@pytest.mark.usefixtures("here")
def test_check_fails_on_a_cell_that_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate: exit 1, the cell and the figure named; 0 where all agree."""
    monkeypatch.setattr(cells, "differences", lambda _cell, _reference: [])
    assert main([*FEW, "--check"]) == 0
    assert "90 of 90 cells agree" in capsys.readouterr().out
    wrong = next(all_settings())
    monkeypatch.setattr(
        cells, "differences", lambda cell, _: ["off"] if cell.setting == wrong else []
    )
    assert main([*FEW, "--check"]) == 1
    out = capsys.readouterr().out
    assert f"{wrong}: off" in out
    assert "89 of 90" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--executor", "cluster"], "processes and dask://HOST:PORT"),
        (["--executor", "dask://"], "processes and dask://HOST:PORT"),
        (["--plot", "picture.gif"], ".svg, .png and .pdf"),
        (["--tail", "--check"], "--tail goes with neither --check nor --plot"),
        (["--tail", "--plot", "tail.svg"], "--tail goes with neither --check nor --plot"),
    ],
)
def test_what_cannot_be_is_refused_first(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage ends with 2 before anything is computed."""
    assert main([*FEW, *options]) == 2
    assert says in capsys.readouterr().err


def outcomes(pool: Executor) -> list[object]:
    """Some batches' outcomes by an executor."""
    return list(pool.map(cells.run_batch, WORK))


WORK = [batch for batch in cells.batches(2, 1) if batch.setting.size.name == "small-all"]


@pytest.mark.real_clock
def test_processes_come_to_the_same() -> None:
    """The pool's outcomes are those of this process."""
    with executors.executor("processes", 2) as pool:
        assert outcomes(pool) == outcomes(AtOnce())


@pytest.mark.real_clock
def test_a_dask_cluster_comes_to_the_same(dask_cluster: str) -> None:
    """Issue 3: an existing Dask cluster, here a local one of two workers, makes the runs."""
    with executors.executor(dask_cluster, None) as workers:
        assert outcomes(workers) == outcomes(AtOnce())


@pytest.mark.real_clock
def test_no_dask_cluster_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheduler that does not answer ends the command with 3, in one line."""
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.2)
    assert main([*FEW, "--executor", "dask://127.0.0.1:1"]) == 3
    assert "no Dask scheduler answers at 127.0.0.1:1" in capsys.readouterr().err


def test_the_same_figures_give_the_same_picture() -> None:
    """A picture in the docs changes only when its figures do."""
    work = list(cells.batches(2, 1))
    result = cells.gather(2, 1, [(batch, cells.run_batch(batch)) for batch in work])
    assert matrix_plot.picture(result, "svg") == matrix_plot.picture(result, "svg")
    assert matrix_plot.picture(result, "png").startswith(b"\x89PNG")
