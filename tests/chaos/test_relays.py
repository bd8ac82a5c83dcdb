"""The relays between nodes: bytes arrive as they were, unless the weather is bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qbft.cluster import Cluster
from qbft_server.chaos.relays import Relays, Weather
from qbft_server.initialise import init_cluster

pytestmark = pytest.mark.real_clock

SECONDS = 60.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echoing_peer(tmp_path: Path) -> AsyncIterator[tuple[Relays, Cluster]]:
    """Relays of a cluster whose node 1 is a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster = init_cluster(tmp_path / "cluster")
    validators = list(cluster.validators)
    validators[1] = validators[1].model_copy(update={"peer": f"127.0.0.1:{port}"})
    cluster = cluster.model_copy(update={"validators": tuple(validators)})
    async with server, Relays(cluster, 0) as relays, asyncio.timeout(SECONDS):
        yield relays, cluster


async def dial(relays: Relays) -> Streams:
    """As node 0 would dial node 1."""
    host, _, port = relays.view(0).validators[1].peer.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def said_back(streams: Streams, data: bytes) -> bytes:
    """Send, and read as much."""
    reader, writer = streams
    writer.write(data)
    return await reader.readexactly(len(data))


async def is_silent(streams: Streams, data: bytes) -> bool:
    """Send, and see that nothing comes for a while."""
    streams[1].write(data)
    try:
        async with asyncio.timeout(0.2):
            await streams[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_a_view_is_the_same_cluster_elsewhere(tmp_path: Path) -> None:
    """DESIGN, section 4: addresses are outside the cluster id; each pair has its own relay."""
    async with echoing_peer(tmp_path) as (relays, cluster):
        views = [relays.view(node) for node in range(4)]
        assert {view.roster.cluster_id for view in views} == {cluster.roster.cluster_id}
        peers = {v.peer for node, view in enumerate(views) for v in view.validators}
        assert len(peers) == 4 * 3 + 4
        assert views[2].validators[2].peer == cluster.validators[2].peer
        assert Cluster.parse(views[0].dump()) == views[0]


async def test_bytes_arrive_as_they_were(tmp_path: Path) -> None:
    """Many, in order, both ways, through delay and loss too."""
    data = bytes(range(256)) * 4_096
    async with echoing_peer(tmp_path) as (relays, _):
        streams = await dial(relays)
        assert await said_back(streams, data) == data
        relays.set((0, 1), Weather(delay_ms=150))
        clock = asyncio.get_running_loop().time
        began = clock()
        assert await said_back(streams, b"late") == b"late"
        assert clock() - began >= 0.15
        relays.set((0, 1), Weather())
        assert await said_back(streams, data) == data
        streams[1].close()


@pytest.mark.parametrize("link", [(0, 1), (1, 0)])
async def test_a_silent_link_stands_and_goes_on(tmp_path: Path, link: tuple[int, int]) -> None:
    """Half-open (M14): the connection is there, nothing comes, and after it all that was sent."""
    async with echoing_peer(tmp_path) as (relays, _):
        streams = await dial(relays)
        assert await said_back(streams, b"before") == b"before"
        relays.set(link, Weather(is_silent=True))
        assert await is_silent(streams, b"between")
        relays.set(link, Weather())
        assert await streams[0].readexactly(7) == b"between"
        streams[1].close()


@pytest.mark.parametrize("link", [(0, 1), (1, 0)])
async def test_a_refused_link_breaks_and_comes_back(tmp_path: Path, link: tuple[int, int]) -> None:
    """TCP needs both ways: where either is refused what runs is reset, and nothing new begins."""
    async with echoing_peer(tmp_path) as (relays, _):
        streams = await dial(relays)
        assert await said_back(streams, b"before") == b"before"
        relays.set(link, Weather(is_refused=True))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said_back(streams, b"x")
        again = await dial(relays)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said_back(again, b"x")
        relays.set(link, Weather())
        last = await dial(relays)
        assert await said_back(last, b"after") == b"after"
        for _, writer in (streams, again, last):
            writer.close()


async def test_a_peer_that_is_down_is_a_broken_connection(tmp_path: Path) -> None:
    """A relay in between hides nothing: what cannot be reached ends at once."""
    async with echoing_peer(tmp_path) as (relays, _):
        host, _, port = relays.view(0).validators[2].peer.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
