"""A node that has gone without a word is found, and one that is there takes being asked so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from client_parts import SECONDS, until
from half_open import Proxy
from pretend_cluster import TOPIC, pretend_cluster

from qbft.client import access
from qbft.client.pinned import keepalive
from qbft.core import InstanceId
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.services.server import CLIENT_PING_MS_MIN, takes_pings

pytestmark = pytest.mark.real_clock

PING_MS = 100


async def test_a_node_that_vanished_is_found_and_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SCENARIOS M14, of a client: who follows one node's order has no other one to turn to."""
    monkeypatch.setattr(access, "KEEPALIVE", keepalive(PING_MS, 10 * PING_MS))
    async with pretend_cluster(1, options=takes_pings(PING_MS // 2)) as pretend:
        told = asyncio.Event()

        async def all_(cursor: bytes) -> AsyncIterator[pb.WatchAllReply]:
            if cursor:
                await told.wait()
            decision = pretend.decision(InstanceId(TOPIC, len(cursor)), b"x")
            yield pb.WatchAllReply(decision=decision, cursor=cursor + b"c")
            await asyncio.Event().wait()

        pretend.nodes[0].all = all_
        proxy = Proxy(pretend.cluster.validators[0].client)
        async with proxy.listening() as address:
            pretend.move(address)
            async with pretend.client() as client, asyncio.timeout(SECONDS):
                watching = client.watch_all(0)
                await anext(watching)
                proxy.cut()
                following = asyncio.ensure_future(anext(watching))
                await until(lambda: proxy.dials == 2)
                proxy.mend()
                told.set()
                decision, _ = await following
                assert decision.instance == InstanceId(TOPIC, 1)
                await watching.aclose()


async def test_a_quiet_watch_is_not_hung_up_on_for_its_pings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GRPC takes a ping in five minutes and then says "too many pings": nodes take these.

    The times are a hundredth or so of what is deployed, and as far apart.
    """
    assert dict(access.KEEPALIVE)["grpc.keepalive_time_ms"] == 2 * CLIENT_PING_MS_MIN
    monkeypatch.setattr(access, "KEEPALIVE", keepalive(PING_MS, 100 * PING_MS))
    async with pretend_cluster(1, options=takes_pings(PING_MS // 2)) as pretend:

        async def all_(cursor: bytes) -> AsyncIterator[pb.WatchAllReply]:
            await asyncio.Event().wait()
            yield pb.WatchAllReply()

        pretend.nodes[0].all = all_
        proxy = Proxy(pretend.cluster.validators[0].client)
        async with proxy.listening() as address:
            pretend.move(address)
            async with pretend.client() as client:
                watching = client.watch_all(0)
                following = asyncio.ensure_future(anext(watching))
                await until(lambda: pretend.nodes[0].calls)
                before = proxy.sent
                await until(lambda: proxy.sent >= before + 10)
                assert len(pretend.nodes[0].calls) == 1
                assert proxy.dials == 1
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
