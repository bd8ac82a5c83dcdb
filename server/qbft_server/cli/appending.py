"""Commands for ordered topics: append, entries (docs/ORDERED.md)."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from qbft.cluster import Cluster
from qbft_server.cli.asking import Asking, read_value, verified_of
from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import (
    TIMEOUT_SECONDS,
    AccessOption,
    ClusterOption,
    JsonOption,
    NodeOption,
    OutOption,
    ProposerKeyOption,
    TimeoutOption,
    TopicArgument,
    ValueArgument,
    ValueFileOption,
    read_topic,
)
from qbft_server.cli.output import (
    entry_facts,
    entry_record,
    print_facts,
    print_json,
    shown_value,
    write_whole,
)

if TYPE_CHECKING:
    from qbft.client import Client
    from qbft.ordered import Position


def append(
    topic: TopicArgument,
    cluster: ClusterOption,
    value: ValueArgument = None,
    file: ValueFileOption = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="Your name for it, 1 to 64 bytes of text: sent again, it lands once."),
    ] = None,
    proposer_key: ProposerKeyOption = None,
    out: OutOption = None,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Put a value at the next free position of an ordered topic; prints where it stands.

    After a failure run it again with the same --request-id.

    Example: qbft append log/orders "two of them" --request-id order-17 -c mycluster/cluster.toml
    """
    where = read_topic(topic, 0)
    data = read_value(value, file)
    name = None if request_id is None else request_id.encode(errors="surrogateescape")
    if name is not None and not 1 <= len(name) <= 64:
        raise CommandError("--request-id: allowed are 1 to 64 bytes", ExitCode.USAGE)
    asking = Asking(cluster, access, timeout, proposer_key)
    appended = asking.run(lambda client: client.append(where.topic, data, name))
    if json:
        verified = verified_of(appended.decision)
        print_json({**entry_record(appended), "round": verified.round, "signers": verified.signers})
    else:
        print_facts(entry_facts(appended))
    if out is not None:
        from qbft.wire import encode_decision

        write_whole(out, encode_decision(replace(appended.decision, own=False)))


def entries(
    topic: TopicArgument,
    cluster: ClusterOption,
    after: Annotated[
        str | None, typer.Option(metavar="HEIGHT.INDEX", help="Begin behind this position.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    void: Annotated[
        bool, typer.Option("--void", help="Show what repeats an earlier entry as well.")
    ] = False,
    node: NodeOption = None,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Follow an ordered topic entry by entry, until Ctrl-C or --count.

    Example: qbft entries log/orders --after 12.0 -c mycluster/cluster.toml
    """
    where = read_topic(topic, 0)
    begin = None if after is None else _position(after)

    async def follow(client: Client) -> None:
        seen = 0
        async for entry in client.watch_entries(where.topic, begin, void=void, node=node):
            if json:
                print_json(entry_record(entry))
            else:
                mark = "  (void)" if entry.is_void else ""
                sys.stdout.write(f"{entry.position}  {shown_value(entry.value)}{mark}\n")
                sys.stdout.flush()
            seen += 1
            if seen == count:
                return

    if not Cluster.load(cluster).policy(where.topic).ordered:
        note = f"{topic} is not ordered, by {cluster}: `qbft watch` follows such a topic"
        sys.stderr.write(f"qbft: {one_line(note)}\n")
    Asking(cluster, access, node=node).run(follow)


def _position(text: str) -> Position:
    from qbft.ordered import Position

    try:
        return Position.parse(text)
    except ValueError as error:
        raise CommandError(f"--after: {error}", ExitCode.USAGE) from error
