"""An operator's own program, for tests: it judges, provides, and remembers what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from qbft.wire.v1 import application_pb2 as pb
from qbft.wire.v1 import application_pb2_grpc as pb_grpc


class Program(pb_grpc.ApplicationServiceServicer):
    """Finds invalid what begins with "bad"; `failures` tellings fail before one is acknowledged."""

    def __init__(self, provides: bytes | None = None, failures: int = 0) -> None:
        self.told: list[tuple[int, str, int, bytes]] = []
        self.checked: list[bytes] = []
        self.has_told = asyncio.Event()
        self._provides = provides
        self._failures = failures

    async def ProvideValue(  # noqa: N802 - as in the .proto
        self, request: pb.ProvideValueRequest, context: Any
    ) -> pb.ProvideValueReply:
        """Give what it was made with."""
        reply = pb.ProvideValueReply()
        if self._provides is not None:
            reply.proposal.instance.CopyFrom(request.instance)
            reply.proposal.value = self._provides
        return reply

    async def CheckValue(  # noqa: N802 - as in the .proto
        self, request: pb.CheckValueRequest, context: Any
    ) -> pb.CheckValueReply:
        """Judge."""
        self.checked.append(request.value)
        return pb.CheckValueReply(valid=not request.value.startswith(b"bad"))

    async def Decided(  # noqa: N802 - as in the .proto
        self, request: pb.DecidedRequest, context: Any
    ) -> pb.DecidedReply:
        """Take a decision, or fail as a program with trouble of its own."""
        if self._failures:
            self._failures -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "trouble of its own")
        decision = request.decision
        where = decision.instance
        self.told.append((request.position, where.topic, where.height, decision.value))
        self.has_told.set()
        return pb.DecidedReply()

    async def until_told(self, height: int) -> None:
        """Wait until it was told of that height."""
        while not any(told[2] == height for told in self.told):
            self.has_told.clear()
            await self.has_told.wait()


@asynccontextmanager
async def served(program: Program, path: Path) -> AsyncIterator[str]:
    """Serve it at a socket of its own; gives the address."""
    server = aio.server()
    pb_grpc.add_ApplicationServiceServicer_to_server(program, server)  # type: ignore[no-untyped-call]
    address = f"unix:{path}"
    server.add_insecure_port(address)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(None)
