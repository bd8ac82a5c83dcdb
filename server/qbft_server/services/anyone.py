"""Health and reflection: what a node answers anyone, whoever he is (docs/adr/014).

Nothing is kept of what such callers send, and their calls, which may last, have few places: who
finds none is told to come back. None of them can end or delay those of another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.services.admission import Context

HEALTH_WATCHERS_MAX = 64
"""Calls that watch this node's health, of all callers together."""

REFLECTION_STREAMS_MAX = 64
"""Calls that ask for reflection, of all callers together."""

REQUEST_OF_ANYONE_BYTES_MAX = 1_024
"""A request of a call that lasts: gRPC keeps it until the call ends."""

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class _Places:
    """So many calls of one kind at a time."""

    def __init__(self, most: int, bound: NodeBound, bites: Bites) -> None:
        self._most = most
        self._bound = bound
        self._bites = bites
        self._taken = 0

    @contextlib.asynccontextmanager
    async def place(self, context: Context) -> AsyncIterator[None]:
        """Hold one while the block lasts; the call ends if there is none."""
        if self._taken >= self._most:
            self._bites.note(self._bound)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._taken} such calls are open here; try again later",
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def _check_size(request: Message, context: Context) -> None:
    """End a call whose request is larger than any that has an answer."""
    if request.ByteSize() > REQUEST_OF_ANYONE_BYTES_MAX:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"a request has at most {REQUEST_OF_ANYONE_BYTES_MAX} bytes",
        )


class Health(HealthServicer):  # type: ignore[misc] # it has no types
    """The standard health service, for the names that it is told of and no others.

    Args:
        names: of services, which are not served yet. That of the empty name is the node itself,
            which is served from the start.
        bites: counts who finds no place.
    """

    def __init__(self, *names: str, bites: Bites) -> None:
        self._status = dict.fromkeys(names, HealthCheckResponse.NOT_SERVING)
        self._status[""] = HealthCheckResponse.SERVING
        self._changed = asyncio.Event()
        self._watchers = _Places(HEALTH_WATCHERS_MAX, NodeBound.HEALTH_WATCHERS_MAX, bites)
        self._is_draining = False

    def tell(self, name: str, *, is_serving: bool) -> None:
        """Say how a service is from now on; a node that drains serves nothing any more."""
        status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        if not self._is_draining and self._status[name] != status:
            self._set({name: status})

    def drain(self) -> None:
        """Serve nothing any more."""
        self._is_draining = True
        self._set(dict.fromkeys(self._status, HealthCheckResponse.NOT_SERVING))

    def _set(self, status: dict[str, int]) -> None:
        self._status.update(status)
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(  # noqa: N802 - the name on the wire
        self, request: HealthCheckRequest, context: Context
    ) -> HealthCheckResponse:
        """Say how a service is."""
        status = self._status.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: HealthCheckRequest, context: Context
    ) -> None:
        """Say how a service is, and whenever that changes; of a name that is none, say that."""
        await _check_size(request, context)
        async with self._watchers.place(context):
            told = None
            while True:
                changed = self._changed
                status = self._status.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != told:
                    await context.write(HealthCheckResponse(status=status))
                    told = status
                await changed.wait()


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc,name-defined] # no types
    """The standard reflection service, of these services."""

    def __init__(self, *names: str, bites: Bites) -> None:
        super().__init__((*names, reflection.SERVICE_NAME))
        self._streams = _Places(REFLECTION_STREAMS_MAX, NodeBound.REFLECTION_STREAMS_MAX, bites)

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[ServerReflectionRequest], context: Context
    ) -> AsyncIterator[ServerReflectionResponse]:
        """Answer one question after the other."""
        async with self._streams.place(context):
            async for answer in super().ServerReflectionInfo(_small(requests, context), context):
                yield answer


async def _small(
    requests: AsyncIterator[ServerReflectionRequest], context: Context
) -> AsyncIterator[ServerReflectionRequest]:
    async for request in requests:
        await _check_size(request, context)
        yield request
