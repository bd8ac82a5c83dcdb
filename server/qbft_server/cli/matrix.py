"""`qbft simulate matrix`: the round timers compared, and the gate against the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.output import console, write_whole

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from rich.table import Table

    from qbft.sim.matrix.cells import Batch, Figures, Matrix
    from qbft.sim.matrix.running import Outcome


def matrix(
    iterations: Annotated[int, typer.Option(min=2, max=1_000_000, help="Runs of a cell.")] = 500,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default: one a core.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="What all runs are drawn from.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw them: .svg, .png or .pdf (needs qbft\\[sim])."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit 1 where a cell differs from the reference's (meant for 100 runs or more).",
        ),
    ] = False,
    tail: Annotated[
        bool,
        typer.Option(
            "--tail",
            help="Instead: the same runs with an end at 120 s, for four timers, and the slowest.",
        ),
    ] = False,
    executor: Annotated[
        str,
        typer.Option(metavar="WHERE", help="processes, or a Dask cluster: dask://HOST:PORT."),
    ] = "processes",
) -> None:
    """Compare the round timers over sizes and latencies: 90 cells, undecided, rounds, seconds.

    Example: qbft simulate matrix --iterations 100 --plot timers.svg
    """
    from qbft.sim.matrix.cells import as_record, batches, gather
    from qbft_server.cli import executors

    if tail:
        if check or plot is not None:
            raise CommandError("--tail goes with neither --check nor --plot", ExitCode.USAGE)
        _run_tail(iterations, seed, executor, jobs, json_file)
        return
    if plot is not None:
        _check_plot(plot)
    work = list(batches(iterations, seed))
    with executors.executor(executor, jobs) as workers:
        result = gather(iterations, seed, zip(work, _outcomes(workers, work), strict=True))
    _print_tables(result)
    if json_file is not None:
        _write_json(json_file, as_record(result))
    if plot is not None:
        from qbft_server.cli.matrix_plot import picture

        write_whole(plot, picture(result, plot.suffix.removeprefix(".")))
    if check:
        _check(result)


def _run_tail(
    iterations: int, seed: int, executor: str, jobs: int | None, json_file: Path | None
) -> None:
    """Play the long runs, and print or write what they came to."""
    from qbft.sim.matrix.tail import tail_batches, tail_rows
    from qbft_server.cli import executors

    work = list(tail_batches(iterations, seed))
    with executors.executor(executor, jobs) as workers:
        rows = tail_rows(zip(work, _outcomes(workers, work), strict=True))
    table = _table(
        "latencies", "up", "timer", figures=(*_FIGURES, "median s", "99 % s", "slowest s")
    )
    for row in rows:
        seconds = (row.median_s, row.most_s, row.slowest_s)
        table.add_row(
            row.profile,
            row.up,
            row.timer,
            *_columns(row.figures),
            *(f"{of:.2f}" for of in seconds),
            end_section=row.timer == rows[-1].timer,
        )
    console().print(table)
    if json_file is not None:
        record = {"iterations": iterations, "seed": seed, "rows": [row.as_record() for row in rows]}
        _write_json(json_file, record)


def _write_json(path: Path, record: dict[str, object]) -> None:
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())


def _check_plot(plot: Path) -> None:
    """Fail before the work, not after it."""
    if plot.suffix not in (".svg", ".png", ".pdf"):
        raise CommandError(f"--plot {plot}: allowed are .svg, .png and .pdf", ExitCode.USAGE)
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, it comes with: pip install 'qbft[sim]'"
        raise CommandError(message, ExitCode.FAILED) from error


def _outcomes(workers: Executor, work: Sequence[Batch]) -> Iterator[list[Outcome | None]]:
    """What the batches come to, in their order, with a progress bar on a terminal."""
    from rich.progress import track

    from qbft.sim.matrix.cells import run_batch

    screen = console(stderr=True)
    done = workers.map(run_batch, work)
    yield from track(
        done,
        "simulating",
        total=len(work),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def _print_tables(result: Matrix) -> None:
    cells = _table("size", "up of n", "profile", "timer")
    for cell in result.cells:
        setting = cell.setting
        size = setting.size
        cells.add_row(
            size.name,
            f"{size.up} of {size.nodes}",
            setting.profile.name,
            setting.timer,
            *_columns(cell.figures),
            end_section=setting.timer == list(result.timers)[-1],
        )
    timers = _table("timer")
    for name, figures in result.timers.items():
        timers.add_row(name, *_columns(figures))
    screen = console()
    screen.print(cells)
    screen.print(timers)


_FIGURES = ("runs", "undecided %", "mean round", "mean s", "sd s")


def _table(*names: str, figures: Sequence[str] = _FIGURES) -> Table:
    from rich.table import Table

    table = Table()
    for name in names:
        table.add_column(name)
    for name in figures:
        table.add_column(name, justify="right")
    return table


def _columns(of: Figures) -> tuple[str, ...]:
    return (
        str(of.runs),
        f"{100 * of.undecided_share:.2f}",
        f"{of.mean_round:.3f}",
        f"{of.mean_s:.3f}",
        f"{of.sd_s:.3f}",
    )


def _check(result: Matrix) -> None:
    """Compare with the reference's figures, which come with the package.

    Raises:
        CommandError: a cell differs.
    """
    from qbft.sim import matrix as package
    from qbft.sim.matrix.cells import differences, read_reference

    reference = read_reference(resources.files(package).joinpath("reference.json").read_text())
    wrong = [(cell, found) for cell in result.cells if (found := differences(cell, reference))]
    agree = f"{len(result.cells) - len(wrong)} of {len(result.cells)} cells agree"
    for cell, found in wrong:
        typer.echo(f"{cell.setting}: {'; '.join(found)}")
    typer.echo(f"{agree} with the reference's figures")
    if wrong:
        raise typer.Exit(ExitCode.NEGATIVE)
