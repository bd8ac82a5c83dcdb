"""Health and reflection: what a node answers anyone, whoever he is (docs/adr/014).

Nothing is kept of what such callers send, and their calls have few places: those that last, for all
callers together, and all of them for each connection, which leaves some to every other. Who finds
none is told to come back. None of them can end or delay those of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from qbft.replica.bounds import Bites
from qbft_server.access import Permissions
from qbft_server.bounds import NodeBound
from qbft_server.services.admission import Caller, Context
from qbft_server.services.arrivals import NO_MESSAGE, Arrivals
from qbft_server.services.refusal import Refusal, full, invalid
from qbft_server.telemetry.load import Held
from qbft_server.telemetry.metrics import Metrics

HEALTH_WATCHERS_MAX = 64
"""Calls that watch this node's health, of all callers together."""

REFLECTION_STREAMS_MAX = 16
"""Calls that ask for reflection, of all callers together."""

CALLS_OF_ANYONE_MAX = 8
"""Calls of both on one connection, from their headers until gRPC is done with them."""

ARRIVALS_OF_ANYONE_MAX = 8
"""Requests of both that are being read at once, of all callers together."""

REQUEST_OF_ANYONE_BYTES_MAX = 1_024
"""A request of a call that lasts: gRPC keeps it until the call ends."""

RETRY_MS = 1_000
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class Anyone:
    """The calls of those who are asked nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self.arrivals = Arrivals(ARRIVALS_OF_ANYONE_MAX, metrics.bites)
        self._metrics = metrics
        self._open = Held()

    @contextlib.asynccontextmanager
    async def call(self, method: str, context: Context) -> AsyncIterator[Caller]:
        """Around every call; a refusal within becomes the status of its end."""
        code = grpc.StatusCode.CANCELLED
        name = context.peer()
        try:
            if self._open.by_client.get(name, 0) >= CALLS_OF_ANYONE_MAX:
                self._metrics.bites.note(NodeBound.CALLS_OF_ANYONE_MAX)
                raise full("too many such calls are open on this connection", RETRY_MS)
            self._open.add(name)
            context.add_done_callback(functools.partial(self._done, name))  # type: ignore[arg-type]
            yield Caller(context, name, Permissions())
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            code = refusal.code
            await context.abort(refusal.code, refusal.message, tuple(refusal.trailers))
        finally:
            self._metrics.call_ended(method, code.name)

    def _done(self, name: str, _: object) -> None:
        self._open.remove(name)


class _Places:
    """So many calls of one kind at a time."""

    def __init__(self, most: int, bound: NodeBound, bites: Bites) -> None:
        self._most = most
        self._bound = bound
        self._bites = bites
        self._taken = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold one while the block lasts.

        Raises:
            Refusal: there is none.
        """
        if self._taken >= self._most:
            self._bites.note(self._bound)
            raise full(f"{self._taken} such calls are open here", RETRY_MS)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


def _check_size(request: Message) -> None:
    """See that a request is no larger than any that has an answer.

    Raises:
        Refusal: it is.
    """
    if request.ByteSize() > REQUEST_OF_ANYONE_BYTES_MAX:
        raise invalid(f"a request has at most {REQUEST_OF_ANYONE_BYTES_MAX} bytes")


class Health:
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
        self, request: HealthCheckRequest, _: Caller
    ) -> HealthCheckResponse:
        """Say how a service is."""
        status = self._status.get(request.service)
        if status is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: HealthCheckRequest, caller: Caller
    ) -> None:
        """Say how a service is, and whenever that changes; of a name that is none, say that."""
        _check_size(request)
        with self._watchers.place():
            told = None
            while True:
                changed = self._changed
                status = self._status.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != told:
                    await caller.context.write(HealthCheckResponse(status=status))
                    told = status
                await changed.wait()


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc,name-defined] # no types
    """The standard reflection service, of these services."""

    def __init__(self, *names: str, bites: Bites) -> None:
        super().__init__((*names, reflection.SERVICE_NAME))
        self._streams = _Places(REFLECTION_STREAMS_MAX, NodeBound.REFLECTION_STREAMS_MAX, bites)

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[ServerReflectionRequest | None], caller: Caller
    ) -> None:
        """Answer one question after the other."""
        with self._streams.place():
            answers = super().ServerReflectionInfo(_small(requests), caller.context)
            async for answer in answers:
                await caller.context.write(answer)


async def _small(
    requests: AsyncIterator[ServerReflectionRequest | None],
) -> AsyncIterator[ServerReflectionRequest]:
    async for request in requests:
        if request is None:
            raise invalid(NO_MESSAGE)
        _check_size(request)
        yield request
