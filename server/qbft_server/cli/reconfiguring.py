"""Commands that change who the validators are: candidate, reconfigure, join."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qbft_server.cli.options import AccessOption, ClusterOption, JsonOption
from qbft_server.cli.output import print_facts, print_json, write_whole


def candidate(
    directory: Annotated[Path, typer.Argument(help="A new directory.")],
    host: Annotated[str, typer.Option(help="Where others find it.")] = "127.0.0.1",
    base_port: Annotated[int, typer.Option(help="Its first port, of three.")] = 7400,
    keys: Annotated[
        Path | None, typer.Option(help="Go on with the keys in this node's folder.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the folder of a node of the next epoch; its validator.toml is for `reconfigure`.

    Example: qbft candidate epoch-1/node-3 --host e.example.org
    """
    from qbft_server.joining import VALIDATOR_FILE, make_candidate

    validator = make_candidate(directory, host, base_port, keys)
    entry = directory / VALIDATOR_FILE
    if json:
        print_json({"validator_file": str(entry), "vote_key": validator.vote_key})
    else:
        print_facts({"validator file": f"{entry}  (no secret)", "vote key": validator.vote_key})


def reconfigure(
    validators: Annotated[
        list[Path],
        typer.Argument(metavar="VALIDATOR...", help="The validator.toml of each, in order."),
    ],
    cluster: ClusterOption,
    operator_key: Annotated[Path, typer.Option(help="The key of an operator of the cluster.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The next epoch's cluster file, new.")],
    faults: Annotated[
        int | None, typer.Option(help="How many faulty nodes the next epoch claims to survive.")
    ] = None,
    margin: Annotated[
        int, typer.Option(min=0, help="Heights that this epoch still decides of each topic.")
    ] = 100,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """End the epoch of a running cluster: have it decide the next one's validators and heights.

    Whatever goes wrong, the same command may be given again.

    Example: qbft reconfigure node-0.toml node-1.toml node-2.toml node-3.toml
    -c mycluster/cluster.toml --operator-key operator.key --out epoch-1.toml
    """
    from qbft.cluster import Cluster
    from qbft_server.cli.asking import Asking
    from qbft_server.cli.exits import CommandError, ExitCode
    from qbft_server.reconfiguring import hand_over, read_members, successor_of

    if out.exists():
        raise CommandError(f"{out} is there already; name a new file", ExitCode.USAGE)
    old = Cluster.load(cluster)
    draft = successor_of(old, read_members(validators), faults)
    asking = Asking(cluster, access, proposer_key=operator_key)
    new = asking.run(
        lambda client: hand_over(client, old, draft, margin=margin, tell=partial(_tell, json))
    )
    write_whole(out, new.dump().encode())
    seal = new.ended[-1].seal
    if json:
        print_json(
            {
                "cluster_file": str(out),
                "cluster_id": new.roster.cluster_id.hex(),
                "epoch": new.epoch,
                "default_height": seal.default,
                "first_heights": dict(seal.first_heights),
            }
        )
        return
    print_facts(
        {
            "cluster file": f"{out}  (no secret; for nodes and clients)",
            "cluster id": new.roster.cluster_id.hex(),
            "epoch": new.epoch,
            **{f"begins {topic}": f"at height {height}" for topic, height in seal.first_heights},
            "all other topics": f"at height {seal.default}",
            "next, on each host": f"qbft join FOLDER {out}",
        }
    )


def _tell(as_json: bool, what: str) -> None:
    """Say how it goes, where people read it."""
    if not as_json:
        typer.echo(what)


def join(
    directory: Annotated[Path, typer.Argument(help="What `qbft candidate` has made.")],
    cluster: Annotated[Path, typer.Argument(help="What `qbft reconfigure` has written.")],
    json: JsonOption = False,
) -> None:
    """Give a candidate its place in the next epoch: its node file and a data directory.

    Example: qbft join epoch-1/node-3 epoch-1.toml
    """
    from qbft_server.joining import join as join_epoch

    node_file = join_epoch(directory, cluster)
    if json:
        print_json({"node_file": str(node_file)})
    else:
        print_facts({"node file": node_file, "start the node": f"qbft node {node_file}"})
