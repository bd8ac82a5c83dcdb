"""Real nodes killed and started again and again (SCENARIOS, group K).

Afterwards every journal is read and held against the oracle: no vote was ever contradicted, in any
life.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count, cycle, islice
from pathlib import Path
from random import Random

import pytest
from e2e.crash_cluster import (
    FAST,
    SECONDS,
    TOPIC,
    all_have_voted,
    cluster_with_faults,
    decided_everywhere,
    decides,
    has_decided,
    has_open,
    heights_led_by,
    kill_at,
    reach_round,
    reaches,
    stop_and_audit,
    votes,
    votes_so_far,
)
from e2e.open_votes import write_open_votes
from e2e.service_clients import stub_of
from grpc import aio

from qbft.client import Client
from qbft.core import InstanceId, MessageType
from qbft.crypto.roster import service_leader
from qbft.errors import QbftError
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.local import LocalCluster
from qbft_server.store.faults import KINDS, LABELS

pytestmark = pytest.mark.e2e

LIVES = 10
HEIGHTS_AT_ONCE = 8
EMPTY_START_SECONDS = 0.7


def linear(step_ms: int) -> dict[str, str]:
    """The environment of a node whose round r lasts r times so long."""
    return {"QBFT_TIMER__KIND": "linear", "QBFT_TIMER__FIRST_ROUND_MS": str(step_ms)}


async def test_twenty_rolling_restarts_end_in_one_decision(tmp_path: Path) -> None:
    """SCENARIOS K17: the nodes take turns to be killed, 20 times, never a quorum of them up.

    Each life takes up the instance before the next node goes. When it stops, all decide the value,
    in rounds that grow fast enough for a machine that is busy with other tests.
    """
    async with cluster_with_faults(tmp_path, {}, linear(100)) as cluster:
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
        for node in (2, 3):
            await cluster.kill(node)
        height = next(heights_led_by(cluster, 1))
        async with Client(cluster.cluster) as client:
            deciding = asyncio.create_task(client.propose(TOPIC, height, b"v", timeout=SECONDS))
            await reach_round(cluster, 0, height, 2)
            await reach_round(cluster, 1, height, 2)
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)
        rolling = zip(cycle(range(4)), cycle((2, 3, 0, 1)), strict=False)
        for (goes, comes), _ in zip(rolling, range(20), strict=False):
            await cluster.kill(goes)
            await cluster.start(comes, environment=linear(100))
            await has_open(cluster, comes, height)
        for node in set(range(4)) - set(cluster.running):
            await cluster.start(node, environment=linear(100))
        assert await decided_everywhere(cluster, height) == {b"v"}
        audited = await stop_and_audit(cluster)
    assert all(any(vote.instance.topic == TOPIC for vote in votes) for votes in audited.values())


async def test_a_restarted_node_joins_its_peers_at_their_round(tmp_path: Path) -> None:
    """SCENARIOS K18: killed in round 1, back when its peers are in a later one: it joins them.

    By their ROUND-CHANGEs, of which F+1 are enough, for its own timer would take a minute. With two
    of four in a round nobody goes further: a round begins when a quorum is in it.
    """
    patient = linear(60_000)
    async with cluster_with_faults(tmp_path, {}, linear(2_000)) as cluster:
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
        await cluster.kill(2)
        await cluster.start(2, environment={**kill_at("after_fsync", "PREPARE"), **patient})
        await reaches(cluster, 0, 2)
        for node in (1, 3):
            await cluster.kill(node)
        height = next(heights_led_by(cluster, 0))
        async with Client(cluster.cluster) as client:
            deciding = asyncio.create_task(client.propose(TOPIC, height, b"v", timeout=SECONDS))
            async with asyncio.timeout(SECONDS):
                await cluster.wait(2)
            before = votes_so_far(cluster, 2)
            await cluster.start(1, environment=linear(2_000))
            await reach_round(cluster, 0, height, 2)
            await reach_round(cluster, 1, height, 2)
            await cluster.start(2, environment=patient)
            assert (await deciding).value == b"v"
            await cluster.start(3)
        assert await decided_everywhere(cluster, height) == {b"v"}
        after = (await stop_and_audit(cluster))[2][len(before) :]
    assert {vote.round for vote in before if vote.instance.topic == TOPIC} == {1}
    assert after[0].type is MessageType.ROUND_CHANGE
    assert after[0].round >= 2


async def test_a_restarted_node_pulls_the_decision_before_its_first_timeout(tmp_path: Path) -> None:
    """SCENARIOS K19: it was killed with its PREPARE on disk; meanwhile the others have decided.

    That it votes at all is sure because node 2 is away until then, so that it is needed.
    """
    patient = {"QBFT_TIMER__FIRST_ROUND_MS": "60000"}
    async with cluster_with_faults(tmp_path, {}, patient) as cluster:
        height = next(heights_led_by(cluster, 0))
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
            await cluster.kill(3)
            await cluster.start(3, environment=kill_at("after_fsync", "PREPARE"))
            await cluster.wait_until_ready(3)
            await cluster.kill(2)
            deciding = asyncio.create_task(client.propose(TOPIC, height, b"v", timeout=SECONDS))
            async with asyncio.timeout(SECONDS):
                await cluster.wait(3)
            await cluster.start(2)
            assert (await deciding).value == b"v"
        await cluster.start(3)
        async with asyncio.timeout(55):
            assert await decides(cluster, 3, height) == b"v"
        assert await decided_everywhere(cluster, height) == {b"v"}
        audited = await stop_and_audit(cluster)
    assert votes(audited[3], height, MessageType.PREPARE)
    assert not votes(audited[3], height, MessageType.ROUND_CHANGE)


async def test_a_node_that_restarts_for_ever_is_served_for_ever(tmp_path: Path) -> None:
    """SCENARIOS K20, D3: the 17th restart is given what it missed, as the first one was."""
    async with cluster_with_faults(tmp_path, {}) as cluster, Client(cluster.cluster) as client:
        for height in range(17):
            await cluster.kill(3)
            await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
            await cluster.start(3)
            await cluster.wait_until_ready(3)
            assert await decides(cluster, 3, height) == b"%d" % height
        await stop_and_audit(cluster)


async def test_ten_thousand_open_votes_take_three_seconds_of_a_processor(tmp_path: Path) -> None:
    """Issue 4: at most that from the start of the process to its first answer, all resumed.

    Not of the clock: what that says depends on what else the machine does. A machine that does
    nothing else gives a second of its processor in a second; both are told, for `pytest -s`, and
    docs/RELIABILITY.md has them. A second of a processor does less where others share it: the start
    of a node that resumes nothing, at the same moment, says how much.
    """
    async with LocalCluster.create(tmp_path / "cluster", environment=FAST) as cluster:
        leader = service_leader(cluster.cluster.roster)
        not_led = (h for h in count() if leader(InstanceId(TOPIC, h), 1) != 0)
        heights = list(islice(not_led, 5_000))
        written = await write_open_votes(cluster.directory, cluster.cluster, 0, TOPIC, heights)
        assert written == 10_000
        begun = time.monotonic()
        await cluster.start(0, 1)
        clock, _ = await asyncio.gather(_answers(cluster, 0), _answers(cluster, 1))
        seconds, empty = (_processor_seconds(cluster.pid(node)) for node in (0, 1))
        print(f"served after {clock - begun:.2f} s, {seconds:.2f} s of a processor", end="; ")
        print(f"{empty:.2f} s of it by a node that resumes nothing, beside it")
        async with stub_of(cluster, 0) as stub:
            status = await stub.GetStatus(pb.GetStatusRequest(), timeout=SECONDS)
        assert status.open_instances == 5_000
        assert seconds < 3.0 * max(1.0, empty / EMPTY_START_SECONDS)


def _processor_seconds(pid: int) -> float:
    """What a process has taken so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _answers(cluster: LocalCluster, node: int) -> float:
    """Wait until a node answers reads, trying often: a channel waits longer and longer.

    Gives when it did, by the clock.
    """
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await has_decided(cluster, node, 0, wait_for_ready=False)
            except aio.AioRpcError:
                await asyncio.sleep(0.02)
            else:
                return time.monotonic()


async def test_all_killed_again_and_again_lose_no_acknowledged_decision(tmp_path: Path) -> None:
    """SCENARIOS K13 to K17 at random, seeded: all four are killed at once, in the middle, 10 times.

    In some lives a node dies by itself first, at a random point. In every life clients propose
    other values for the heights that are not acknowledged. Whatever a client was told is decided
    everywhere at the end, and no node has contradicted itself or another in any of its lives.
    """
    random = Random(15)
    acknowledged: dict[int, bytes] = {}
    async with cluster_with_faults(tmp_path, {}) as cluster:
        for life in range(LIVES):
            await _live(cluster, life, random, acknowledged)
            await asyncio.gather(*(cluster.kill(node) for node in cluster.running))
            await cluster.start(*range(4), environment=_random_fault(random))
        await asyncio.gather(*(cluster.kill(node) for node in cluster.running))
        await cluster.start()
        await cluster.wait_until_ready()
        top = max(acknowledged, default=0) + HEIGHTS_AT_ONCE
        async with Client(cluster.cluster) as client:
            for height in range(top):
                decision = await client.propose(TOPIC, height, b"late", timeout=SECONDS)
                assert decision.value == acknowledged.setdefault(height, decision.value), height
        for height in range(top):
            assert await decided_everywhere(cluster, height) == {acknowledged[height]}
        await stop_and_audit(cluster)
    assert len(acknowledged) > LIVES


def _random_fault(random: Random) -> dict[str, str]:
    """In half of the lives, a point of the journal or the sender at which each node dies."""
    if random.random() < 0.5:
        return {}
    return kill_at(random.choice(LABELS), random.choice(KINDS), random.randint(1, 4))


async def _live(
    cluster: LocalCluster, life: int, random: Random, acknowledged: dict[int, bytes]
) -> None:
    """One life: several heights at once are proposed until the nodes are to be killed."""
    heights = iter(range(1_000_000))
    delay = random.uniform(0.3, 1.5)

    async def propose(client: Client) -> None:
        while True:
            height = next(h for h in heights if h not in acknowledged)
            value = b"%d in life %d" % (height, life)
            try:
                decision = await client.propose(TOPIC, height, value, timeout=delay)
            except QbftError:
                continue
            known = acknowledged.setdefault(height, decision.value)
            assert known == decision.value, f"{height}: a decision has changed"

    async with Client(cluster.cluster) as client:
        tasks = [asyncio.create_task(propose(client)) for _ in range(HEIGHTS_AT_ONCE)]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError):
            assert isinstance(result, BaseException)
            raise result
