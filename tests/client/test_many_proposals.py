"""Many proposals in flight over one stream to each node (SCENARIOS, group G)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from client_parts import INSTANCE, client_tasks, until
from pretend_cluster import TOPIC, at_first, decides, gives, pretend_cluster, says

from qbft.client.proposals import _Unsent

pytestmark = pytest.mark.real_clock


async def test_many_proposals_over_streams() -> None:
    """Each goes to its leader's stream; all come back, verified."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        proposals = [(TOPIC, height, b"%d" % height) for height in range(100)]
        decided = [d async for d in client.propose_many(proposals, in_flight=8)]
        assert sorted(d.value for d in decided) == sorted(value for *_, value in proposals)
        assert all(d.own for d in decided)
        for node in pretend.nodes:
            assert {name for name, _ in node.calls} <= {"ProposeStream"}


async def test_many_proposals_survive_breaks_lies_and_full_nodes() -> None:
    """What a stream does not bring is asked for again, there or elsewhere."""

    async def source() -> AsyncIterator[tuple[str, int, bytes]]:
        for height in range(60):
            yield TOPIC, height, b"%d" % height

    async with pretend_cluster() as pretend, pretend.client(hedge_ms=50) as client:
        breaks = says(grpc.StatusCode.ABORTED, "broken")
        full = says(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        pretend.nodes[0].proposed = at_first([decides, decides, breaks, decides, breaks])
        pretend.nodes[1].proposed = at_first([full, full, decides, full])
        pretend.nodes[2].proposed = gives(pretend.decision(INSTANCE, b"x", sources=[1]))
        decided = {d.value async for d in client.propose_many(source(), in_flight=8)}
        assert decided == {b"%d" % height for height in range(60)}
        assert list(client.liars) == [2]


async def test_leaving_many_proposals_leaves_nothing_behind() -> None:
    """DESIGN, async: breaking off ends streams and tasks."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        proposing = client.propose_many((TOPIC, height, b"x") for height in range(1_000))
        async for _ in proposing:
            break
        await proposing.aclose()
        await until(lambda: not client_tasks())


async def test_the_requests_of_a_stream_that_is_over_end() -> None:
    """DESIGN, async: gRPC's task that reads them waits for nothing that will never come."""
    unsent = _Unsent()
    reading = asyncio.create_task(anext(unsent.requests(), None))
    await asyncio.sleep(0)
    assert not reading.done()
    unsent.end()
    assert await reading is None
