"""When a client asks one more node, on the virtual clock, against pretended nodes."""

from __future__ import annotations

import grpc
import pytest
from client_parts import INSTANCE
from pretend_cluster import TOPIC, PretendCluster, Tell, at_first, is_silent, says, takes

from qbft.client import Client
from qbft.client.hedging import PATIENCE_SECONDS_MAX, RECENT_ANSWERS
from qbft.wire.v1 import decision_pb2 as pb

TIMES = RECENT_ANSWERS


def _all(pretend: PretendCluster, tell: Tell) -> None:
    """Let each node answer so, proposals and reads, and forget what was asked."""
    for node in pretend.nodes:
        node.proposed = node.read = tell
        node.times.clear()


def _waited(pretend: PretendCluster) -> float:
    """Seconds from the first asking of the leader to that of the next node."""
    first, second, *_ = pretend.order(INSTANCE)
    return second.times[0] - first.times[0]


async def _seconds_until_hedged(pretend: PretendCluster, client: Client) -> float:
    """How long a silent leader is waited for, in proposals and reads the longer."""
    waited = []
    for call in (client.propose(TOPIC, 17, b"value"), client.get(TOPIC, 17)):
        _all(pretend, takes(0.1))
        leader = pretend.order(INSTANCE)[0]
        leader.proposed = leader.read = is_silent
        assert (await call).value == b"value"
        waited.append(_waited(pretend))
    return max(waited)


async def test_after_a_bad_hour_a_silent_leader_is_still_hedged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quorum that was away for 25 s: each proposal took so long, whoever was asked.

    Twice that is more than the default timeout; a silent leader must not cost the call.
    """
    pretend = PretendCluster(4)
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        _all(pretend, takes(25.0))
        for _ in range(TIMES):
            await client.propose(TOPIC, 17, b"x")
        waited = await _seconds_until_hedged(pretend, client)
        assert waited == pytest.approx(PATIENCE_SECONDS_MAX)


async def test_f_silent_nodes_are_passed_within_any_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """f+1 are asked before the deadline, however short it is, so a correct one is."""
    pretend = PretendCluster(7)
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        first, second, *_ = pretend.order(INSTANCE)
        first.proposed = second.proposed = is_silent
        assert (await client.propose(TOPIC, 17, b"x", timeout=0.4)).value == b"x"
        assert _waited(pretend) == pytest.approx(0.1)


async def test_waits_of_retries_are_not_what_answers_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that is full for 2 s and then answers at once teaches no patience."""
    pretend = PretendCluster(4)
    away = says(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", grpc_retry_pushback_ms="2000")
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        for _ in range(TIMES):
            for node in pretend.nodes:
                node.proposed = at_first([away])
            await client.propose(TOPIC, 17, b"x")
        assert await _seconds_until_hedged(pretend, client) == pytest.approx(0.5)


async def test_only_unrestricted_askings_teach_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was asked by its number may be slow for good; a page takes longer than a read."""
    pretend = PretendCluster(4)
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        _all(pretend, takes(2.0))
        for _ in range(TIMES):
            await client.get(TOPIC, 17, node=2)
            for node in pretend.nodes:
                node.pages = [pb.ListDecisionsReply()]
            assert [d async for d in client.list_decisions(TOPIC)] == []
        assert await _seconds_until_hedged(pretend, client) == pytest.approx(0.5)
        _all(pretend, takes(2.0))
        for _ in range(TIMES):
            await client.get(TOPIC, 17)
        assert await _seconds_until_hedged(pretend, client) == pytest.approx(4.0)


async def test_without_patience_all_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hedge_ms=0` means so for ever, however long answers take."""
    pretend = PretendCluster(4)
    async with pretend.client_on_virtual_clock(monkeypatch, hedge_ms=0) as client:
        for _ in range(TIMES):
            _all(pretend, takes(2.0))
            await client.propose(TOPIC, 17, b"x")
            assert len({time for node in pretend.nodes for time in node.times}) == 1


def test_negative_patience_is_refused() -> None:
    """A mistake of the caller is an error of the caller."""
    with pytest.raises(ValueError, match="hedge_ms = -1"):
        PretendCluster(1).client(hedge_ms=-1)
