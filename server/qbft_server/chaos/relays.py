"""A small TCP relay for every pair of nodes, so that links are cut, slow and lossy without root.

Each node has its own view of the cluster, in which its peers' addresses are relays. Peers are known
by their TLS keys, so that a relay between them sees bytes only it cannot read, and is harmless.
A link (a, b) is the packets from a to b: the forward half of connections that a opened, and the
backward half of those that b opened.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import permutations

from qbft.cluster import Cluster
from qbft_server.chaos.plan import Link

CHUNK_BYTES = 64 << 10
QUEUE_CHUNKS_MAX = 256
"""Chunks that are on their way one way over a link of a chaos run."""

RETRANSMISSION_SECONDS = (0.2, 1.2)
"""What a lost packet costs a TCP stream: it waits until it is sent again."""

LOSS_SHARE = 0.1
RESET_SHARE = 0.01
HOST = "127.0.0.1"


_Acceptor = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Weather:
    """How one link is now.

    `is_refused`: connections are reset and none is made; `is_silent`: they stand, and nothing comes
    through; `delay_ms`: every packet is so late; `is_lossy`: packets are sent again, or the
    connection breaks.
    """

    is_refused: bool = False
    is_silent: bool = False
    delay_ms: int = 0
    is_lossy: bool = False


class Relays:
    """The relays of all pairs of nodes, while the `async with` block lasts."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._weather = {link: Weather() for link in permutations(range(self.nodes), 2)}
        self._changed = asyncio.Event()
        self._servers: dict[Link, asyncio.Server] = {}
        self._connections: dict[Link, set[asyncio.Task[None]]] = {}

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._cluster.validators)

    async def __aenter__(self) -> Relays:
        """Open a port for each pair."""
        for link in self._weather:
            self._connections[link] = set()
            self._servers[link] = await asyncio.start_server(self._acceptor(link), HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the ports and end what runs through them."""
        for server in self._servers.values():
            server.close()
        tasks = [task for tasks in self._connections.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def view(self, node: int) -> Cluster:
        """The cluster as this node is to see it: it reaches each peer through a relay."""
        validators = [
            validator
            if peer == node
            else validator.model_copy(update={"peer": f"{HOST}:{self._port((node, peer))}"})
            for peer, validator in enumerate(self._cluster.validators)
        ]
        return self._cluster.model_copy(update={"validators": tuple(validators)})

    def weather(self, link: Link) -> Weather:
        """How a link is now."""
        return self._weather[link]

    def set(self, link: Link, weather: Weather) -> None:
        """Change a link; one that is refused breaks what it carries, both ways."""
        self._weather[link] = weather
        if weather.is_refused:
            for carrier in (link, link[::-1]):
                for task in self._connections[carrier]:
                    task.cancel()
        self._changed.set()
        self._changed = asyncio.Event()

    def _port(self, link: Link) -> int:
        port: int = self._servers[link].sockets[0].getsockname()[1]
        return port

    def _acceptor(self, link: Link) -> _Acceptor:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or self._is_refused(link):
                writer.transport.abort()
                return
            self._connections[link].add(task)
            try:
                await self._carry(link, reader, writer)
            except (OSError, _Broken):
                pass
            except asyncio.CancelledError:
                task.uncancel()  # a task of a server has nobody who would want to know
            finally:
                writer.transport.abort()
                self._connections[link].discard(task)

        return accept

    def _is_refused(self, link: Link) -> bool:
        return self._weather[link].is_refused or self._weather[link[::-1]].is_refused

    async def _carry(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to the real peer and carry bytes both ways until either side ends."""
        back = link[::-1]
        await self._until_heard(link)
        host, _, port = self._cluster.validators[link[1]].peer.rpartition(":")
        theirs, ours = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(link, reader, ours))
                tasks.create_task(self._pump(back, theirs, writer))
        except BaseExceptionGroup as group:
            raise _Broken from group
        finally:
            ours.transport.abort()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes one way, in order, as the weather allows; raises when it ends."""
        clock = asyncio.get_running_loop().time
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_CHUNKS_MAX)

        async def read() -> None:
            while data := await reader.read(CHUNK_BYTES):
                due = clock() + self._weather[link].delay_ms / 1_000
                await chunks.put((due, data))
            await self._until_heard(link)
            raise _Broken

        async def write() -> None:
            while True:
                due, data = await chunks.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._weather_out(link)
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            tasks.create_task(write())

    async def _weather_out(self, link: Link) -> None:
        """Wait until a packet may go."""
        if self._weather[link].is_lossy:
            if self._draw.random() < RESET_SHARE:
                raise _Broken
            if self._draw.random() < LOSS_SHARE:
                await asyncio.sleep(self._draw.uniform(*RETRANSMISSION_SECONDS))
        await self._until_heard(link)

    async def _until_heard(self, link: Link) -> None:
        while self._weather[link].is_silent:
            await self._changed.wait()


class _Broken(Exception):  # noqa: N818 - a connection that has ended, however
    """One side of a connection ended, or the weather broke it."""
