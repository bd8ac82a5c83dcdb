"""Commands that need no cluster to answer: init, keygen, node, verify, parity, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import ClusterOption, JsonOption, read_file
from qbft_server.cli.output import decision_facts, decision_record, print_facts, print_json

CERTIFICATE_BYTES_MAX = 66 << 20
"""A value of the most that any node can be configured for, and its certificate."""


def init(
    directory: Annotated[
        Path, typer.Argument(help="A new directory; with --replace the file of one node.")
    ],
    nodes: Annotated[int, typer.Option(help="How many; 3f+1 survive f faulty ones.")] = 4,
    name: Annotated[str, typer.Option(help="The cluster's name.")] = "qbft",
    epoch: Annotated[int, typer.Option(help="Of the membership.")] = 0,
    faults: Annotated[
        int | None, typer.Option(help="How many faulty nodes to claim to survive.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="One for all nodes, or given once for each.")
    ] = None,
    base_port: Annotated[int, typer.Option(help="The first node's first port.")] = 7400,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Make a lost data directory anew; keys are kept."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a cluster: keys, TLS identities, cluster.toml, a folder for each node.

    With --replace NODE.toml make only a new data directory for a node that lost its own. It votes
    again when its peers have told it what it may have voted on. Never run the old one again.
    """
    from qbft_server.initialise import CLUSTER_FILE, NODE_FILE, init_cluster

    if replace:
        _replace(directory, as_json=json)
        return
    cluster = init_cluster(
        directory,
        nodes,
        name=name,
        epoch=epoch,
        faults=faults,
        hosts=host or ("127.0.0.1",),
        base_port=base_port,
    )
    configs = [str(directory / f"node-{index}" / NODE_FILE) for index in range(nodes)]
    roster = cluster.roster
    if json:
        print_json(
            {
                "cluster_file": str(directory / CLUSTER_FILE),
                "cluster_id": roster.cluster_id.hex(),
                "nodes": nodes,
                "faulty": roster.faulty,
                "node_files": configs,
            }
        )
        return
    print_facts(
        {
            "cluster file": f"{directory / CLUSTER_FILE}  (no secret; for nodes and clients)",
            "cluster id": roster.cluster_id.hex(),
            "survives": f"{roster.faulty} faulty of {nodes} nodes",
            "start a node": f"qbft node {configs[0]}",
        }
    )


def _replace(node_file: Path, *, as_json: bool) -> None:
    from qbft_server.config import NodeConfig
    from qbft_server.initialise import replace_store

    config = NodeConfig.load(node_file)
    old = replace_store(config)
    if as_json:
        print_json({"data": str(config.data), "old_data": str(old) if old else None})
        return
    print_facts(
        {
            "data directory": f"{config.data}  (new: it asks its peers before it votes)",
            "what was there": str(old) if old else "nothing",
            "start the node": f"qbft node {node_file}",
        }
    )


def keygen(
    file: Annotated[Path, typer.Argument(help="A new file for the private key.")],
    json: JsonOption = False,
) -> None:
    """Make a proposer's key; its public half goes into the cluster file's prefixes."""
    from qbft.crypto.keys import VoteKey
    from qbft_server.identity import write_vote_key

    key = VoteKey.generate()
    try:
        write_vote_key(file, key)
    except OSError as error:
        raise CommandError(f"{file}: cannot make it: {error.strerror}", ExitCode.USAGE) from error
    if json:
        print_json({"key_file": str(file), "public": key.public.hex()})
    else:
        print_facts({"key file": file, "public": key.public.hex()})


def node(
    config: Annotated[
        Path, typer.Argument(envvar="QBFT_CONFIG", help="The node's file (node.toml).")
    ],
    json: JsonOption = False,
) -> None:
    """Run a node until SIGTERM or Ctrl-C; --json makes its log lines JSON."""
    from qbft_server.node import main

    raise typer.Exit(main(config, json or None))


def verify(
    certificates: Annotated[
        list[Path], typer.Argument(metavar="CERT...", help="Files that --out has written.")
    ],
    cluster: ClusterOption,
    json: JsonOption = False,
) -> None:
    """Check certificates offline, from the cluster's public keys; exit code 1 if one fails."""
    from qbft.cluster import Cluster
    from qbft.errors import CertificateError
    from qbft.verify import verify as verify_bytes

    loaded = Cluster.load(cluster)
    wrong = []
    for path in certificates:
        data = read_file(path, "certificate", CERTIFICATE_BYTES_MAX)
        try:
            decision = verify_bytes(data, loaded)
        except CertificateError as error:
            wrong.append(f"{path}: {error}")
            if json:
                reason = one_line(str(error))
                print_json({"file": str(path), "valid": False, "reason": reason})
            continue
        if json:
            print_json({"file": str(path), "valid": True, **decision_record(decision)})
        else:
            print_facts({"file": f"{path}  genuine", **decision_facts(decision)})
    if wrong:
        raise CommandError("; ".join(wrong), ExitCode.NEGATIVE)


def parity(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON Lines, or gzip.")],
    json: JsonOption = False,
) -> None:
    """Replay recorded traces of the reference engine; exit code 1 if this engine differs."""
    from qbft.parity import TraceError, replay_files

    try:
        report = replay_files(files)
    except TraceError as error:
        raise CommandError(str(error), ExitCode.USAGE) from error
    if json:
        print_json(
            {
                "traces": report.traces,
                "steps": report.steps,
                "mismatches": report.mismatches,
                "differences": list(map(str, report.differences)),
            }
        )
    else:
        for difference in report.differences:
            typer.echo(str(difference))
        typer.echo(str(report))
    if report.mismatches:
        raise typer.Exit(ExitCode.NEGATIVE)


def demo(
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="CSV of topic,height,value; a sample table without it."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Only so many of its rows.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep cluster and certificates in this new directory.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Four real nodes agree on a file's rows, lose one, get it back; everything is checked."""
    from qbft_server.demo import run_demo

    run_demo(input_, rows, keep, as_json=json)
