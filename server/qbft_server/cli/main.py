"""The commands of `qbft`."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer()


@app.callback()
def root() -> None:
    """A decision service."""


@app.command()
def node(config: Path) -> None:
    """Run a node."""
    from qbft_server.node import main as run_node

    raise typer.Exit(run_node(config))


def main() -> int:
    """Run the command line."""
    app()
    return 0
