"""What a unary call over grpc.aio costs with nothing behind it: the yardstick for our own price."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from grpc import aio

from side_by_side.echo_node import METHOD, SERVICE
from side_by_side.load import Session, Usage, by_workers
from side_by_side.processes import READY_SECONDS, Children, cpu_seconds, free_ports

NAME = "echo"
NODE = Path(__file__).with_name("echo_node.py")


class Echo:
    """One process that gives back what it gets."""

    def __init__(self) -> None:
        self.variants = {NAME: "grpc.aio, unary, without TLS, nothing behind it"}

    @contextlib.asynccontextmanager
    async def run(self, directory: Path) -> AsyncIterator[RunningEcho]:
        """Run it."""
        (port,) = free_ports(1)
        async with Children() as children:
            await children.start([sys.executable, str(NODE), str(port)], directory / "echo.log")
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                async with asyncio.timeout(READY_SECONDS):
                    await channel.channel_ready()
                yield RunningEcho(children.pids[0], channel)


class RunningEcho:
    """The process and a channel to it."""

    def __init__(self, pid: int, channel: aio.Channel) -> None:
        self._pid = pid
        self._call = channel.unary_unary(f"/{SERVICE}/{METHOD}")

    async def usage(self) -> Usage:
        """Its processor time; it writes nothing."""
        return Usage(cpu_seconds=cpu_seconds(self._pid))

    @contextlib.asynccontextmanager
    async def session(self, _variant: str) -> AsyncIterator[Session]:
        """Calls that carry a value and get it back."""

        async def call(_topic: str, _height: int, value: bytes) -> None:
            await self._call(value)

        yield by_workers(call)
