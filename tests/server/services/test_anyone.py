"""Health and reflection over real gRPC: what strangers may ask, and what they cannot do by it.

From a security review: the official health service kept every name that was ever watched, of up to
1 MiB, and a watch that ended cut off all others of its name; neither had any bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import (
    ServerReflectionStub,
    add_ServerReflectionServicer_to_server,
)

from qbft.replica.bounds import Bites
from qbft_server.services.anyone import (
    HEALTH_WATCHERS_MAX,
    REFLECTION_STREAMS_MAX,
    REQUEST_OF_ANYONE_BYTES_MAX,
    Health,
    Reflection,
)

pytestmark = pytest.mark.real_clock

SERVICE = "qbft.v1.DecisionService"
SECONDS = 60.0
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
LONG = "x" * (1 << 20)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[aio.Channel, Health]]:
    """A server of both, and a channel to it."""
    bites = Bites()
    health, server = Health(SERVICE, bites=bites), aio.server()
    add_HealthServicer_to_server(health, server)
    add_ServerReflectionServicer_to_server(Reflection(SERVICE, bites=bites), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, health
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
    async with served() as (channel, health):
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
    async with served() as (channel, health):
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
    async with served() as (channel, health):
        assert await code_of(watch(channel, LONG)) is grpc.StatusCode.INVALID_ARGUMENT
        watches = [watch(channel, f"name {number}") for number in range(HEALTH_WATCHERS_MAX)]
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
    async with served() as (channel, _):
        streams = [names(channel) for _ in range(REFLECTION_STREAMS_MAX)]
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
