"""`qbft chaos`: real nodes under load and seeded faults, and a checker that misses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.options import JsonOption
from qbft_server.cli.output import console, print_json
from qbft_server.cli.stopping import until_told_to_stop

if TYPE_CHECKING:
    from qbft_server.chaos.plan import Kind
    from qbft_server.chaos.run import Listener


def chaos(
    minutes: Annotated[float, typer.Option(min=0.01, help="How long faults are begun.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="What the faults are drawn from; else a new one.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=4, max=16, help="How many nodes.")] = 4,
    rate: Annotated[float, typer.Option(min=1.0, help="Proposals a second.")] = 30.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this kind of fault; may be given often: kill, pause, restart, rolling, "
            "kill_all, cut, isolate, halves, one_way, ring, delay, loss, disk_full, no_disk, wipe."
        ),
    ] = None,
    sabotage: Annotated[
        bool,
        typer.Option(
            "--sabotage", help="Wipe f+1 nodes behind the cluster's back: must be found, exit 1."
        ),
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the nodes' data and logs in this new directory.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Break a cluster of real nodes under load, and check that it keeps what it promised.

    Exit code 1: a promise was broken; what the nodes have left is kept.

    Example: qbft chaos --minutes 5 --seed 7
    """
    from qbft_server.chaos.report import print_report, report
    from qbft_server.chaos.run import Run, Settings

    settings = Settings(
        minutes * 60,
        secrets.randbelow(1_000_000) if seed is None else seed,
        nodes,
        rate,
        _kinds(only or []),
        is_sabotaged=sabotage,
    )
    with _directory(keep) as directory:
        run = Run(settings, directory, _listener(quiet=json))
        outcome = asyncio.run(until_told_to_stop(run.run()))
        kept = keep
        if outcome.violations and keep is None:
            kept = Path(tempfile.mkdtemp(prefix="qbft-chaos-evidence-"))
            shutil.copytree(directory, kept, dirs_exist_ok=True)
    result = {**report(outcome), "kept_in": None if kept is None else str(kept)}
    if json:
        print_json(result)
    else:
        print_report(result, console())
        if kept is not None:
            console().print(f"data and logs of the nodes: {kept}")
    if outcome.violations:
        raise CommandError(f"{result['violations']} violations", ExitCode.NEGATIVE)


def _kinds(names: list[str]) -> tuple[Kind, ...]:
    from qbft_server.chaos.plan import Kind

    known = {kind.name.lower(): kind for kind in Kind}
    for name in names:
        if name not in known:
            message = f"--only {name}: allowed is one of {', '.join(known)}"
            raise CommandError(message, ExitCode.USAGE)
    return tuple(kind for name, kind in known.items() if name in names) or tuple(Kind)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="qbft-chaos-") as name:
            yield Path(name)
        return
    if keep.exists() and any(keep.iterdir()):
        raise CommandError(f"{keep} is not empty; name a new directory", ExitCode.USAGE)
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()


def _listener(*, quiet: bool) -> Listener:
    from qbft_server.chaos.run import Listener

    screen = console()

    def say(at: float, text: object) -> None:
        if not quiet:
            screen.print(f"{at:8.1f} s  {text}")

    return Listener(
        episode=say,
        violation=lambda at, violation: say(at, f"VIOLATION {violation.promise}: {violation.seen}"),
        chapter=say,
    )
