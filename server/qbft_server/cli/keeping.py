"""Commands about what a node keeps: abandon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from qbft_server.cli.options import JsonOption, read_instance
from qbft_server.cli.output import print_facts, print_json

NodeFileArgument = Annotated[
    Path, typer.Argument(envvar="QBFT_CONFIG", help="The node's file (node.toml).")
]


def abandon(
    config: NodeFileArgument,
    instances: Annotated[
        list[str], typer.Argument(metavar="TOPIC/HEIGHT...", help="Undecided instances.")
    ],
    json: JsonOption = False,
) -> None:
    """Give up undecided instances: a stopped node never votes in them again, and may forget them.

    They no longer hold back their topic's low-water mark. The other nodes may still decide them.
    """
    from qbft_server.config import NodeConfig
    from qbft_server.store.upkeep import abandon_instances

    named = [read_instance(text) for text in instances]
    settings = NodeConfig.load(config)
    cluster, _ = settings.load_cluster()
    asyncio.run(
        abandon_instances(settings.data, cluster.roster.cluster_id, settings.validator, named)
    )
    for instance in named:
        if json:
            print_json({"topic": instance.topic, "height": instance.height, "abandoned": True})
        else:
            print_facts({"given up": f"{instance}  (this node never votes in it again)"})
