"""A grant that is taken back from a running node ends what its client does (issue 6, access)."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import QUIET, proposal, stub_of
from grpc import aio

from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

SECONDS = 60.0
TOKENS = {name: f"{name}-has-this-secret-token" for name in ("alice", "bob", "carol")}


def shown(name: str) -> tuple[tuple[str, str], ...]:
    """What a client sends with its calls."""
    return (("authorization", f"Bearer {TOKENS[name]}"),)


def table(name: str, *prefixes: str) -> str:
    """A grant, as it is written in a node's file."""
    digest = hashlib.sha256(TOKENS[name].encode()).hexdigest()
    topics = ", ".join(f'"{prefix}"' for prefix in prefixes)
    return (
        f'\n[[clients.grants]]\nname = "{name}"\ntoken_sha256 = "{digest}"\n'
        f"propose = [{topics}]\nread = [{topics}]\n"
    )


async def silence() -> AsyncIterator[pb.ProposeStreamRequest]:
    """A stream of proposals that stays open and has none."""
    await asyncio.Event().wait()
    yield pb.ProposeStreamRequest()


async def how_it_ends(call: aio.Call) -> grpc.StatusCode:
    """How a call ends, soon."""
    async with asyncio.timeout(SECONDS):
        return await call.code()


async def test_watches_and_streams_end_and_those_of_others_go_on(tmp_path: Path) -> None:
    """Over real links: alice is let in no more, carol may do less, bob notices nothing."""
    unknown, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    async with (
        LocalCluster.create(tmp_path / "cluster", environment=QUIET) as cluster,
        AsyncExitStack() as links,
    ):
        node_file = cluster.directory / "node-0" / "node.toml"
        own = node_file.read_text()
        node_file.write_text(own + table("alice", "") + table("bob", "") + table("carol", ""))
        await cluster.start()
        await cluster.wait_until_ready()
        stubs = {name: await links.enter_async_context(stub_of(cluster, 0)) for name in TOKENS}

        def watch(name: str, topic: str) -> aio.UnaryStreamCall[pb.WatchRequest, pb.Decision]:
            request = pb.WatchRequest(topic=topic, from_height=1)
            return stubs[name].Watch(request, metadata=shown(name))

        of_alice = [
            watch("alice", "public/x"),
            stubs["alice"].WatchAll(pb.WatchAllRequest(), metadata=shown("alice")),
            stubs["alice"].ProposeStream(silence(), metadata=shown("alice")),
        ]
        of_bob = watch("bob", "public/x")
        of_carol = watch("carol", "mine/x")
        carol_all = stubs["carol"].WatchAll(pb.WatchAllRequest(), metadata=shown("carol"))
        first = proposal("public/y", 1, b"first")
        await stubs["bob"].Propose(first, metadata=shown("bob"), timeout=SECONDS)
        assert (await carol_all.read()).decision.value == b"first"
        assert (await of_alice[1].read()).decision.value == b"first"

        node_file.write_text(own + table("bob", "") + table("carol", "public/"))
        cluster.signal(0, signal.SIGHUP)
        assert [await how_it_ends(call) for call in of_alice] == [unknown] * 3
        assert await how_it_ends(of_carol) is denied

        for topic in ("mine/x", "public/x"):
            sent = proposal(topic, 1, topic.encode())
            await stubs["bob"].Propose(sent, metadata=shown("bob"), timeout=SECONDS)
        assert (await of_bob.read()).value == b"public/x"
        assert (await carol_all.read()).decision.value == b"public/x"
        for call in (of_bob, carol_all):
            call.cancel()
