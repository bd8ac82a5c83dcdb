"""Commands about what a node keeps: backup, restore, abandon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from qbft_server.cli.options import JsonOption, NodeFileArgument, read_instance
from qbft_server.cli.output import print_facts, print_json


def backup(
    config: NodeFileArgument,
    file: Annotated[Path, typer.Argument(help="A new file.")],
    json: JsonOption = False,
) -> None:
    """Copy a node's decisions, with their certificates, into a file; the node may run meanwhile.

    Example: qbft backup node-1/node.toml decisions.sqlite3
    """
    from qbft_server.config import NodeConfig
    from qbft_server.store.upkeep import back_up_decisions

    settings = NodeConfig.load(config)
    cluster, _ = settings.load_cluster()
    count = back_up_decisions(settings.data, file, cluster.roster)
    if json:
        print_json({"file": str(file), "decisions": count})
    else:
        print_facts({"file": file, "decisions": count})


def restore(
    config: NodeFileArgument,
    file: Annotated[Path, typer.Argument(help="What `qbft backup` has made, at any node.")],
    json: JsonOption = False,
) -> None:
    """Put a backup's decisions into the new store of a node, right after `init --replace`.

    Every certificate is verified. Votes are in no backup: the node asks its peers before it votes.

    Example: qbft restore node-1/node.toml decisions.sqlite3
    """
    from qbft_server.config import NodeConfig
    from qbft_server.store.upkeep import restore_decisions

    settings = NodeConfig.load(config)
    cluster, _ = settings.load_cluster()
    restoring = restore_decisions(settings.data, file, cluster.roster, settings.validator)
    count = asyncio.run(restoring)
    if json:
        print_json({"data": str(settings.data), "decisions": count})
    else:
        print_facts({"data directory": settings.data, "decisions": count})


def abandon(
    config: NodeFileArgument,
    instances: Annotated[
        list[str], typer.Argument(metavar="TOPIC/HEIGHT...", help="Undecided instances.")
    ],
    json: JsonOption = False,
) -> None:
    """Give up undecided instances: a stopped node never votes in them again, and may forget them.

    They no longer hold back their topic's low-water mark. The other nodes may still decide them.

    Example: qbft abandon node-1/node.toml prices/btc/17
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
