"""Requests that are on their way: who is read, who waits, and who makes way (issue 6, a review).

A stranger's calls of which gRPC had the headers, and never the request, took all places there were,
and those of which only the last byte was missing 1.1 GiB.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from grpc import aio

from qbft.replica.bounds import Bites
from qbft_server.access import Permissions
from qbft_server.services.admission import Caller
from qbft_server.services.arrivals import (
    ARRIVAL_SECONDS_MAX,
    SLOW_ARRIVAL_SECONDS_MAX,
    Arrivals,
)
from qbft_server.services.refusal import Refusal

PLACES = 8
REQUEST = "what is asked"


class Context:
    """A call whose request comes when the test says so."""

    def __init__(self) -> None:
        self.request: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def read(self) -> object:
        """As gRPC's own: what has come, once it has."""
        return await self.request


class Calls:
    """Calls whose requests are read, or wait for that."""

    def __init__(self) -> None:
        self.bites = Bites()
        self.arrivals = Arrivals(PLACES, self.bites)

    def begin(self, client: str, request: object = None) -> asyncio.Task[Any]:
        """A call of a client; its `request` has come already, or never comes."""
        context = Context()
        if request is not None:
            context.request.set_result(request)
        caller = Caller(cast("Any", context), client, Permissions())
        return asyncio.create_task(self.arrivals.read(caller))

    def counted(self) -> dict[str, int]:
        """How often each bound bit."""
        return {name: count for (name, _), count in self.bites.counts().items()}


async def code_of(call: asyncio.Task[Any]) -> grpc.StatusCode:
    """How a call is refused."""
    with pytest.raises(Refusal) as ended:
        await call
    return ended.value.code


async def test_what_has_come_is_read() -> None:
    """More at once than there are places, of one client: all are read, nobody has to make way."""
    calls = Calls()
    asked = [calls.begin("one", REQUEST) for _ in range(10 * PLACES)]
    assert set(await asyncio.gather(*asked)) == {REQUEST}
    assert set(calls.counted()) <= {"arrivals_max"}


@pytest.mark.bites("arrival_seconds_max")
async def test_what_does_not_come_is_given_up() -> None:
    """However few there are of it; its place is free again."""
    calls = Calls()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await code_of(calls.begin("slow")) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert loop.time() - began == pytest.approx(ARRIVAL_SECONDS_MAX)
    assert calls.counted() == {"arrival_seconds_max": 1}
    assert calls.arrivals._held.total == 0


@pytest.mark.parametrize("request_", [aio.EOF, None])  # type: ignore[attr-defined]
async def test_what_is_no_request_is_refused(request_: object) -> None:
    """A call that ends without one, and bytes that are none, which the door makes None of."""
    calls = Calls()
    context = Context()
    context.request.set_result(request_)
    caller = Caller(cast("Any", context), "one", Permissions())
    with pytest.raises(Refusal) as ended:
        await calls.arrivals.read(caller)
    assert ended.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_one_client_leaves_places_to_the_next() -> None:
    """Half of them at least, so that who sends what it asks for has not to wait at all."""
    calls = Calls()
    stuck = [calls.begin("slow") for _ in range(3 * PLACES)]
    await asyncio.sleep(0)
    assert calls.arrivals._held.by_client == {"slow": PLACES // 2}
    assert await calls.begin("other", REQUEST) == REQUEST
    assert set(await asyncio.gather(*map(code_of, stuck))) == {grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.mark.bites("arrivals_max")
async def test_many_that_take_all_places_make_way_for_who_comes_later() -> None:
    """By any number of connections: each is read for so long, and then there is room."""
    calls = Calls()
    loop = asyncio.get_running_loop()
    stuck = [calls.begin(f"slow {number}") for number in range(2 * PLACES) for _ in range(9)]
    await asyncio.sleep(0)
    began = loop.time()
    assert await calls.begin("other", REQUEST) == REQUEST
    assert loop.time() - began <= 4 * SLOW_ARRIVAL_SECONDS_MAX
    assert calls.counted()["arrivals_max"] > PLACES
    ended = set(await asyncio.gather(*map(code_of, stuck)))
    assert ended == {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert not calls.arrivals._held.total
    assert not calls.arrivals._line


async def test_the_one_that_has_most_makes_way_first() -> None:
    """A client whose large request takes its time keeps its place while another has more."""
    calls = Calls()
    large = calls.begin("large")
    await asyncio.sleep(SLOW_ARRIVAL_SECONDS_MAX)
    stuck = [calls.begin(name) for name in "aaaabbbc" for _ in range(9)]
    await asyncio.sleep(4 * SLOW_ARRIVAL_SECONDS_MAX)
    assert not large.done()
    for call in (large, *stuck):
        call.cancel()
    await asyncio.gather(large, *stuck, return_exceptions=True)


async def test_calls_that_go_away_leave_nothing_behind() -> None:
    """Cancelled while read, while waiting, and in the moment in which their place comes."""
    calls = Calls()
    first = [calls.begin(f"{number}") for number in range(PLACES)]
    waiting = [calls.begin(f"later {number}") for number in range(4)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    first[0].cancel()
    await asyncio.sleep(0)
    waiting[0].cancel()
    for call in (*first, *waiting):
        call.cancel()
    await asyncio.gather(*first, *waiting, return_exceptions=True)
    assert not calls.arrivals._held.total
    assert not calls.arrivals._line
    assert not calls.arrivals._reading
