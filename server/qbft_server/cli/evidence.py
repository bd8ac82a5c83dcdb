"""The command that lists what nodes hold against validators (SCENARIOS B16)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from qbft_server.cli.asking import Asking
from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import (
    AccessOption,
    ClusterOption,
    JsonOption,
    NodeOption,
    TimeoutOption,
)
from qbft_server.cli.output import (
    console,
    evidence_record,
    evidence_summary,
    print_json,
    write_whole,
)

if TYPE_CHECKING:
    from qbft.client import ClientError
    from qbft.core import InstanceId
    from qbft.crypto.evidence import Contradiction, Evidence
    from qbft.verify import VerifiedEvidence


def evidence(
    cluster: ClusterOption,
    node: NodeOption = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write each record to a file in this directory."),
    ] = None,
    timeout: TimeoutOption = 5.0,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """List validators that contradicted themselves, with proof that `qbft verify` checks.

    Example: qbft evidence -c mycluster/cluster.toml --save caught
    """
    from qbft.cluster import Cluster

    epoch = Cluster.load(cluster).epoch
    told = Asking(cluster, access, node=node).run(
        lambda client: client.evidence(node=node, timeout=timeout)
    )
    failures, holders = _merged(told)
    if len(failures) == len(told):
        raise CommandError("; ".join(failures), ExitCode.UNAVAILABLE)
    for failure in failures:
        console(stderr=True).print(failure)
    files = {} if save is None else _save(holders, save)
    if json:
        for record, nodes in holders.items():
            file = {"file": str(files[record])} if save is not None else {}
            print_json({**evidence_record(_verified(record, epoch)), "held_by": nodes, **file})
    else:
        _print(holders, files)


def _merged(
    told: Mapping[int, list[Evidence] | ClientError],
) -> tuple[list[str], dict[Evidence, list[int]]]:
    """Why nodes told nothing, and each record once with the nodes that hold it."""
    failures: list[str] = []
    holders: dict[frozenset[object], tuple[Evidence, list[int]]] = {}
    for node, records in told.items():
        if not isinstance(records, list):
            failures.append(one_line(str(records)))
            continue
        for record in records:
            same = frozenset((record.first, record.second))
            holders.setdefault(same, (record, []))[1].append(node)
    ordered = sorted(holders.values(), key=lambda held: (held[0].source, _file_name(held[0])))
    return failures, dict(ordered)


def _verified(record: Evidence, epoch: int) -> VerifiedEvidence:
    """What the client has verified already, in the shape in which all commands print it."""
    from qbft.verify import VerifiedEvidence

    return VerifiedEvidence(
        epoch,
        record.source,
        cast("InstanceId", record.first.instance),
        cast("Contradiction", record.contradiction),
        record.first,
        record.second,
    )


def _file_name(record: Evidence) -> str:
    """A name that says whom it is against and where, and is no other record's."""
    from qbft.wire import encode_evidence

    where = str(record.first.instance).replace("/", "_")
    tag = hashlib.sha256(encode_evidence(record)).hexdigest()[:8]
    return f"validator-{record.source}-{where}-{tag}.evidence"


def _save(holders: Mapping[Evidence, list[int]], directory: Path) -> dict[Evidence, Path]:
    from qbft.wire import encode_evidence

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{directory}: cannot make it: {error.strerror}"
        raise CommandError(message, ExitCode.USAGE) from error
    files = {record: directory / _file_name(record) for record in holders}
    for record, path in files.items():
        write_whole(path, encode_evidence(record))
    return files


def _print(holders: Mapping[Evidence, list[int]], files: Mapping[Evidence, Path]) -> None:
    from rich.table import Table as RichTable

    if not holders:
        console().print("no evidence")
        return
    table = RichTable("validator", "instance", "what it signed", "held by", *["file"][: len(files)])
    for record, nodes in holders.items():
        row = [str(record.source), str(record.first.instance), evidence_summary(record)]
        row += [" ".join(map(str, nodes)), *([str(files[record])] if files else [])]
        table.add_row(*row)
    console().print(table)
