"""`qbft simulate`: whole clusters in this process, under faults that a seed draws.

The simulator is imported when one of these commands runs, so that no node carries it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.options import JsonOption
from qbft_server.cli.output import print_facts, print_json

app = typer.Typer(
    name="simulate",
    rich_markup_mode="rich",
)

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="What the run is drawn from.")]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    """Simulate clusters of the shipped replicas under seeded faults, watched by an oracle."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def run(seed: SeedOption, as_json: JsonOption = False) -> None:
    """Play one run again and tell what happened in it."""
    from qbft.sim.network import NetworkFaults
    from qbft.sim.oracle import Violation
    from qbft.sim.world import World, WorldSettings

    faults = NetworkFaults(1, 60, loss=0.1, duplication=0.1)
    try:
        report = World(seed, WorldSettings(faults=faults, crash_probability=0.03)).run()
    except Violation as violation:
        raise CommandError(str(violation), ExitCode.NEGATIVE) from violation
    facts = {
        "seed": seed,
        "decided": report.decided,
        "crashes": report.crashes,
        "rounds_max": max(report.rounds),
        "took_ms": report.took_ms,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
