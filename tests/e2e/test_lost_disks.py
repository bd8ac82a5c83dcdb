"""Real nodes whose votes are lost (SCENARIOS K24 to K26; HARDENING W7)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import grpc
import pytest
from e2e.crash_cluster import (
    SECONDS,
    TOPIC,
    all_have_voted,
    cluster_with_faults,
    data_of,
    decided_everywhere,
    decides,
    has_decided,
    has_open,
    heights_led_by,
    is_voting,
    replace,
    stop_and_audit,
    votes,
    votes_again,
    votes_so_far,
)
from e2e.service_clients import proposal, stub_of
from grpc import aio

from qbft.client import Client
from qbft.core import InstanceId, MessageType
from qbft.diagnosis import Cause
from qbft.replica.lost_votes import BEYOND_HELP, VOTES_AGAIN, WITHOUT_VOTES
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.chaos.audit import contradictions, read_accounts
from qbft_server.local import LocalCluster
from qbft_server.store.upkeep import abandon_instances

pytestmark = pytest.mark.e2e

VICTIM = 1


async def decide(cluster: LocalCluster, heights: range) -> None:
    """Decide these heights."""
    async with Client(cluster.cluster) as client:
        for height in heights:
            await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)


async def has_voted_on(cluster: LocalCluster, node: int, first: int) -> int:
    """Decide from this height on until a node has cast several new votes; gives the last height.

    While it is still starting the others decide without it.
    """
    before = len(votes_so_far(cluster, node))
    async with asyncio.timeout(SECONDS):
        for height in count(first):
            await decide(cluster, range(height, height + 1))
            if len(votes_so_far(cluster, node)) >= before + 10:
                return height
    raise AssertionError


async def has_said(cluster: LocalCluster, node: int, what: str) -> None:
    """Wait until a node's log has this line."""
    async with asyncio.timeout(SECONDS):
        while what not in cluster.log(node).read_text():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def lose_data(cluster: LocalCluster, node: int) -> Path:
    """Take away what a node has stored, and keep it where only the test looks."""
    return data_of(cluster, node).rename(data_of(cluster, node).with_name("data.lost"))


def contradicted(cluster: LocalCluster, node: int, lost: Path) -> list[str]:
    """What a node that has stopped has signed against its votes that were lost."""
    lives: list[list[Path]] = [[] for _ in cluster.cluster.validators]
    lives[node] = [lost, data_of(cluster, node)]
    return list(contradictions(read_accounts(lives, cluster.cluster)[node].votes))


async def test_a_lost_disk_is_replaced_and_its_node_comes_back(tmp_path: Path) -> None:
    """K24: it says so, pulls what was decided, votes again; others decide meanwhile."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(20))
        await cluster.kill(VICTIM)
        lost = lose_data(cluster, VICTIM)
        await decide(cluster, range(20, 30))
        replace(cluster, VICTIM)
        await cluster.start(VICTIM)
        await has_said(cluster, VICTIM, WITHOUT_VOTES)
        await votes_again(cluster, VICTIM)
        assert VOTES_AGAIN in cluster.log(VICTIM).read_text()
        assert await has_decided(cluster, VICTIM, 0) == b"0"
        assert await has_decided(cluster, VICTIM, 29) == b"29"
        await cluster.kill(2)
        await decide(cluster, range(30, 40))  # the node that came back is needed now
        await cluster.start(2)
        for height in (3, 35):
            assert await decided_everywhere(cluster, height) == {b"%d" % height}
        await stop_and_audit(cluster, lost={VICTIM})
        assert contradicted(cluster, VICTIM, lost) == []


async def test_an_old_copy_of_the_data_is_found_out(tmp_path: Path) -> None:
    """K26: restored from a backup; the peers prove it, and the node asks before it votes on."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(5))
        await cluster.kill(VICTIM)
        copy = shutil.copytree(data_of(cluster, VICTIM), tmp_path / "backup")
        await cluster.start(VICTIM)
        last = await has_voted_on(cluster, VICTIM, 5)
        await decided_everywhere(cluster, last)
        await cluster.kill(VICTIM)
        lost = lose_data(cluster, VICTIM)
        shutil.copytree(copy, data_of(cluster, VICTIM))
        await cluster.start(VICTIM)
        await has_said(cluster, VICTIM, WITHOUT_VOTES)
        await has_said(cluster, VICTIM, VOTES_AGAIN)
        await cluster.kill(2)
        await decide(cluster, range(last + 1, last + 6))
        await cluster.start(2)
        assert await decided_everywhere(cluster, last) == {b"%d" % last}
        await stop_and_audit(cluster, lost={VICTIM})
        assert contradicted(cluster, VICTIM, lost) == []


@pytest.mark.parametrize("is_restored", [False, True], ids=["K24", "K26"])
async def test_a_vote_that_was_lost_is_not_contradicted(tmp_path: Path, is_restored: bool) -> None:
    """SCENARIOS K24, K26: it led an instance that nobody heard of, and is given another value.

    Two others have that instance open, with the other value, and need it to decide: it keeps out,
    until a fourth is there. Its votes before and after are held against each other. That there was
    more than the backup holds they know by a certificate, which has a later vote of it.
    """
    patient = {"QBFT_TIMER__FIRST_ROUND_MS": "10000"}  # it would lead the same round again
    async with cluster_with_faults(tmp_path, {}, patient) as cluster:
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
        await cluster.kill(VICTIM)
        copy = shutil.copytree(data_of(cluster, VICTIM), tmp_path / "backup")
        await cluster.start(VICTIM)
        await cluster.wait_until_ready(VICTIM)
        await cluster.kill(3)
        await decide_with_all(cluster, (0, VICTIM, 2), next(heights_led_by(cluster, 0)))
        height = next(heights_led_by(cluster, VICTIM))
        await lead_unheard(cluster, height)
        lost = lose_data(cluster, VICTIM)
        if is_restored:
            shutil.copytree(copy, data_of(cluster, VICTIM))
        else:
            replace(cluster, VICTIM)
        await cluster.start(0, 2)
        async with stub_of(cluster, 0) as stub:
            proposing = stub.Propose(
                proposal(TOPIC, height, b"other"), timeout=SECONDS, wait_for_ready=True
            )
            waiting = asyncio.ensure_future(proposing)
            await has_open(cluster, 2, height)
            await cluster.start(VICTIM)
            await has_said(cluster, VICTIM, VOTES_AGAIN)
            refused = await refusal_of(cluster, VICTIM, height, b"other", 5.0)
            await cluster.start(3)
            assert (await waiting).decision.value == b"other"
        assert await decided_everywhere(cluster, height) == {b"other"}
        await stop_and_audit(cluster, lost={VICTIM})
        assert contradicted(cluster, VICTIM, lost) == []
        assert refused is grpc.StatusCode.UNAVAILABLE


async def decide_with_all(cluster: LocalCluster, nodes: Iterable[int], height: int) -> None:
    """Decide with these, of which each has to vote, and wait until each has the certificate."""
    async with Client(cluster.cluster) as client:
        await client.propose(TOPIC, height, b"heard", timeout=SECONDS)
    for node in nodes:
        await decides(cluster, node, height)


async def lead_unheard(cluster: LocalCluster, height: int) -> None:
    """Have the victim lead an instance while all others are down, and go down too."""
    for node in (0, 2):
        await cluster.kill(node)
    async with stub_of(cluster, VICTIM) as stub, asyncio.timeout(SECONDS):
        proposing = stub.Propose(proposal(TOPIC, height, b"first"), timeout=SECONDS)
        waiting = asyncio.ensure_future(proposing)
        while not votes(  # noqa: ASYNC110 - another process
            votes_so_far(cluster, VICTIM), height, MessageType.PREPARE
        ):
            await asyncio.sleep(0.05)
        await cluster.kill(VICTIM)
        with pytest.raises(aio.AioRpcError):
            await waiting


async def test_more_lost_disks_than_may_be_faulty_raise_an_alarm(tmp_path: Path) -> None:
    """K25: two of four; neither votes, both say why, and all go on answering reads."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        await decide(cluster, range(5))
        await decided_everywhere(cluster, 4)
        for node in (1, 2):
            await cluster.kill(node)
            replace(cluster, node)
        for node in (1, 2):
            await cluster.start(node)
        for node in (1, 2):
            await has_said(cluster, node, BEYOND_HELP)
            assert not await is_voting(cluster, node)
        assert await decided_everywhere(cluster, 3) == {b"3"}


async def kept_out(cluster: LocalCluster) -> list[int]:
    """In how many undecided instances each node says that it never votes."""
    counts = []
    for node in range(4):
        async with stub_of(cluster, node) as stub:
            reply = await stub.GetStatus(
                pb.GetStatusRequest(), timeout=SECONDS, wait_for_ready=True
            )
        counts.append(reply.kept_out)
    return counts


async def refusal_of(
    cluster: LocalCluster, node: int, height: int, value: bytes = b"v", seconds: float = SECONDS
) -> grpc.StatusCode:
    """How a node refuses a proposal; OK where it does not."""
    async with stub_of(cluster, node) as stub:
        try:
            await stub.Propose(proposal(TOPIC, height, value), timeout=seconds, wait_for_ready=True)
        except aio.AioRpcError as refused:
            return refused.code()
    return grpc.StatusCode.OK


async def doctor(cluster: LocalCluster, node: int) -> str:
    """What `qbft doctor` sees of a node's undecided instances."""
    file = cluster.directory / f"node-{node}" / "node.toml"
    command = [sys.executable, "-m", "qbft_server.cli", "doctor", str(file), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    findings = {found["what"]: found for found in map(json.loads, done.stdout.splitlines())}
    return str(findings["undecided"]["seen"])


async def test_disks_that_are_lost_one_after_the_other_leave_an_instance_undecided(
    tmp_path: Path,
) -> None:
    """Issue 4, found in a review: f+1 nodes keep out of what was open during both replacements.

    Each of them votes again, elsewhere. That the instance is never decided is what safety asks for;
    it is to be seen before the second is replaced, and afterwards: in the status, by `qbft doctor`
    and `qbft why`. A client waits in vain at the others, and is turned away by these two. Once it
    is abandoned at each node it is over, and says so.
    """
    patient = {"QBFT_TIMER__FIRST_ROUND_MS": "60000"}
    async with cluster_with_faults(tmp_path, {}, patient) as cluster:
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
        height = next(heights_led_by(cluster, 1))
        stuck = InstanceId(TOPIC, height)
        await cluster.kill(1)
        async with stub_of(cluster, 0) as stub:
            proposing = stub.Propose(proposal(TOPIC, height, b"v"), timeout=SECONDS)
            waiting = asyncio.ensure_future(proposing)
            await has_open(cluster, 2, height)
            for node, alike in ((1, [0, 1, 0, 0]), (2, [0, 1, 1, 0])):
                if node == 2:
                    await cluster.kill(node)
                shutil.rmtree(data_of(cluster, node))
                replace(cluster, node)
                await cluster.start(node)
                await votes_again(cluster, node)
                assert await kept_out(cluster) == alike
            assert await doctor(cluster, 1) == "it keeps out of 1 undecided"
            assert await doctor(cluster, 3) == "it keeps out of no undecided instance"
            async with Client(cluster.cluster) as client:
                found = (await client.diagnose(stuck)).findings[0]
                assert (found.cause, found.nodes) == (Cause.KEPT_OUT, (1, 2))
            assert not waiting.done()
            waiting.cancel()
        assert await refusal_of(cluster, 1, height) is grpc.StatusCode.UNAVAILABLE
        assert (
            await refusal_of(cluster, 3, height, seconds=1.0) is grpc.StatusCode.DEADLINE_EXCEEDED
        )
        cluster_id = cluster.cluster.roster.cluster_id
        for node in range(4):
            await cluster.stop(node)
            await abandon_instances(data_of(cluster, node), cluster_id, node, [stuck])
            await cluster.start(node)
        assert await kept_out(cluster) == [0, 0, 0, 0]
        assert await refusal_of(cluster, 0, height) is grpc.StatusCode.OUT_OF_RANGE
        async with Client(cluster.cluster) as client:
            assert (await client.propose(TOPIC, height + 1, b"w", timeout=SECONDS)).value == b"w"
