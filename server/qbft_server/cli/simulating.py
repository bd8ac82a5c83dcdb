"""`qbft simulate`: whole clusters in this process, under faults that a seed draws.

The simulator is imported when one of these commands runs, so that no node carries it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from qbft_server.cli import matrix
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.options import JsonOption, read_file, read_instance
from qbft_server.cli.output import console, print_facts, print_json, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbft.core import InstanceId
    from qbft.sim.chronicle import Event
    from qbft.sim.plan import Plan
    from qbft.sim.swarm import Tally

T = TypeVar("T")

SEEDS_PER_PIECE = 10
"""Seeds that a process plays before it reports."""

TWINS_PER_PIECE = 500

SCENARIO_BYTES_MAX = 1 << 20
"""A scenario file as it is."""

app = typer.Typer(
    name="simulate",
    rich_markup_mode="rich",
)
app.command()(matrix.matrix)

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="What the run is drawn from.")]
ScenarioOption = Annotated[
    Path | None, typer.Option("--scenario", help="Play a scenario file instead of a seed.")
]
NodesOption = Annotated[
    int | None, typer.Option("--nodes", min=1, max=64, help="So many nodes in every run.")
]
SeedsOption = Annotated[
    str, typer.Option("--seeds", metavar="A:B", help="From seed A up to, not including, B.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Processes; all processors without it.")
]

ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor", metavar="WHERE", help="processes, or a Dask cluster: dask://HOST:PORT."
    ),
]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Simulate clusters of the shipped replicas under seeded faults, watched by an oracle."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def run(
    seed: SeedOption = 0,
    scenario: ScenarioOption = None,
    nodes: NodesOption = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw one instance's space-time diagram into this file.")
    ] = None,
    instance: Annotated[
        str, typer.Option(metavar="TOPIC/HEIGHT", help="The instance to draw.")
    ] = "sim/0",
    shrink: Annotated[
        Path | None,
        typer.Option(help="Make a failing run as small as it gets; write it as a scenario file."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Play one run and tell its story; exit code 1 if a property does not hold.

    Example: qbft simulate run --seed 7 --svg seed-7.svg
    """
    from qbft.sim.swarm import draw
    from qbft.sim.world import World

    drawn = read_instance(instance)
    plan = _read_plan(scenario) if scenario is not None else draw(seed, nodes)
    story: list[Event] = []
    violation, report = World.play(plan, story=story)
    if svg is not None:
        write_whole(svg, _picture(plan, story, drawn, str(violation or "")).encode())
    if json:
        for event in story:
            print_json(_event_record(event))
    else:
        _tell(plan, story)
    if violation is None and report is not None:
        facts = {
            "decided": report.decided,
            "rounds_max": report.rounds_max,
            "took_ms": report.took_ms,
            "heal_ms": report.heal_ms,
        }
        (print_json if json else print_facts)(facts)
        if shrink is not None:
            raise CommandError("--shrink: every property holds in this run", ExitCode.USAGE)
        return
    told = str(violation)
    if shrink is not None:
        from qbft.sim.shrink import shrunk

        write_whole(shrink, shrunk(plan).to_json().encode() + b"\n")
        told += f" (as small as it gets: {shrink})"
    raise CommandError(told, ExitCode.NEGATIVE)


def _picture(plan: Plan, story: Sequence[Event], instance: InstanceId, violation: str) -> str:
    from qbft.diagram import Note, space_time_svg
    from qbft.sim.picture import diagram_events, names_of

    events = diagram_events(plan, story, instance)
    if not any(event.instance == instance for event in story):
        message = f"--instance {instance}: nothing happens there in this run"
        raise CommandError(message, ExitCode.USAGE)
    if violation:
        events.append(Note(story[-1].time_ms if story else 0, violation, alarm=True))
    return space_time_svg(events, title=f"{instance} of seed {plan.seed}", names=names_of(plan))


def _read_plan(path: Path) -> Plan:
    from qbft.sim.plan import Plan

    try:
        return Plan.from_json(read_file(path, "scenario file", SCENARIO_BYTES_MAX).decode())
    except ValueError as error:
        raise CommandError(f"{path}: {error}", ExitCode.USAGE) from error


def _event_record(event: Event) -> dict[str, object]:
    return {
        "time_ms": event.time_ms,
        "kind": event.kind,
        "place": event.place,
        "peer": event.peer,
        "text": event.text,
        "delay_ms": event.delay_ms,
    }


def _tell(plan: Plan, story: Sequence[Event]) -> None:
    """Print what was planned, then what happened, a line for each event."""
    typer.echo(f"{plan.nodes} nodes, {plan.instances} instances, {plan.timer}, {plan.weather}")
    for fault in plan.faults:
        typer.echo(f"  {fault}")
    for event in story:
        where = f"node {event.place}"
        if event.kind != "sends":
            typer.echo(f"{event.time_ms:>7} {where} {event.kind} {event.text}".rstrip())
        elif event.text:
            how = "lost" if event.delay_ms is None else f"{event.delay_ms} ms"
            typer.echo(f"{event.time_ms:>7} {where} -> {event.peer} ({how}) {event.text}")


@app.command()
def swarm(
    seeds: SeedsOption = "0:1000",
    jobs: JobsOption = None,
    nodes: NodesOption = None,
    json: JsonOption = False,
    executor: ExecutorOption = "processes",
    limit: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Begin nothing after so long.")
    ] = None,
) -> None:
    """Play many runs, each drawn from its seed; exit code 1 if a property does not hold in one.

    Example: qbft simulate swarm --seeds 0:2000
    """
    from qbft.sim.swarm import Tally, run_seeds

    wanted = _seeds_of(seeds)
    began = time.monotonic()
    total = Tally()
    play = partial(run_seeds, nodes=nodes)
    tallies = _tallies(play, wanted, SEEDS_PER_PIECE, jobs, executor)
    with _progress(len(wanted)) as advance, closing(tallies):
        for tally in tallies:
            total.add(tally)
            news = [f"seed {seed}: {what}" for seed, what in tally.violations.items()]
            advance(tally.runs, len(total.violations), news)
            if limit is not None and time.monotonic() - began >= limit:
                break
    seconds = time.monotonic() - began
    if json:
        print_json(_swarm_record(total, seconds))
    else:
        _print_swarm(total, seconds)
    if total.violations:
        first = min(total.violations)
        size = f" --nodes {nodes}" if nodes is not None else ""
        raise CommandError(
            f"{len(total.violations)} of {total.runs} runs violate the oracle; the first: "
            f"{total.violations[first]}; reproduce it: qbft simulate run --seed {first}{size}",
            ExitCode.NEGATIVE,
        )


@app.command()
def twins(
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Only every Nth run, from the Ith, counted from 1.")
    ] = "1/1",
    jobs: JobsOption = None,
    json: JsonOption = False,
    executor: ExecutorOption = "processes",
) -> None:
    """Play every partition of four rounds with each of four validators as twins; 1 if one forks.

    Example: qbft simulate twins --part 1/10
    """
    from qbft.sim.twins import RUNS, TwinsTally, run_all

    numbers = _part_of(part, RUNS)
    began = time.monotonic()
    total = TwinsTally()
    with _progress(len(numbers)) as advance:
        for tally in _tallies(run_all, numbers, TWINS_PER_PIECE, jobs, executor):
            total.add(tally)
            news = [f"run {number}: {what}" for number, what in tally.violations.items()]
            advance(tally.runs, len(total.violations), news)
    seconds = time.monotonic() - began
    rounds = {str(round_): total.decided[round_] for round_ in sorted(total.decided)}
    facts = {"runs": total.runs, "of": RUNS, "seconds": round(seconds, 1)}
    found = {str(number): what for number, what in sorted(total.violations.items())}
    if json:
        print_json({**facts, "first_decided_in_round": rounds, "violations": found})
    else:
        shown = ", ".join(f"{round_}: {count:,}" for round_, count in rounds.items())
        print_facts({**facts, "first decided in round": shown, "violations": len(found)})
    if found:
        first, what = next(iter(found.items()))
        raise CommandError(
            f"{len(found)} of {total.runs} runs violate the oracle; the first is number "
            f"{first}: {what}; reproduce it: qbft simulate twins --part {int(first) + 1}/{RUNS}",
            ExitCode.NEGATIVE,
        )


def _part_of(text: str, runs: int) -> range:
    """Read I/N.

    Raises:
        CommandError: it is not of that form.
    """
    first, slash, step = text.partition("/")
    if not slash or not (first.isdecimal() and step.isdecimal()):
        raise CommandError(f"part {text!r} must be written I/N", ExitCode.USAGE)
    if not 1 <= int(first) <= int(step) <= runs:
        raise CommandError(f"part {text!r}: I is from 1 to N, N to {runs}", ExitCode.USAGE)
    return range(int(first) - 1, runs, int(step))


def _seeds_of(text: str) -> range:
    """Read A:B.

    Raises:
        CommandError: it is not of that form.
    """
    first, colon, end = text.partition(":")
    if not colon or not (first.isdecimal() and end.isdecimal()) or int(first) >= int(end):
        raise CommandError(f"seeds {text!r} must be written A:B, with A below B", ExitCode.USAGE)
    return range(int(first), int(end))


def _tallies(
    play: Callable[[range], T], numbers: range, size: int, jobs: int | None, where: str
) -> Generator[T]:
    """Play runs, piece by piece, in this process, in several, or on a cluster."""
    from concurrent.futures import as_completed

    from qbft_server.cli import executors

    pieces = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    if where == executors.PROCESSES:
        jobs = min(jobs or os.cpu_count() or 1, len(pieces))
        if jobs == 1:
            yield from map(play, pieces)
            return
    with executors.executor(where, jobs) as workers:
        for done in as_completed([workers.submit(play, piece) for piece in pieces]):
            yield done.result()


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[int, int, Iterable[str]], None]]:
    """On standard error: what is found, at once; on a terminal also a bar, with runs per second."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TextColumn("{task.fields[found]} violations"),
        TimeElapsedColumn(),
    )
    began = time.monotonic()
    err = console(stderr=True)
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("runs", total=runs, rate=0.0, found=0)
        done = 0

        def advance(more: int, found: int, news: Iterable[str]) -> None:
            nonlocal done
            done += more
            for line in news:
                err.print(line, style="red", markup=False, highlight=False)
            rate = done / max(1e-9, time.monotonic() - began)
            bar.update(task, advance=more, rate=rate, found=found)

        yield advance


def _swarm_record(total: Tally, seconds: float) -> dict[str, object]:
    return {
        "runs": total.runs,
        "instances": total.instances,
        "seconds": round(seconds, 2),
        "runs_per_second": round(total.runs / seconds, 1),
        "rounds_max": total.rounds_max,
        "heal_ms_max": total.heal_ms_max,
        "rules": dict(sorted(total.rules.items())),
        "happened": dict(sorted(total.happened.items())),
        "violations": {str(seed): what for seed, what in sorted(total.violations.items())},
    }


def _print_swarm(total: Tally, seconds: float) -> None:
    from rich.table import Table

    out = console()
    for title, counts in (("upon rule", total.rules), ("fault", total.happened)):
        table = Table(title, "times", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name, count in sorted(counts.items()):
            table.add_row(name, f"{count:,}")
        out.print(table)
        out.print()
    print_facts(
        {
            "runs": f"{total.runs} with {total.instances} instances",
            "speed": f"{total.runs / seconds:.1f} runs/s, {seconds:.1f} s",
            "rounds": f"at most {total.rounds_max}",
            "healing": f"at most {total.heal_ms_max} ms",
            "violations": len(total.violations),
        }
    )
    for seed, what in sorted(total.violations.items()):
        typer.echo(f"seed {seed}: {what}")
