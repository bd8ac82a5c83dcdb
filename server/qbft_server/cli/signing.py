"""The command that keeps a vote key in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qbft_server.cli.options import JsonOption
from qbft_server.cli.output import print_facts, print_json


def signer(
    config: Annotated[Path, typer.Argument(help="The signer's file (signer.toml).")],
    create: Annotated[
        bool, typer.Option("--create", help="Only make the memory of a key that has never signed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Sign a node's votes with a key that the node has not, and nothing that contradicts them.

    Example: qbft signer signer.toml --create
    """
    from qbft_server.signer.process import create_memory, main

    if not create:
        raise typer.Exit(main(config))
    memory = create_memory(config)
    if json:
        print_json({"memory": str(memory)})
    else:
        print_facts({"memory": memory, "start it": f"qbft signer {config}"})
