"""Real nodes with a client that wants all there is, and another one (issue 6, budgets a client)."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import proposal, question, running_cluster, stub_of
from grpc import aio

from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.config import NodeConfig
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

SECONDS = 60.0
GREEDY, POLITE = "greedy-has-this-token", "polite-has-this-token"
TOKENS = {"QBFT_CLIENTS__TOKENS": json.dumps([GREEDY, POLITE])}


def shown(token: str) -> tuple[tuple[str, str], ...]:
    """What a client sends with its calls."""
    return (("authorization", f"Bearer {token}"),)


async def bites(cluster: LocalCluster, node: int, bound: str) -> float:
    """How often a bound has bitten at a node."""
    config = NodeConfig.load(cluster.directory / f"node-{node}" / "node.toml")

    def read() -> str:
        url = f"http://{config.listen.admin}/metrics"
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:
            text: str = reply.read().decode()
        return text

    for line in (await asyncio.to_thread(read)).splitlines():
        if line.startswith(f'qbft_bounds_total{{bound="{bound}",peer=""}}'):
            return float(line.split()[-1])
    return 0


async def until_open(node: DecisionServiceStub, topic: str, height: int) -> None:
    """Wait until the node has heard of an instance."""
    ask = question(topic, height)
    async with asyncio.timeout(SECONDS):
        while True:
            reply = await node.GetDecision(ask, metadata=shown(POLITE))
            if reply.state != pb.DECISION_STATE_UNKNOWN:
                return
            await asyncio.sleep(0.01)


async def take_all(node: DecisionServiceStub, heights: range) -> list[grpc.StatusCode]:
    """Open instances until told to come back, and hang up; gives how the calls ended."""
    calls = [
        node.Propose(proposal("greedy", height, b"x"), timeout=SECONDS, metadata=shown(GREEDY))
        for height in heights
    ]
    refused, _ = await asyncio.wait(
        [asyncio.ensure_future(call.code()) for call in calls],
        return_when=asyncio.FIRST_COMPLETED,
    )
    for call in calls:
        call.cancel()
    return [task.result() for task in refused]


async def test_one_client_does_not_take_all_open_instances(tmp_path: Path) -> None:
    """DESIGN: opens are budgeted per client. Without a quorum all that is opened stays open.

    The greedy one comes by several connections and hangs up each time; both is in vain, for it is
    known by its token. The other one's instance is opened, and decided once there is a quorum.
    """
    limit = {"QBFT_LIMITS__OPEN_INSTANCES_MAX": "32", **TOKENS}
    async with running_cluster(tmp_path, limit) as cluster, AsyncExitStack() as links:
        await cluster.kill(2)
        await cluster.kill(3)
        greedy = [await links.enter_async_context(stub_of(cluster, 0)) for _ in range(3)]
        for part, node in enumerate(greedy):
            ended = await take_all(node, range(40 * part, 40 * (part + 1)))
            assert set(ended) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert await bites(cluster, 0, "client_share_percent_max") > 0
        assert await bites(cluster, 0, "open_instances_max") == 0

        polite = await links.enter_async_context(stub_of(cluster, 0))
        waiting = polite.Propose(
            proposal("polite", 1, b"mine"), timeout=SECONDS, metadata=shown(POLITE)
        )
        await until_open(polite, "polite", 1)
        await cluster.start(2)
        assert (await waiting).decision.value == b"mine"


async def flood(node: DecisionServiceStub, decided: list[int]) -> None:
    """Propose as much as the node takes, over one stream, and count what is decided."""

    async def requests() -> AsyncIterator[pb.ProposeStreamRequest]:
        for height in range(1_000_000):
            yield pb.ProposeStreamRequest(
                id=height, proposal=proposal("greedy", height, b"x").proposal
            )

    call = node.ProposeStream(requests(), metadata=shown(GREEDY))
    async for reply in call:
        decided.append(reply.id)  # noqa: PERF401 - whoever waits looks at it meanwhile


async def test_a_client_gets_its_decisions_while_another_floods(tmp_path: Path) -> None:
    """Fair among clients: the flood has as many instances under way as the other one, or waits."""
    limit = {"QBFT_LIMITS__OPENINGS_AT_ONCE_MAX": "16", **TOKENS}
    async with (
        running_cluster(tmp_path, limit) as cluster,
        stub_of(cluster, 0) as greedy,
        stub_of(cluster, 0) as polite,
    ):
        decided: list[int] = []
        flooding = asyncio.create_task(flood(greedy, decided))
        while not decided:  # noqa: ASYNC110 - a condition, in real time
            await asyncio.sleep(0.01)
        before = len(decided)
        for height in range(20):
            reply = await polite.Propose(
                proposal("polite", height, b"mine"), timeout=SECONDS, metadata=shown(POLITE)
            )
            assert reply.decision.value == b"mine"
        assert not flooding.done()
        assert len(decided) > before
        assert await bites(cluster, 0, "openings_at_once_max") > 0
        flooding.cancel()
        with pytest.raises((asyncio.CancelledError, aio.AioRpcError)):
            await flooding
