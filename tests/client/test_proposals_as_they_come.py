"""Many proposals whose source takes its time, or some of which fail, on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from pretend_cluster import TOPIC, PretendCluster, PretendNode, Say, decides, says

from qbft.client import Refused
from qbft.core import InstanceId
from qbft.wire.v1 import messages_pb2

Proposals = AsyncIterator[tuple[str, int, bytes]]


class Source:
    """Proposals that come so many seconds apart; it notes when it was left."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self.taken = 0
        self.is_closed = False

    async def proposals(self) -> Proposals:
        """The generator; one task reads it from beginning to end, as a `timeout` in it needs."""
        try:
            async with asyncio.timeout(3_600):
                for height in range(self._count):
                    await asyncio.sleep(self._seconds)
                    self.taken += 1
                    yield TOPIC, height, b"%d" % height
        finally:
            await asyncio.sleep(0)
            self.is_closed = True


async def test_a_decision_is_not_withheld_until_the_next_proposal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each decision is given when it is made, however slowly its source goes on."""
    source = Source(5, 0.7)
    async with PretendCluster(4).client_on_virtual_clock(monkeypatch) as client:
        now = asyncio.get_running_loop().time
        times = [now() async for _ in client.propose_many(source.proposals())]
    assert times == pytest.approx([0.7, 1.4, 2.1, 2.8, 3.5])
    assert source.is_closed
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_is_told_though_the_source_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can end a source of prices by waiting for its end; it is closed, in its own task."""
    pretend = PretendCluster(4)
    for node in pretend.nodes:
        node.proposed = says(grpc.StatusCode.PERMISSION_DENIED, "not your prefix")
    source = Source(1_000, 0.7)
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        with pytest.raises(Refused, match="not your prefix"):
            await anext(client.propose_many(source.proposals()))
        assert source.taken == 1
        assert source.is_closed
        assert len(asyncio.all_tasks()) == 1


async def test_decisions_are_given_before_the_failure_beside_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was decided while others failed is not lost; of failures the first is told."""
    pretend = PretendCluster(4)

    async def some(node: PretendNode, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
        await asyncio.sleep(1.0 if value == b"3" else 0.01)
        if int(value) in (1, 3):
            raise Say(grpc.StatusCode.INVALID_ARGUMENT, f"no {int(value)}")
        return await decides(node, instance, value)

    for node in pretend.nodes:
        node.proposed = some
    decided = []
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        proposing = client.propose_many((TOPIC, height, b"%d" % height) for height in range(6))
        for _ in range(4):
            decided.append((await anext(proposing)).value)
            await asyncio.sleep(10.0)  # meanwhile all others end
        with pytest.raises(Refused, match="no 1"):
            await anext(proposing)
    assert sorted(decided) == [b"0", b"2", b"4", b"5"]
    assert not caplog.records


async def test_no_more_than_so_many_are_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is quick is read no faster than its decisions are taken."""
    source = Source(20, 0.0)
    async with PretendCluster(4).client_on_virtual_clock(monkeypatch) as client:
        taken = 0
        async for _ in client.propose_many(source.proposals(), in_flight=3):
            taken += 1
            await asyncio.sleep(1.0)
            assert source.taken <= taken + 3
    assert taken == 20


async def test_the_source_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is the caller's own, and reaches the caller after what was decided."""

    async def source() -> Proposals:
        yield TOPIC, 0, b"0"
        await asyncio.sleep(1.0)
        raise ZeroDivisionError

    async with PretendCluster(4).client_on_virtual_clock(monkeypatch) as client:
        proposing = client.propose_many(source())
        assert (await anext(proposing)).value == b"0"
        with pytest.raises(ZeroDivisionError):
            await anext(proposing)


async def test_at_least_one_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for none nothing would ever happen: a mistake of the caller."""
    async with PretendCluster(1).client_on_virtual_clock(monkeypatch) as client:
        with pytest.raises(ValueError, match="in_flight = 0"):
            await anext(client.propose_many([(TOPIC, 0, b"x")], in_flight=0))
