"""Watching across streams that break, fall silent, skip or forge (SCENARIOS, group G)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from client_parts import SECONDS
from pretend_cluster import TOPIC, PretendNode, Say, pretend_cluster

from qbft.client import Client, Refused
from qbft.core import InstanceId
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

pytestmark = pytest.mark.real_clock


async def _heights(client: Client, count: int, **settings: float) -> list[int]:
    """The first heights of a watch."""
    heights = []
    watching = client.watch(TOPIC, 0, **settings)
    async with asyncio.timeout(SECONDS):
        async for decision in watching:
            heights.append(decision.instance.height)
            if len(heights) == count:
                break
    await watching.aclose()
    return heights


def _until_height(node: PretendNode, last: int, then: Say | None) -> None:
    """Let a node's watches end after a height: with a status, or with silence."""
    honest = node.watched

    async def watched(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        async for decision in honest(start):
            if decision.instance.height > last:
                if then is not None:
                    raise then
                await asyncio.Event().wait()
            yield decision

    node.watched = watched


async def test_a_watch_goes_on_elsewhere_without_a_gap() -> None:
    """SCENARIOS G14: across a stream that breaks, every decision once, in order."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(InstanceId(TOPIC, 0))[0]
        _until_height(first, 3, Say(grpc.StatusCode.UNAVAILABLE, "stopping"))
        assert await _heights(client, 10) == list(range(10))
        assert first.calls == [("Watch", InstanceId(TOPIC, 0))]
        resumed = [call for node in pretend.nodes for call in node.calls if node is not first]
        assert resumed == [("Watch", InstanceId(TOPIC, 4))]


async def test_a_watch_leaves_a_node_that_falls_silent() -> None:
    """A node that withholds decisions cannot hold a watch for ever."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(InstanceId(TOPIC, 0))[0]
        _until_height(first, 2, None)
        assert await _heights(client, 8, stall=0.1) == list(range(8))
        assert client.liars == {}


async def test_a_watch_leaves_a_node_that_skips_or_forges() -> None:
    """SCENARIOS G11, G14: a gap is a lie as much as a forged certificate is."""
    async with pretend_cluster(7) as pretend, pretend.client() as client:
        order = pretend.order(InstanceId(TOPIC, 0))

        async def skips(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
            yield pretend.decision(start, b"v")
            yield pretend.decision(InstanceId(TOPIC, start.height + 2), b"v")

        async def forges(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
            yield pretend.decision(start, b"v", sources=[0])

        for node in order:
            node.watched = forges
        order[0].watched = skips
        order[-1].watched = order[-1]._forever
        assert await _heights(client, 6) == list(range(6))
        assert len(client.liars) >= 1
        assert order[-1].index not in client.liars


async def test_a_watch_ends_when_enough_refuse() -> None:
    """Below the mark: f+1 nodes say OUT_OF_RANGE, so an honest one does."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        for node in pretend.nodes:
            _until_height(node, -1, Say(grpc.StatusCode.OUT_OF_RANGE, "kept from height 7 on"))
        with pytest.raises(Refused, match="kept from height 7 on"):
            await _heights(client, 1)
        assert sum(len(node.calls) for node in pretend.nodes) == 2


async def test_watching_all_goes_on_from_the_cursor() -> None:
    """DESIGN section 4: one node's own order, its cursor opaque; a break loses nothing."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:

        async def all_(cursor: bytes) -> AsyncIterator[pb.WatchAllReply]:
            for number in range(len(cursor), len(cursor) + 2):
                decision = pretend.decision(InstanceId(TOPIC, 100 - number), b"x")
                yield pb.WatchAllReply(decision=decision, cursor=b"c" * (number + 1))
            raise Say(grpc.StatusCode.UNAVAILABLE, "stopping")

        pretend.nodes[0].all = all_
        seen = []
        watching = client.watch_all(0)
        async for decision, cursor in watching:
            seen.append((decision.instance.height, len(cursor)))
            if len(seen) == 5:
                break
        await watching.aclose()
        assert seen == [(100, 1), (99, 2), (98, 3), (97, 4), (96, 5)]
