"""Commands that need no cluster to answer: init, keygen, node, verify, parity, demo."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import ClusterOption, JsonOption, NodeFileArgument, read_file
from qbft_server.cli.output import (
    batch_entry_record,
    decision_facts,
    decision_record,
    evidence_facts,
    evidence_record,
    print_facts,
    print_json,
    shown_value,
    topic_facts,
)

if TYPE_CHECKING:
    from qbft.cluster import Cluster

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 32
CERTIFICATE_BYTES_MAX = 66 << 20
"""A file to verify: the largest value that a node can be configured for, and its certificate."""


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
    guarded: Annotated[
        str, typer.Option(metavar="PREFIX", help="Topics that only the holder of a key may fill.")
    ] = "guarded/",
    open_: Annotated[
        bool, typer.Option("--open", help="Guard none: anyone may propose for any topic.")
    ] = False,
    ordered: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX",
            help="Topics that are appended to (`qbft append`); may be given several times.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Make a lost data directory anew; keys are kept."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a cluster: keys, TLS identities, cluster.toml, a folder for each node.

    Topics that begin with --guarded take only proposals signed by proposer.key; all others are
    open: anyone may propose there, and a faulty node may choose the values.

    With --replace NODE.toml make only a new data directory for a node that lost its own. It votes
    again when its peers have told it what it may have voted on. Never run the old one again.

    Example: qbft init mycluster --nodes 4
    """
    from qbft_server.initialise import CLUSTER_FILE, NODE_FILE, PROPOSER_KEY_FILE, init_cluster

    if replace:
        _replace(directory, as_json=json)
        return
    cluster = init_cluster(
        directory,
        nodes,
        name=name,
        epoch=epoch,
        faults=faults,
        hosts=host or (LOOPBACK,),
        base_port=base_port,
        guarded=None if open_ else guarded,
        ordered=ordered or (),
    )
    proposer_key = None if open_ else str(directory / PROPOSER_KEY_FILE)
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
                "guarded": None if open_ else guarded,
                "ordered": ordered or [],
                "proposer_key": proposer_key,
            }
        )
        return
    facts = {
        "cluster file": f"{directory / CLUSTER_FILE}  (no secret; for nodes and clients)",
        "cluster id": roster.cluster_id.hex(),
        "survives": f"{roster.faulty} faulty of {nodes} nodes{_better(nodes)}",
        **topic_facts(cluster),
        **_start_facts(directory, nodes, host or [LOOPBACK], base_port),
    }
    if proposer_key is not None:
        facts["private key"] = f"{proposer_key}  (of the proposer of {guarded}*)"
        facts["propose there"] = (
            f"qbft propose {guarded}example/1 VALUE --key {proposer_key} "
            f"-c {directory / CLUSTER_FILE}"
        )
    print_facts(facts)


def _better(nodes: int) -> str:
    """What to take instead of a number of nodes of which one or two are there for nothing."""
    spare = (nodes - 1) % 3
    if not spare:
        return ""
    return f"; {nodes - spare} survive as many, {nodes - spare + 3} one more"


def _start_facts(
    directory: Path, nodes: int, hosts: list[str], base_port: int
) -> dict[str, object]:
    """How to start the nodes, all of them where they are all here, and where to look at them."""
    if set(hosts) != {LOOPBACK}:
        return {"start a node": f"qbft node {directory / 'node-0' / 'node.toml'}"}
    indices = " ".join(map(str, range(nodes))) if nodes <= 10 else f"$(seq 0 {nodes - 1})"
    return {
        "start the nodes": f"for i in {indices}; do qbft node {directory}/node-$i/node.toml & done",
        "dashboard": f"http://{LOOPBACK}:{base_port + 2}/  (of node 0; each node has its own)",
    }


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
    """Make a proposer's key; its public half goes into the cluster file's prefixes.

    Example: qbft keygen alice.key
    """
    from qbft.crypto.keys import VoteKey
    from qbft_server.identity import write_vote_key

    key = VoteKey.generate()
    try:
        write_vote_key(file, key)
    except OSError as error:
        raise _not_made(file, error) from error
    if json:
        print_json({"key_file": str(file), "public": key.public.hex()})
    else:
        print_facts({"key file": file, "public": key.public.hex()})


def _not_made(file: Path, error: OSError) -> CommandError:
    fix = "; keys are never overwritten: name a new file" if file.exists() else ""
    return CommandError(f"{file}: cannot make it: {error.strerror}{fix}", ExitCode.USAGE)


def token(
    file: Annotated[Path, typer.Argument(help="A new file for the client's --access.")],
    json: JsonOption = False,
) -> None:
    """Make a client's token; its SHA-256 goes into the nodes' clients.grants.

    Example: qbft token alice.access
    """
    from hashlib import sha256
    from secrets import token_urlsafe

    from qbft_server.identity import write_private_file

    made = token_urlsafe(TOKEN_BYTES)
    try:
        write_private_file(file, f'token = "{made}"\n'.encode())
    except OSError as error:
        raise _not_made(file, error) from error
    digest = sha256(made.encode()).hexdigest()
    if json:
        print_json({"access_file": str(file), "token_sha256": digest})
    else:
        print_facts({"access file": f"{file}  (the client's, private)", "token_sha256": digest})


def node(
    config: NodeFileArgument,
    json: JsonOption = False,
) -> None:
    """Run a node until SIGTERM or Ctrl-C; --json makes its log lines JSON.

    Example: qbft node mycluster/node-0/node.toml
    """
    gc.disable()  # what is loaded stays loaded; a node that is up has it go on
    try:
        from qbft_server.node import main

        code = main(config, json or None)
    finally:
        gc.enable()
    raise typer.Exit(code)


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Files that --out or `evidence --save` has written."
        ),
    ],
    cluster: ClusterOption,
    trusted: Annotated[
        Path | None,
        typer.Option(help="A cluster file that is known; the other one has to descend from it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check certificates or evidence offline, from public keys; exit code 1 if one fails.

    Example: qbft verify btc-17.cert -c mycluster/cluster.toml
    """
    from qbft.cluster import Cluster
    from qbft.errors import CertificateError, EvidenceError

    loaded = Cluster.load(cluster)
    if trusted is not None and not loaded.descends_from(Cluster.load(trusted)):
        message = f"{cluster}: no seals lead to it from the cluster of {trusted}"
        raise CommandError(message, ExitCode.NEGATIVE)
    wrong = []
    for path in files:
        data = read_file(path, "certificate", CERTIFICATE_BYTES_MAX)
        try:
            record, facts = _proven(data, loaded)
        except (CertificateError, EvidenceError) as error:
            wrong.append(f"{path}: {error}")
            if json:
                reason = one_line(str(error))
                print_json({"file": str(path), "valid": False, "reason": reason})
            continue
        if json:
            print_json({"file": str(path), "valid": True, **record})
        else:
            print_facts({"file": f"{path}  genuine", **facts})
    if wrong:
        raise CommandError("; ".join(wrong), ExitCode.NEGATIVE)


def _proven(data: bytes, cluster: Cluster) -> tuple[dict[str, Any], dict[str, object]]:
    """What a file proves, a decision or misbehaviour, for scripts and for people."""
    from qbft.crypto.entries import entries_of
    from qbft.verify import verify as verify_bytes
    from qbft.verify import verify_evidence
    from qbft.wire import is_evidence

    if is_evidence(data):
        evidence = verify_evidence(data, cluster)
        return evidence_record(evidence), evidence_facts(evidence)
    decision = verify_bytes(data, cluster)
    record, facts = decision_record(decision), decision_facts(decision)
    if cluster.policy(decision.instance.topic).ordered and decision.value is not None:
        entries = entries_of(decision.value)
        record["entries"] = [batch_entry_record(entry) for entry in entries]
        facts["value"] = f"{len(entries)} entries"
        facts |= {f"entry {n}": shown_value(entry.value) for n, entry in enumerate(entries)}
    return record, facts


def parity(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON Lines, or gzip.")],
    json: JsonOption = False,
) -> None:
    """Replay recorded traces of the reference engine; exit code 1 if this engine differs.

    Example: qbft parity tests/parity/reference-traces.jsonl.gz
    """
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
    """Four real nodes agree on a file's rows, lose one, get it back; everything is checked.

    Example: qbft demo --rows 200
    """
    from qbft_server.demo import run_demo

    run_demo(input_, rows, keep, as_json=json)
