"""Leaving a client's block while its calls still run: each of them is told, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from client_parts import SECONDS, client_tasks, until
from pretend_cluster import TOPIC, PretendCluster, is_silent, pretend_cluster, says

from qbft.client import Client, ClientError, Closed
from qbft.core import InstanceId
from qbft.wire.v1 import messages_pb2

pytestmark = pytest.mark.real_clock


async def _proposes(client: Client) -> None:
    await client.propose(TOPIC, 17, b"x", timeout=None)


async def _proposes_many(client: Client) -> None:
    await anext(client.propose_many([(TOPIC, height, b"x") for height in range(8)]))


async def _reads(client: Client) -> None:
    await client.get(TOPIC, 17, quorum=True)


async def _watches(client: Client) -> None:
    await anext(client.watch(TOPIC, stall=SECONDS))


def _are_silent(pretend: PretendCluster) -> None:
    async def nothing(_: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        await asyncio.Event().wait()
        yield messages_pb2.Decision()

    for node in pretend.nodes:
        node.proposed = node.read = is_silent
        node.watched = nothing


@pytest.mark.parametrize("call", [_proposes, _proposes_many, _reads, _watches])
async def test_a_call_that_still_runs_is_told(call: object) -> None:
    """Not cancelled, which nobody did; nor waiting on, without a deadline, for a closed channel."""
    async with pretend_cluster() as pretend:
        _are_silent(pretend)
        async with pretend.client(timeout=None, hedge_ms=20) as client:
            running = asyncio.create_task(call(client))
            await until(lambda: any(node.calls for node in pretend.nodes))
        async with asyncio.timeout(SECONDS):
            with pytest.raises(Closed, match="the client is closed"):
                await running
        await until(lambda: not client_tasks())


async def test_a_call_that_waits_to_ask_again_is_told() -> None:
    """A node may ask for a minute of patience; a closed client has none."""
    async with pretend_cluster(1) as pretend:
        away = says(grpc.StatusCode.UNAVAILABLE, "stopping", grpc_retry_pushback_ms="60000")
        pretend.nodes[0].proposed = away
        async with pretend.client(timeout=None) as client:
            running = asyncio.create_task(_proposes(client))
            await until(lambda: pretend.nodes[0].calls)
            await asyncio.wait([running], timeout=0.05)
        async with asyncio.timeout(SECONDS / 2):
            with pytest.raises(Closed):
                await running


async def test_who_is_cancelled_while_the_client_closes_stays_cancelled() -> None:
    """DESIGN, async: cancelling is `task.cancel()`; no error of the client comes in between."""
    async with pretend_cluster() as pretend:
        _are_silent(pretend)
        async with pretend.client(timeout=None) as client:
            running = asyncio.create_task(_proposes(client))
            await until(lambda: any(node.calls for node in pretend.nodes))
            running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_client_that_is_closed_asks_nobody() -> None:
    """What is begun after the block is a mistake of the caller."""
    async with pretend_cluster(1) as pretend:
        async with pretend.client() as client:
            pass
        with pytest.raises(ClientError, match="async with"):
            await _proposes(client)
