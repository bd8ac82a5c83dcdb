"""`qbft replay`: a capture, or a dump of a charon node, through the shipped engine again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import JsonOption, read_file
from qbft_server.cli.output import console, print_json, write_whole

if TYPE_CHECKING:
    from qbft.replay.record import InstanceRecord
    from qbft.replay.running import Step

INSTANCES_NAMED_MAX = 8
"""Instances that are named where one has to be chosen."""


def replay(
    file: Annotated[Path, typer.Argument(help="What `qbft capture` wrote, or charon's dump.")],
    instance: Annotated[
        str | None,
        typer.Option(metavar="TOPIC/HEIGHT", help="Of several instances this one."),
    ] = None,
    node: Annotated[
        int | None, typer.Option("--node", min=0, help="Of several nodes tell of this one.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the space-time diagram into this file.")
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option(help="Write the case as a scenario for `qbft simulate run --scenario`."),
    ] = None,
    leader: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Who leads round 1 in a dump of charon, which does not say; without it "
            "(slot + type + round) mod nodes leads.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run recorded messages through the shipped engine, and tell what each rule did.

    Exit code 1 if the engine does not do what was recorded, though nothing is missing.

    Example: qbft replay case.qbft --svg case.svg
    """
    from qbft.replay.running import replayed

    records = _chosen(_read(file, leader), instance)
    if svg is not None:
        from qbft.replay.drawing import picture

        write_whole(svg, picture(records).encode())
    if scenario is not None:
        from qbft.sim.retold import plan_of

        write_whole(scenario, plan_of(records).to_json().encode() + b"\n")
    told = records if node is None else [r for r in records if r.validator == node]
    if not told:
        raise CommandError(f"--node {node}: is not in the file", ExitCode.USAGE)
    differing = 0
    for record in told:
        steps = list(replayed(record, compare=record.has_effects))
        differs = sum(step.differs for step in steps)
        differing += differs if record.is_whole else 0
        if json:
            for step in steps:
                print_json(_step_record(record, step))
        else:
            _print(record, steps, differs)
    if differing:
        raise CommandError(f"{differing} steps differ from what was recorded", ExitCode.NEGATIVE)


def _read(file: Path, leader: int | None) -> list[InstanceRecord]:
    from qbft.replay.capture import CAPTURE_BYTES_MAX, CaptureError
    from qbft.replay.reading import read_records

    data = read_file(file, "capture", CAPTURE_BYTES_MAX)
    try:
        records, _ = read_records(data, leader)
    except CaptureError as error:
        raise CommandError(f"{file}: {error}", ExitCode.USAGE) from error
    records = [record for record in records if record.entries]
    if not records:
        raise CommandError(f"{file}: holds no messages", ExitCode.USAGE)
    return records


def _chosen(records: Sequence[InstanceRecord], instance: str | None) -> list[InstanceRecord]:
    """The records of one instance: the one that was asked for, or the only one."""
    names = list(dict.fromkeys(str(record.instance) for record in records))
    if instance is None and len(names) > 1:
        some = ", ".join(names[:INSTANCES_NAMED_MAX])
        more = f" and {len(names) - INSTANCES_NAMED_MAX} more" * (len(names) > INSTANCES_NAMED_MAX)
        raise CommandError(f"--instance: choose one of {some}{more}", ExitCode.USAGE)
    wanted = names[0] if instance is None else instance
    chosen = {record.validator: record for record in records if str(record.instance) == wanted}
    if not chosen:
        raise CommandError(f"--instance {wanted}: is not in the file", ExitCode.USAGE)
    if len({(record.nodes, record.first_leader) for record in chosen.values()}) > 1:
        raise CommandError("the records are of different clusters", ExitCode.USAGE)
    return [chosen[validator] for validator in sorted(chosen)]


def _step_record(record: InstanceRecord, step: Step) -> dict[str, object]:
    from qbft.replay.words import effects_in_words, entry_in_words

    entry = step.entry
    return {
        "instance": str(record.instance),
        "node": record.validator,
        "at_ms": entry.at_ms + record.clock_offset_ms,
        "from": entry.sender,
        "round": step.round,
        "what": entry_in_words(entry),
        "put_aside": entry.put_aside or None,
        "effects": effects_in_words(step.effects),
        "differs": step.differs,
    }


def _print(record: InstanceRecord, steps: Sequence[Step], differs: int) -> None:
    from rich.table import Table as RichTable

    from qbft.replay.words import effects_in_words, entry_in_words

    leaders = f"node {record.leader(record.instance, 1)} leads round 1"
    typer.echo(f"{record.instance} at node {record.validator} of {record.nodes}; {leaders}")
    if not record.is_whole:
        typer.echo("Not all of it was kept, so that the engine may do other than it did.")
    table = RichTable("ms", "from", "round", "what", "what the engine does")
    begin_ms = record.entries[0].at_ms
    for step in steps:
        entry = step.entry
        done = "; ".join(effects_in_words(step.effects))
        if entry.put_aside:
            done = f"not given to it: {entry.put_aside}"
        elif step.differs:
            done += " (recorded otherwise)"
        table.add_row(
            str(entry.at_ms - begin_ms),
            "" if entry.sender == record.validator else str(entry.sender),
            str(step.round),
            one_line(entry_in_words(entry)),
            one_line(done),
        )
    console().print(table)
    if differs:
        typer.echo(f"{differs} steps differ from what was recorded.")
