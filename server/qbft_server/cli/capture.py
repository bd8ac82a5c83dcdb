"""`qbft capture`: what the nodes recorded of an instance, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qbft_server.cli.asking import Asking
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.options import (
    AccessOption,
    ClusterOption,
    InstanceArgument,
    JsonOption,
    NodeOption,
    TimeoutOption,
    read_instance,
)
from qbft_server.cli.output import print_facts, print_json, write_whole

if TYPE_CHECKING:
    from qbft.errors import QbftError
    from qbft.replay.record import InstanceRecord


def capture(
    instance: InstanceArgument,
    cluster: ClusterOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    node: NodeOption = None,
    every: Annotated[bool, typer.Option("--all", help="Ask all nodes: so without --node.")] = False,
    timeout: TimeoutOption = 5.0,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Save what the nodes recorded of an instance: messages, timers, what their engines did.

    It holds digests, no values. `qbft replay` reads it. Exit code 1 if no node has anything.

    Example: qbft capture prices/btc/17 -c mycluster/cluster.toml --out case.qbft
    """
    from qbft.errors import QbftError
    from qbft.replay.capture import encode_capture, record_to_pb
    from qbft_server.version import VERSION

    if every and node is not None:
        raise CommandError("--all and --node: give one of them", ExitCode.USAGE)
    wanted = read_instance(instance)
    told = Asking(cluster, access, node=node).run(
        lambda client: client.capture(wanted, timeout, node=node)
    )
    facts = {f"node {index}": _what(answer) for index, answer in told.items()}
    (print_json if json else print_facts)(facts)
    records = [r for r in told.values() if r is not None and not isinstance(r, QbftError)]
    if not records:
        if any(answer is None for answer in told.values()):
            raise CommandError(f"nothing of {wanted} is recorded", ExitCode.NEGATIVE)
        raise CommandError("no node answers", ExitCode.UNAVAILABLE)
    write_whole(out, encode_capture(map(record_to_pb, records), f"qbft {VERSION}"))


def _what(answer: InstanceRecord | QbftError | None) -> str:
    from qbft.replay.record import InstanceRecord

    if answer is None:
        return "has nothing of it"
    if not isinstance(answer, InstanceRecord):
        return f"no record: {answer}"
    dropped = f", {answer.dropped} earlier ones dropped" if answer.dropped else ""
    return f"{len(answer.entries)} entries{dropped}"
