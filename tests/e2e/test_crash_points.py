"""Real nodes killed at labelled points, and what they say afterwards (SCENARIOS, group K).

Each test starts four processes with mutual TLS and fsync on; some of them kill themselves, as
`kill -9` does, at a labelled point of the journal or the sender. Afterwards every journal is read
and held against the oracle: no vote was ever contradicted, in any life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from e2e.crash_cluster import (
    SECONDS,
    TOPIC,
    all_have_voted,
    cluster_with_faults,
    decided_everywhere,
    decides,
    decisions_so_far,
    has_decided,
    heights_led_by,
    kill_at,
    stop_and_audit,
    votes,
    votes_so_far,
)
from e2e.journal_audit import audit, copies
from e2e.service_clients import proposal, stub_of
from grpc import aio

from qbft.client import Client
from qbft.core import InstanceId, MessageType
from qbft.decision import Decision
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("kind", ["PREPARE", "COMMIT", "ROUND_CHANGE", "PRE_PREPARE"])
async def test_a_node_killed_around_a_vote_never_contradicts_it(tmp_path: Path, kind: str) -> None:
    """SCENARIOS K1 to K12: killed before the append, after the fsync, after one peer has the vote.

    After the append the vote is there, before it it is not. Restarted it takes up where its journal
    ends: with another node down the others cannot decide without it, and what it sends them is its
    journal's, signature and all. As a leader it is given another input, and its PRE-PREPARE stays.
    For a ROUND-CHANGE the leader is down; then the others decide without it.
    """
    victim = 1
    leader = victim if kind == "PRE_PREPARE" else 0
    async with cluster_with_faults(tmp_path, {}) as cluster:
        heights = heights_led_by(cluster, leader)
        proposed: list[tuple[int, asyncio.Task[Decision]]] = []
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
            if kind != "ROUND_CHANGE":
                await cluster.kill(3)
            for label in ("before_append", "after_fsync", "after_first_send"):
                await cluster.kill(victim)
                before = votes_so_far(cluster, victim)
                await cluster.start(victim, environment=kill_at(label, kind))
                await cluster.wait_until_ready(victim)
                if kind == "ROUND_CHANGE":
                    await cluster.kill(leader)
                proposed += await propose_until_it_dies(cluster, client, victim, heights)
                fresh = votes_so_far(cluster, victim)[len(before) :]
                durable = any(vote.type is MessageType[kind] for vote in fresh)
                assert durable == (label != "before_append")
                if kind == "ROUND_CHANGE":
                    await cluster.start(leader)
                await cluster.start(victim)
                if kind == "PRE_PREPARE":
                    await propose_another(cluster, victim, proposed[-1][0])
                await asyncio.gather(*(decided for _, decided in proposed))
        if kind != "ROUND_CHANGE":
            await cluster.start(3)
        for height, decided in proposed:
            assert await decided_everywhere(cluster, height) == {decided.result().value}
        await stop_and_audit(cluster)
        seen = {vote.instance for vote, _ in copies(cluster.directory, cluster.cluster, victim)}
        assert seen & {InstanceId(TOPIC, height) for height, _ in proposed}


async def propose_another(cluster: LocalCluster, node: int, height: int) -> None:
    """Give a node another input than it had; it may refuse that, or say what was decided."""
    refused = await refusal(cluster, node, height, b"another")
    assert refused in (None, grpc.StatusCode.ALREADY_EXISTS)


async def propose_until_it_dies(
    cluster: LocalCluster, client: Client, victim: int, heights: Iterator[int]
) -> list[tuple[int, asyncio.Task[Decision]]]:
    """Propose one height after the other: a node that hears the decision first need not vote."""
    proposed = []
    dying = asyncio.create_task(cluster.wait(victim))
    async with asyncio.timeout(SECONDS):
        while not dying.done():
            height = next(heights)
            deciding = client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
            proposed.append((height, asyncio.create_task(deciding)))
            await asyncio.wait((dying,), timeout=2.0)
    return proposed


@pytest.mark.parametrize("label", ["before_append", "after_fsync"], ids=["K13", "K14"])
async def test_a_node_killed_at_its_decision_decides_the_same_again(
    tmp_path: Path, label: str
) -> None:
    """SCENARIOS K13, K14: killed before the decision is durable, and before its client hears it.

    Its journal is without the decision, or has it; the client was told nothing either way. The node
    that has it answers from its own disk alone. Given another value both say what was decided.
    """
    async with cluster_with_faults(tmp_path, {0: kill_at(label, "DECISION")}) as cluster:
        height = next(heights_led_by(cluster, 0))
        assert await refusal(cluster, 0, height, b"once") is grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(SECONDS):
            await cluster.wait(0)
        is_durable = label == "after_fsync"
        assert decisions_so_far(cluster, 0, height) == [b"once"] * is_durable
        if is_durable:
            await asyncio.gather(*(cluster.kill(node) for node in (1, 2, 3)))
        await cluster.start(0)
        if is_durable:
            assert await has_decided(cluster, 0, height) == b"once"
            assert await decision_at(cluster, 0, height, b"once") == b"once"
            await cluster.start(1, 2, 3)
        else:
            await propose_another(cluster, 0, height)
            assert await decides(cluster, 0, height) == b"once"
            assert decisions_so_far(cluster, 0, height) == [b"once"]
        assert await decision_at(cluster, 0, height, b"other") == b"once"
        assert await decided_everywhere(cluster, height) == {b"once"}
        await stop_and_audit(cluster)


async def decision_at(cluster: LocalCluster, node: int, height: int, value: bytes) -> bytes:
    """Propose at one node alone; gives what was decided."""
    async with stub_of(cluster, node) as stub:
        reply = await stub.Propose(
            proposal(TOPIC, height, value), timeout=SECONDS, wait_for_ready=True
        )
    return bytes(reply.decision.value)


async def refusal(
    cluster: LocalCluster, node: int, height: int, value: bytes
) -> grpc.StatusCode | None:
    """Propose at one node alone; gives how that failed, None if it did not."""
    try:
        await decision_at(cluster, node, height, value)
    except aio.AioRpcError as refused:
        return refused.code()
    return None


@pytest.mark.parametrize(
    ("faults", "commits_min"),
    [
        ({n: kill_at("after_fsync", "COMMIT") for n in (0, 1)}, 2),
        ({n: kill_at("before_append", "DECISION") for n in range(4)}, 3),
    ],
    ids=["K15", "K16"],
)
async def test_all_killed_after_commits_decide_only_that_value(
    tmp_path: Path, faults: dict[int, dict[str, str]], commits_min: int
) -> None:
    """SCENARIOS K15, K16: all four are killed when so many COMMITs are durable, none decided.

    A client then proposes another value: what was committed is decided all the same.
    """
    async with cluster_with_faults(tmp_path, faults) as cluster:
        height = next(heights_led_by(cluster, 0))
        async with Client(cluster.cluster) as client:
            deciding = asyncio.create_task(
                client.propose(TOPIC, height, b"committed", timeout=SECONDS)
            )
            async with asyncio.timeout(SECONDS):
                for node in (0, 1):
                    await cluster.wait(node)
            for node in cluster.running:
                await cluster.kill(node)
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)
        committed = [
            node
            for node, audited in audit(cluster.directory, cluster.cluster).items()
            if votes(audited, height, MessageType.COMMIT)
        ]
        assert len(committed) >= commits_min
        await cluster.start()
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client:
            decision = await client.propose(TOPIC, height, b"another", timeout=SECONDS)
        assert decision.value == b"committed"
        assert await decided_everywhere(cluster, height) == {b"committed"}
        await stop_and_audit(cluster)


async def test_a_torn_record_is_cut_off_and_nothing_is_signed_twice(tmp_path: Path) -> None:
    """SCENARIOS K21: half a record at the end of the journal, as a power cut leaves it."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        async with Client(cluster.cluster) as client:
            await client.propose(TOPIC, 1, b"before", timeout=SECONDS)
            await cluster.kill(2)
            segments = cluster.directory / "node-2" / "data" / "journal"
            last = max(segments.glob("*.segment"))
            whole = last.read_bytes()
            last.write_bytes(whole + whole[-100:-60])
            await cluster.start(2)
            await cluster.wait_until_ready(2)
            await client.propose(TOPIC, 2, b"after", timeout=SECONDS)
        assert await decided_everywhere(cluster, 2) == {b"after"}
        await stop_and_audit(cluster)
