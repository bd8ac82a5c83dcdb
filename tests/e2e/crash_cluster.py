"""Four real nodes that crash, and what is asked of them afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

from e2e.journal_audit import audit, copies, read_journal
from e2e.service_clients import question, stub_of

from qbft.client import Client
from qbft.core import InstanceId, Message, MessageType
from qbft.crypto.roster import service_leader
from qbft.records import DecisionRecord, Record, VoteRecord
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.config import NodeConfig
from qbft_server.initialise import replace_store
from qbft_server.local import LocalCluster

TOPIC = "crash"
FAST = {"QBFT_TIMER__FIRST_ROUND_MS": "400", "QBFT_LOG__LEVEL": "warning"}
SECONDS = 120.0


def kill_at(label: str, kind: str, nth: int = 1) -> dict[str, str]:
    """The environment of a node that kills itself at the nth passage of that point."""
    return {"QBFT_TEST_FAULTS": "1", "QBFT_TEST_KILL_AT": f"{label}:{nth}:{kind}"}


def heights_led_by(cluster: LocalCluster, node: int) -> Iterator[int]:
    """Heights at which that node leads the first round."""
    leader = service_leader(cluster.cluster.roster)
    return (height for height in count() if leader(InstanceId(TOPIC, height), 1) == node)


@asynccontextmanager
async def cluster_with_faults(
    directory: Path,
    faults: Mapping[int, Mapping[str, str]],
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[LocalCluster]:
    """Four nodes that are ready; those with faults will kill themselves."""
    everywhere = {**FAST, **(environment or {})}
    async with LocalCluster.create(directory / "cluster", environment=everywhere) as cluster:
        for node in range(4):
            await cluster.start(node, environment=faults.get(node))
        await cluster.wait_until_ready()
        yield cluster


async def decided_everywhere(cluster: LocalCluster, height: int) -> set[bytes]:
    """Wait until each node alone has decided; give the values."""
    return {await decides(cluster, node, height) for node in range(4)}


async def stop_and_audit(
    cluster: LocalCluster, lost: Collection[int] = ()
) -> dict[int, list[Message]]:
    """Stop all nodes and read their journals.

    What a peer has of a vote is, signature and all, what its own node's journal has: it was signed
    once, journaled before it was sent, and sent again as it was. `lost` are the nodes whose journal
    may lack some: it was replaced, or is not the only one of its key.
    """
    codes = await asyncio.gather(*(cluster.stop(node) for node in range(4)))
    assert codes == [0, 0, 0, 0]
    for source in range(4):
        found = copies(cluster.directory, cluster.cluster, source, is_lost=source in lost)
        for copy, own in found:
            assert copy.proof.signature == own.proof.signature, f"{own} was signed more than once"
    return audit(cluster.directory, cluster.cluster)


def votes(audited: list[Message], height: int, kind: MessageType) -> list[Message]:
    """A node's votes of one kind for one height."""
    instance = InstanceId(TOPIC, height)
    return [vote for vote in audited if vote.instance == instance and vote.type is kind]


def data_of(cluster: LocalCluster, node: int) -> Path:
    """The directory of a node's votes and decisions."""
    return cluster.directory / f"node-{node}" / "data"


def replace(cluster: LocalCluster, node: int) -> None:
    """As an operator does: `qbft init --replace`."""
    replace_store(NodeConfig.load(cluster.directory / f"node-{node}" / "node.toml"))


async def status_of(cluster: LocalCluster, node: int) -> pb.GetStatusReply:
    """What a node, that may just have been started, says of itself."""
    async with stub_of(cluster, node) as stub:
        ask = partial(stub.GetStatus, pb.GetStatusRequest(), wait_for_ready=True)
        return await ask(timeout=SECONDS)


async def is_voting(cluster: LocalCluster, node: int) -> bool:
    """Whether a node says that it votes."""
    return (await status_of(cluster, node)).voting


async def votes_again(cluster: LocalCluster, node: int) -> None:
    """Wait until it does."""
    async with asyncio.timeout(SECONDS):
        while not await is_voting(cluster, node):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def records_so_far(cluster: LocalCluster, node: int) -> list[Record]:
    """The journal of a node that may be running: read from a copy, for reading mends the tail."""
    copy = cluster.directory / "copy" / f"node-{node}" / "data" / "journal"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data_of(cluster, node) / "journal", copy)
    return read_journal(cluster.directory / "copy", cluster.cluster, node)


def votes_so_far(cluster: LocalCluster, node: int) -> list[Message]:
    """All votes of a node that may be running, in order."""
    records = records_so_far(cluster, node)
    return [record.vote for record in records if isinstance(record, VoteRecord)]


def decisions_so_far(cluster: LocalCluster, node: int, height: int) -> list[bytes]:
    """What the journal of a node that may be running has decided for a height: one value or none.

    A decision is written once, and stays while its segment does.
    """
    instance = InstanceId(TOPIC, height)
    return [
        record.decision.value
        for record in records_so_far(cluster, node)
        if isinstance(record, DecisionRecord) and record.decision.certificate.instance == instance
    ]


async def all_have_voted(cluster: LocalCluster, client: Client) -> None:
    """Decide until each node has a vote in its journal.

    One without votes asks n-f nodes, itself included, before it votes (W7), and so many are not
    always up in what follows.
    """
    for height in count():
        await client.propose("first", height, b"v", timeout=SECONDS)
        if all(votes_so_far(cluster, node) for node in range(4)):
            return


async def has_decided(
    cluster: LocalCluster, node: int, height: int, *, wait_for_ready: bool = True
) -> bytes | None:
    """The value that one node says is decided, or None."""
    async with stub_of(cluster, node) as stub:
        reply = await stub.GetDecision(
            question(TOPIC, height), timeout=SECONDS, wait_for_ready=wait_for_ready
        )
    return reply.decision.value if reply.state == pb.DECISION_STATE_DECIDED else None


async def decides(cluster: LocalCluster, node: int, height: int) -> bytes:
    """Wait until one node alone has decided; give the value."""
    async with asyncio.timeout(SECONDS):
        while (value := await has_decided(cluster, node, height)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return value


async def has_open(cluster: LocalCluster, node: int, height: int) -> None:
    """Wait until one node, just started, works on an instance."""
    async with stub_of(cluster, node) as stub, asyncio.timeout(SECONDS):
        while True:
            reply = await stub.GetDecision(
                question(TOPIC, height), timeout=SECONDS, wait_for_ready=True
            )
            if reply.state != pb.DECISION_STATE_UNKNOWN:
                return
            await asyncio.sleep(0.02)


async def reaches(cluster: LocalCluster, node: int, peer: int) -> None:
    """Wait until a node's link to a peer, just started, is up."""
    async with asyncio.timeout(SECONDS):
        while not any(  # noqa: ASYNC110 - another process
            told.validator == peer and told.connected
            for told in (await status_of(cluster, node)).peers
        ):
            await asyncio.sleep(0.02)


async def reach_round(cluster: LocalCluster, node: int, height: int, round_: int) -> None:
    """Wait until a node has voted in a round as high as this."""
    async with asyncio.timeout(SECONDS):
        while True:
            votes_ = [v for v in votes_so_far(cluster, node) if v.instance.height == height]
            if max((vote.round for vote in votes_), default=0) >= round_:
                return
            await asyncio.sleep(0.1)
