"""A wire between a dialer and a node, for tests: it falls silent, or leads to another process."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

AT_ONCE = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a closed socket says RST."""


class Proxy:
    """A wire between a dialer and a node that can fall silent without closing (half-open TCP)."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends: list[asyncio.StreamWriter] = []
        self.dials = 0
        self.sent = 0
        """How often the dialer has said something."""

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._flows.clear()

    def mend(self) -> None:
        """What comes from now on passes; what was cut stays dead."""
        self._flows = asyncio.Event()
        self._flows.set()

    def reset(self) -> None:
        """Break what it carries, at both ends: each is told by a RST, and nothing before it."""
        for end in self._ends:
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            end.transport.abort()
        self._ends = []

    def lead_to(self, target: str) -> None:
        """From now on it ends at another address; what it carried breaks."""
        self._target = target
        for end in self._ends:
            end.transport.abort()
        self._ends = []

    async def carry(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        host, _, port = self._target.rpartition(":")
        far_in, far_out = await asyncio.open_connection(host, int(port))
        self.dials += 1
        flows = self._flows
        self._ends += [near_out, far_out]
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(near_in, far_out, flows, said=1))
            both.create_task(self._pump(far_in, near_out, flows))

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        flows: asyncio.Event,
        said: int = 0,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                self.sent += said
                if flows.is_set():
                    sink.write(data)
        sink.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The address to dial instead of the node's."""
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for end in self._ends:
                end.close()
            await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)
