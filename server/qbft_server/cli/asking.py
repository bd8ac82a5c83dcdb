"""Commands that ask a cluster: propose, get, list, watch, status.

gRPC is imported when one of them runs, not before: the others do without.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from qbft.cluster import Cluster
from qbft.errors import UnauthorisedProposal
from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import (
    TIMEOUT_SECONDS,
    AccessOption,
    ClusterOption,
    FromOption,
    InstanceArgument,
    JsonOption,
    NodeOption,
    OutOption,
    ProposerKeyOption,
    TimeoutOption,
    TopicArgument,
    ValueArgument,
    ValueFileOption,
    read_file,
    read_instance,
    read_topic,
)
from qbft_server.cli.output import (
    console,
    decision_facts,
    decision_record,
    print_facts,
    print_json,
    shown_value,
    topic_facts,
    write_whole,
)

if TYPE_CHECKING:
    from qbft.client import Access, Client, ClientError, NodeStatus
    from qbft.core import InstanceId
    from qbft.crypto.keys import VoteKey
    from qbft.decision import Decision
    from qbft.verify import VerifiedDecision

T = TypeVar("T")
QUIET_SECONDS = 3.0
"""After so long without anything a watch says what it waits for."""

CANNOT_CONNECT = "cannot connect: "
DO_THEY_RUN = "do they run (`qbft node NODE_FILE`), and is this their cluster file?"
VALUE_BYTES_MAX = 64 << 20
"""A value that is given to a command: the most that any node can be configured for."""

WHY_CHARACTERS_MAX = 300
"""Of what a node says of itself, as it is shown."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom to ask, how, and for how long."""

    cluster: Path
    access: Path | None = None
    timeout: float = TIMEOUT_SECONDS
    proposer_key: Path | None = None
    node: int | None = None
    instance: InstanceId | None = None
    """What is proposed, if that is what is asked."""

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do this with a client.

        Raises:
            CommandError: what the client meets, with the exit code for it.
            ClusterError: the cluster file, or a key, is not usable.
        """
        from qbft.client import Client, ClientError

        cluster = Cluster.load(self.cluster)
        if self.node is not None and self.node >= len(cluster.validators):
            last = len(cluster.validators) - 1
            raise CommandError(f"--node {self.node}: allowed is 0 to {last}", ExitCode.USAGE)
        key, access = self._credentials()

        async def use() -> T:
            async with Client(cluster, access=access, proposer=key, timeout=self.timeout) as client:
                return await work(client)

        try:
            return asyncio.run(use())
        except ClientError as error:
            message = f"{error}{self._fix(error, len(cluster.validators))}"
            raise CommandError(message, exit_code_of_client(error)) from error

    def _fix(self, error: ClientError, nodes: int) -> str:
        """What to do about it, where it is plain."""
        from qbft.client import DeadlineExceeded

        if str(UnauthorisedProposal()) in str(error) and self.proposer_key is None:
            return ": give the key of one by --key"
        if isinstance(error, DeadlineExceeded):
            if sum(CANNOT_CONNECT in str(each) for each in error.failures.values()) == nodes:
                return f"; {DO_THEY_RUN}"
            if self.instance is not None:
                return f"; `qbft why {self.instance}` says what it waits for"
        return access_fix(str(error), self.access)

    def _credentials(self) -> tuple[VoteKey | None, Access | None]:
        """What the client shows of itself, if anything; the libraries for it come with `node`."""
        if self.proposer_key is None and self.access is None:
            return None, None
        from qbft_server.cli.credentials import load_proposer_key, read_access

        return (
            None if self.proposer_key is None else load_proposer_key(self.proposer_key),
            None if self.access is None else read_access(self.access),
        )


def access_fix(message: str, access: Path | None) -> str:
    """What to do where nodes want to know who asks."""
    if "UNAUTHENTICATED" not in message:
        return ""
    if access is None:
        return "; give what their operator gave you by --access FILE"
    return f"; they do not know, or no longer, what {access} holds"


def exit_code_of_client(error: ClientError) -> ExitCode:
    """How a command ends that a client's failure ends."""
    from qbft.client import NoDecision, Refused

    match error:
        case NoDecision():
            return ExitCode.NEGATIVE
        case Refused():
            return ExitCode.REFUSED
        case _:
            return ExitCode.UNAVAILABLE


# --- commands -------------------------------------------------------------------------------------


def propose(
    instance: InstanceArgument,
    cluster: ClusterOption,
    value: ValueArgument = None,
    file: ValueFileOption = None,
    proposer_key: ProposerKeyOption = None,
    out: OutOption = None,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Have a value decided; prints what was decided, which may be another's proposal.

    Example: qbft propose prices/btc/17 64123.50 -c mycluster/cluster.toml --out btc-17.cert
    """
    target = read_instance(instance)
    data = read_value(value, file)
    asking = Asking(cluster, access, timeout, proposer_key, instance=target)
    decision = asking.run(lambda client: client.propose(target.topic, target.height, data))
    _print_decision(decision, out, as_json=json, own=decision.own)


def get(
    instance: InstanceArgument,
    cluster: ClusterOption,
    quorum: Annotated[
        bool, typer.Option("--quorum", help="Ask f+1 nodes, one of which is honest.")
    ] = False,
    node: NodeOption = None,
    out: OutOption = None,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Read a decision; exit code 1 where there is none.

    Example: qbft get prices/btc/17 -c mycluster/cluster.toml
    """
    from qbft.client import NoDecision

    target = read_instance(instance)
    asking = Asking(cluster, access, timeout, node=node)
    try:
        decision = asking.run(
            lambda client: client.get(target.topic, target.height, quorum=quorum, node=node)
        )
    except CommandError as error:
        if json and isinstance(error.__cause__, NoDecision):
            state = {"Undecided": "undecided", "Unknown": "unknown", "BelowMark": "below_mark"}
            print_json({"instance": str(target), "state": state[type(error.__cause__).__name__]})
        raise
    _print_decision(decision, out, as_json=json)


def list_(
    topic: TopicArgument,
    cluster: ClusterOption,
    from_height: FromOption = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1_000,
    node: NodeOption = None,
    timeout: TimeoutOption = TIMEOUT_SECONDS,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """List a topic's decisions upwards, as far as one node has them.

    Example: qbft list prices/btc --from 17 -c mycluster/cluster.toml
    """
    start = read_topic(topic, from_height)

    async def collect(client: Client) -> list[Decision]:
        found: list[Decision] = []
        async for decision in client.list_decisions(start.topic, start.height, node=node):
            found.append(decision)
            if len(found) == limit:
                break
        return found

    decisions = map(verified_of, Asking(cluster, access, timeout, node=node).run(collect))
    if json:
        for decision in decisions:
            print_json(decision_record(decision))
        return
    from rich.table import Table as RichTable

    table = RichTable("height", "value", "round", "signers")
    for decision in decisions:
        table.add_row(*_row(decision))
    console().print(table)


def watch(
    topic: TopicArgument,
    cluster: ClusterOption,
    from_height: FromOption = 0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    node: NodeOption = None,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Follow a topic height by height, without gaps, until Ctrl-C or --count.

    Example: qbft watch prices/btc --from 17 -c mycluster/cluster.toml
    """
    start = read_topic(topic, from_height)

    async def follow(client: Client) -> None:
        seen = 0
        async with _saying_why_it_is_quiet(client, start, node) as quiet:
            async for decision in client.watch(start.topic, start.height, node=node):
                quiet.cancel()
                verified = verified_of(decision)
                if json:
                    print_json(decision_record(verified))
                else:
                    sys.stdout.write("  ".join(_row(verified)[:2]) + "\n")
                    sys.stdout.flush()
                seen += 1
                if seen == count:
                    return

    Asking(cluster, access, node=node).run(follow)


def status(
    cluster: ClusterOption,
    timeout: TimeoutOption = 5.0,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Ask every node how it is; exit code 0 if f+1 nodes say that they reach a quorum.

    Example: qbft status -c mycluster/cluster.toml
    """
    loaded = Cluster.load(cluster)
    accounts = Asking(cluster, access).run(lambda client: client.status(timeout))
    records = [
        _status_record(node, validator.client, accounts[node])
        for node, validator in enumerate(loaded.validators)
    ]
    answered = sum(record["answers"] for record in records)
    reaching = sum(record.get("quorum_reachable", False) for record in records)
    reachable = reaching > loaded.roster.faulty
    if json:
        print_json(
            {
                "cluster": loaded.name,
                "cluster_id": loaded.roster.cluster_id.hex(),
                "quorum_reachable": reachable,
                "prefixes": [
                    {
                        "prefix": p.prefix,
                        "open": p.is_open,
                        "proposers": len(p.proposers),
                        "ordered": p.ordered,
                    }
                    for p in loaded.all_prefixes
                ],
                "nodes": records,
            }
        )
    else:
        _print_status(records)
        print_facts(topic_facts(loaded))
    if not answered:
        told = " ".join(record["why"] for record in records)
        fix = access_fix(told, access) or f": {DO_THEY_RUN}"
        raise CommandError(f"no node answers{fix}", ExitCode.UNAVAILABLE)
    if not reachable:
        raise CommandError(
            f"{reaching} of {len(records)} nodes reach a quorum; "
            f"{loaded.roster.faulty + 1} have to say so",
            ExitCode.NEGATIVE,
        )


@asynccontextmanager
async def _saying_why_it_is_quiet(
    client: Client, start: InstanceId, node: int | None
) -> AsyncGenerator[asyncio.Task[None]]:
    """Beside a watch that has given nothing yet: a task that says once what it waits for."""
    task = asyncio.create_task(_say_why_it_is_quiet(client, start, node))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _say_why_it_is_quiet(client: Client, start: InstanceId, node: int | None) -> None:
    """Heights come without gaps, so that a topic that begins higher up gives nothing for ever."""
    from qbft.client import ClientError

    await asyncio.sleep(QUIET_SECONDS)
    why = "nothing is decided from there on"
    try:
        async for decision in client.list_decisions(start.topic, start.height, node=node):
            first = cast("InstanceId", decision.instance)
            if first == start:
                return
            why = f"the first height that is decided is {first.height} (--from {first.height})"
            break
    except ClientError as error:
        why = one_line(str(error))
    sys.stderr.write(f"qbft: waiting for {start}: {why}\n")
    sys.stderr.flush()


# --- what they print ------------------------------------------------------------------------------


def read_value(value: str | None, file: Path | None) -> bytes:
    """The value that was given, in one way or the other.

    Raises:
        CommandError: it was given twice, or not at all, or cannot be read.
    """
    if (value is None) == (file is None):
        raise CommandError("give the value either as VALUE or by --file", ExitCode.USAGE)
    if value is not None:
        return value.encode(errors="surrogateescape")
    if str(file) == "-":
        return sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    return read_file(Path(str(file)), "value", VALUE_BYTES_MAX)


def verified_of(decision: Decision) -> VerifiedDecision:
    """What the client has verified already, in the shape in which all commands print it."""
    from qbft.verify import VerifiedDecision

    certificate = decision.certificate
    return VerifiedDecision(
        cast("InstanceId", certificate.instance),
        certificate.round,
        cast("bytes", certificate.value),
        cast("bytes", decision.value),
        tuple(commit.source for commit in certificate.commits),
    )


def _print_decision(
    decision: Decision, out: Path | None, *, as_json: bool, own: bool | None = None
) -> None:
    from qbft.wire import encode_decision

    verified = verified_of(decision)
    facts = decision_facts(verified)
    if own is False:
        facts["note"] = "another proposal than this one was decided"
    failure = None
    if out is not None:
        try:
            write_whole(out, encode_decision(replace(decision, own=False)))  # no matter to others
            facts["written to"] = out
        except CommandError as error:
            failure = error  # what was decided is said in any case
    if as_json:
        print_json(decision_record(verified, own))
    else:
        print_facts(facts)
    if failure is not None:
        raise failure


def _row(decision: VerifiedDecision) -> tuple[str, str, str, str]:
    return (
        str(decision.instance.height),
        shown_value(decision.value),
        str(decision.round),
        " ".join(map(str, decision.signers)),
    )


def _status_record(node: int, address: str, account: NodeStatus | ClientError) -> dict[str, Any]:
    from qbft.client import ClientError

    record: dict[str, Any] = {"validator": node, "address": address}
    if isinstance(account, ClientError):
        return {**record, "answers": False, "why": one_line(str(account))}
    told = asdict(account)
    del told["clock_zero_ms"], told["clock_within_ms"]  # of the asking process's own clock
    told["cluster_id"], told["store_id"] = account.cluster_id.hex(), account.store_id.hex()
    return {**told, **record, "answers": True}


def _print_status(records: list[dict[str, Any]]) -> None:
    from rich.table import Table as RichTable

    from qbft.client.errors import without_node

    table = RichTable(
        "node",
        "address",
        "answers",
        "votes",
        "quorum",
        "open",
        "keeps out",
        "decisions",
        "peers",
        "version",
    )
    for record in records:
        node = [str(record["validator"]), record["address"]]
        if not record["answers"]:
            table.add_row(*node, f"no: {without_node(record['validator'], record['why'])}")
            continue
        connected = sum(peer["connected"] for peer in record["peers"])
        table.add_row(
            *node,
            "yes",
            _yes(record["voting"]),
            _yes(record["quorum_reachable"]),
            str(record["open_instances"]),
            str(record["kept_out"]),
            str(record["decisions"]),
            f"{connected} of {len(record['peers'])}",
            record["version"],
        )
    console().print(table)
    for record in records:
        if record.get("why_not_voting"):
            why = one_line(record["why_not_voting"])[:WHY_CHARACTERS_MAX]
            console().print(f"node {record['validator']}: {why}")


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
