"""Health and reflection over real gRPC: what strangers may ask, and what they cannot do by it.

From a security review: the official health service kept every name that was ever watched, of up to
1 MiB, and a watch that ended cut off all others of its name; neither had any bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from qbft_server.services.anyone import (
    CALLS_OF_ANYONE_MAX,
    HEALTH,
    HEALTH_WATCHERS_MAX,
    REFLECTION,
    REFLECTION_STREAMS_MAX,
    REQUEST_OF_ANYONE_BYTES_MAX,
    Anyone,
    Health,
    Reflection,
)
from qbft_server.services.calls import serve
from qbft_server.telemetry.metrics import Metrics

pytestmark = pytest.mark.real_clock

SERVICE = "qbft.v1.DecisionService"
SECONDS = 60.0
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
LONG = "x" * (1 << 20)


class Channel:
    """Connections to a server: one, and another whenever one has all the calls it may have."""

    def __init__(self, port: int, metrics: Metrics, exits: AsyncExitStack) -> None:
        self.metrics = metrics
        self._port = port
        self._exits = exits

    async def another(self) -> aio.Channel:
        """A connection of its own."""
        own = [("grpc.use_local_subchannel_pool", 1)]
        channel = aio.insecure_channel(f"127.0.0.1:{self._port}", own)
        return await self._exits.enter_async_context(channel)

    async def for_calls(self, count: int) -> list[aio.Channel]:
        """A connection for each of so many calls, as few as may be."""
        few = [await self.another() for _ in range(-(-count // CALLS_OF_ANYONE_MAX))]
        return [few[number // CALLS_OF_ANYONE_MAX] for number in range(count)]


@asynccontextmanager
async def served() -> AsyncIterator[tuple[aio.Channel, Health, Channel]]:
    """A server of both, a connection to it, and more of them."""
    metrics = Metrics()
    health, server = Health(SERVICE, bites=metrics.bites), aio.server()
    anyone = Anyone(metrics)
    serve(server, HEALTH, health, anyone)
    serve(server, REFLECTION, Reflection(SERVICE, bites=metrics.bites), anyone)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncExitStack() as exits:
            more = Channel(port, metrics, exits)
            yield await more.another(), health, more
    finally:
        await server.stop(None)


def watch(channel: aio.Channel, service: str) -> Any:
    """Watch the health of a service."""
    return HealthStub(channel).Watch(HealthCheckRequest(service=service), timeout=SECONDS)


async def told(call: Any) -> int:
    """The next status that a watch tells."""
    return (await call.read()).status


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call ends that gives nothing."""
    with pytest.raises(aio.AioRpcError) as ended:
        await (call.read() if hasattr(call, "read") else call)
    return ended.value.code()


async def test_health_is_told_of_the_two_names_that_there_are() -> None:
    """The node lives, and the service is served where it says so; of others nothing is known."""
    async with served() as (channel, health, _):
        check = HealthStub(channel).Check
        assert (await check(HealthCheckRequest())).status == SERVING
        assert (await check(HealthCheckRequest(service=SERVICE))).status == NOT_SERVING
        for name in ("another", LONG):
            ended = code_of(check(HealthCheckRequest(service=name)))
            assert await ended is grpc.StatusCode.NOT_FOUND
        following, other = watch(channel, SERVICE), watch(channel, "another")
        assert (await told(following), await told(other)) == (NOT_SERVING, UNKNOWN)
        health.tell(SERVICE, is_serving=True)
        assert await told(following) == SERVING
        health.drain()
        assert await told(following) == NOT_SERVING
        health.tell(SERVICE, is_serving=True)
        assert (await check(HealthCheckRequest(service=SERVICE))).status == NOT_SERVING
        assert (await check(HealthCheckRequest())).status == NOT_SERVING


async def test_a_watch_that_ends_ends_no_other() -> None:
    """A stranger that came and went left all other watchers of the name without news for ever."""
    async with served() as (channel, health, _):
        staying, leaving = watch(channel, SERVICE), watch(channel, SERVICE)
        assert (await told(staying), await told(leaving)) == (NOT_SERVING, NOT_SERVING)
        leaving.cancel()
        await until_free(health, 1)
        health.tell(SERVICE, is_serving=True)
        assert await told(staying) == SERVING


async def until_free(health: Health, watchers: int) -> None:
    """Wait until so many watch, and no more."""
    async with asyncio.timeout(SECONDS):
        while health._watchers._taken > watchers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.bites("health_watchers_max")
async def test_watchers_are_bounded_and_nothing_is_kept_of_their_names() -> None:
    """Places become free again; what is too large to be a name is refused at once."""
    async with served() as (channel, health, more):
        assert await code_of(watch(channel, LONG)) is grpc.StatusCode.INVALID_ARGUMENT
        watches = [
            watch(each, f"name {number}")
            for number, each in enumerate(await more.for_calls(HEALTH_WATCHERS_MAX))
        ]
        assert {await told(each) for each in watches} == {UNKNOWN}
        assert await code_of(watch(channel, "")) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await HealthStub(channel).Check(HealthCheckRequest())).status == SERVING
        assert set(health._status) == {"", SERVICE}
        for each in watches:
            each.cancel()
        await until_free(health, 0)
        assert await told(watch(channel, "")) == SERVING


def names(channel: aio.Channel) -> Any:
    """Ask for reflection."""
    return ServerReflectionStub(channel).ServerReflectionInfo(timeout=SECONDS)


@pytest.mark.bites("reflection_streams_max")
async def test_reflection_is_bounded() -> None:
    """Streams in number, and each of their requests in size."""
    listing = ServerReflectionRequest(list_services="")
    async with served() as (channel, _, more):
        streams = [names(each) for each in await more.for_calls(REFLECTION_STREAMS_MAX)]
        for each in streams:
            await each.write(listing)
            services = (await each.read()).list_services_response.service
            assert SERVICE in {service.name for service in services}
        assert await code_of(names(channel)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        large = "x" * REQUEST_OF_ANYONE_BYTES_MAX
        await streams[0].write(ServerReflectionRequest(file_containing_symbol=large))
        assert await code_of(streams[0]) is grpc.StatusCode.INVALID_ARGUMENT
        again = names(channel)
        await again.write(listing)
        assert (await again.read()).list_services_response.service


@pytest.mark.bites("calls_of_anyone_max")
async def test_calls_without_a_request_leave_every_other_connection_its_own() -> None:
    """Review: a stranger's calls that never send their request kept probes out, as all others."""
    async with served() as (channel, _, more):
        stuck = HealthStub(await more.another())
        check = (await more.another()).stream_unary("/grpc.health.v1.Health/Check")
        calls = [check(_never()) for _ in range(3 * CALLS_OF_ANYONE_MAX)]
        refused = CALLS_OF_ANYONE_MAX * 2
        async with asyncio.timeout(SECONDS):
            while more.metrics.bites.counts().get(("calls_of_anyone_max", None), 0) < refused:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for name in ("", SERVICE):
            assert await HealthStub(channel).Check(
                HealthCheckRequest(service=name), timeout=SECONDS
            )
            assert await stuck.Check(HealthCheckRequest(service=name), timeout=SECONDS)
        assert await told(watch(channel, SERVICE)) == NOT_SERVING
        for each in calls:
            each.cancel()


async def _never() -> AsyncIterator[bytes]:
    """A request that does not come."""
    await asyncio.Event().wait()
    yield b""


async def test_bytes_that_are_no_request_are_refused_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Review: gRPC wrote a traceback for each, at error, of whoever sent them."""
    async with served() as (channel, _, _more):
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")
        assert await code_of(check(b"\xff\xff")) is grpc.StatusCode.INVALID_ARGUMENT
        assert await code_of(watching(b"\xff\xff")) is grpc.StatusCode.INVALID_ARGUMENT
        asking = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )()
        await asking.write(b"\xff\xff")
        assert await code_of(asking) is grpc.StatusCode.INVALID_ARGUMENT
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]
