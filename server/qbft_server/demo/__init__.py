"""`qbft demo`: four real nodes agree on the rows of a file, lose one, get it back, prove it all.

Every sentence that it prints was checked; the exit code is 0 only if all of them hold.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from qbft.errors import ClusterError
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.output import console, print_json
from qbft_server.cli.stopping import until_told_to_stop
from qbft_server.demo.report import print_report, report
from qbft_server.demo.rows import Row, read_rows, read_sample
from qbft_server.demo.story import CERTIFICATES, Listener, Story, tell


def run_demo(
    input_: Path | None = None,
    rows_max: int | None = None,
    keep: Path | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Tell the story of a table, or of the one that comes along, and print what happened.

    Args:
        input_: a CSV of topic, height, value.
        rows_max: only so many of its rows.
        keep: a new directory for the cluster and the certificates; temporary without it.
        as_json: print one JSON object.

    Raises:
        CommandError: a claim does not hold.
        QbftError: the input cannot be used, and nothing was started; or a step failed.
    """
    rows = read_sample(rows_max) if input_ is None else read_rows(input_, rows_max)
    began = time.monotonic()
    with _directory(keep) as directory:
        story = _lived(rows, directory, quiet=as_json)
    result = report(story, time.monotonic() - began)
    result["kept_in"] = None if keep is None else str(keep)
    if as_json:
        print_json(result)
    else:
        print_report(result, console())
        if keep is not None:
            console().print(f"cluster and certificates: {keep}, {keep / CERTIFICATES}")
    if not story.holds:
        raise CommandError("not every claim holds", ExitCode.NEGATIVE)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="qbft-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        used = any(keep.iterdir())
    except OSError as error:
        raise ClusterError(f"{keep}: {error.strerror}") from error
    if used:
        raise ClusterError(f"{keep} is not empty; name a new directory")
    yield keep.absolute()


def _lived(rows: Sequence[Row], directory: Path, *, quiet: bool) -> Story:
    stream = console(stderr=True)
    with _progress(stream, hidden=quiet or not stream.is_terminal) as progress:
        task = progress.add_task("", total=len(rows))
        listener = Listener(
            chapter=lambda text: progress.update(task, description=text),
            decided=lambda count: progress.update(task, completed=count),
        )
        return asyncio.run(until_told_to_stop(tell(rows, directory, listener)))


def _progress(stream: Console, *, hidden: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stream,
        transient=True,
        disable=hidden,
    )
