"""A copy of a node's folder that runs beside it: two processes with one vote key (K27, W8)."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from e2e.crash_cluster import (
    FAST,
    SECONDS,
    TOPIC,
    decided_everywhere,
    has_decided,
    stop_and_audit,
    votes_so_far,
)
from e2e.service_clients import proposal, stub_of
from half_open import Proxy

from qbft.cluster import Cluster
from qbft.replica.lost_votes import (
    STOP_ALL_BUT_ONE,
    TWO_OF_ONE_KEY,
    VOTES_AGAIN,
    WITHOUT_VOTES,
)
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.local import LocalCluster, claim_ports

pytestmark = pytest.mark.e2e

NODE = 1
PEERS = (0, 2, 3)


def elsewhere(cluster: Cluster, **addresses: str) -> Cluster:
    """The cluster as those see it who look for the node at other addresses."""
    validators = list(cluster.validators)
    validators[NODE] = validators[NODE].model_copy(update=addresses)
    return cluster.model_copy(update={"validators": tuple(validators)})


@asynccontextmanager
async def copy_beside(cluster: LocalCluster, directory: Path) -> AsyncIterator[LocalCluster]:
    """The running node once more, as of now, on ports of its own: as a cloned machine would be."""
    cluster.signal(NODE, signal.SIGSTOP)
    shutil.copytree(
        cluster.directory / f"node-{NODE}",
        directory / f"node-{NODE}",
        ignore=shutil.ignore_patterns("node.log"),
    )
    shutil.copy(cluster.cluster_file, directory)
    cluster.signal(NODE, signal.SIGCONT)
    with ExitStack() as claims:
        first = claim_ports(1, claims)
        peer, client, admin = (f"127.0.0.1:{first + i}" for i in range(3))
        listen = {
            "QBFT_LISTEN__PEER": peer,
            "QBFT_LISTEN__CLIENT": client,
            "QBFT_LISTEN__ADMIN": admin,
        }
        async with LocalCluster(directory, {**FAST, **listen}) as copy:
            copy.cluster = elsewhere(copy.cluster, peer=peer, client=client)
            await copy.start(NODE)
            yield copy


class Heights:
    """Proposals at a node that is not the one in question, for one height after the other."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._next = count()
        self.last = -1

    async def decide(self) -> None:
        """Decide the next height."""
        self.last = next(self._next)
        async with stub_of(self._cluster, PEERS[0]) as stub:
            request = proposal(TOPIC, self.last, b"%d" % self.last)
            reply = await stub.Propose(request, timeout=SECONDS, wait_for_ready=True)
        assert reply.decision.value == b"%d" % self.last

    async def decide_until_said(self, cluster: LocalCluster, what: str) -> None:
        """Go on until the node, or its copy, has told its operator so."""
        async with asyncio.timeout(SECONDS):
            while what not in cluster.log(NODE).read_text():
                await self.decide()

    async def are_all_known_to(self, cluster: LocalCluster) -> None:
        """Wait until the node, or its copy, has nothing open any more."""
        async with asyncio.timeout(SECONDS):
            for height in range(self.last + 1):
                while await has_decided(cluster, NODE, height) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def status(cluster: LocalCluster) -> pb.GetStatusReply:
    """What the node, or its copy, says of itself."""
    async with stub_of(cluster, NODE) as stub:
        ask = partial(stub.GetStatus, pb.GetStatusRequest(), wait_for_ready=True)
        return await ask(timeout=SECONDS)


async def is_voting(cluster: LocalCluster) -> bool:
    """Whether it votes."""
    return (await status(cluster)).voting


@asynccontextmanager
async def standing_still(cluster: LocalCluster, other: LocalCluster) -> AsyncIterator[None]:
    """One of the two stands still, and the other has been told by each peer how far that one was.

    So that what it is told later was said later.
    """
    cluster.signal(NODE, signal.SIGSTOP)
    async with asyncio.timeout(SECONDS):
        while not all(peer.connected for peer in (await status(other)).peers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    yield
    cluster.signal(NODE, signal.SIGCONT)


async def test_a_copy_of_a_node_that_runs_beside_it(tmp_path: Path) -> None:
    """SCENARIOS K27, W8: on two machines no lock can help; the peers tell each what the other said.

    First the peers reach the node, then its copy, then the node again, while both go on dialling
    them. Whoever hears of a vote that it has not cast stops and asks what else there may be; the
    copy, that hears of one again after it had asked, stops for good, also when it is started once
    more. All say so, the one that is left is a full member, and nothing is decided twice.
    """
    async with LocalCluster.create(tmp_path / "cluster", environment=FAST) as cluster:
        here = cluster.cluster.validators[NODE].peer
        wire = Proxy(here)
        async with wire.listening() as address:
            for peer in PEERS:
                cluster.see(peer, elsewhere(cluster.cluster, peer=address))
            await cluster.start()
            await cluster.wait_until_ready()
            heights = Heights(cluster)
            while not all(votes_so_far(cluster, node) for node in (NODE, *PEERS)):
                await heights.decide()
            await heights.are_all_known_to(cluster)
            async with copy_beside(cluster, tmp_path / "elsewhere") as copy:
                there = copy.cluster.validators[NODE].peer
                assert await is_voting(copy), "as long as nobody has said what it does not know of"

                await heights.decide_until_said(copy, WITHOUT_VOTES)
                assert not await is_voting(copy)
                assert await is_voting(cluster)

                await heights.are_all_known_to(cluster)
                async with standing_still(cluster, copy):
                    wire.lead_to(there)
                    await heights.decide_until_said(copy, VOTES_AGAIN)
                await heights.decide_until_said(cluster, WITHOUT_VOTES)
                assert not await is_voting(cluster)

                await heights.are_all_known_to(copy)
                async with standing_still(copy, cluster):
                    wire.lead_to(here)
                    await heights.decide_until_said(cluster, VOTES_AGAIN)
                await heights.decide_until_said(copy, TWO_OF_ONE_KEY)
                assert not await is_voting(copy)
                said = votes_so_far(copy, NODE)

                await cluster.kill(2)
                for _ in range(5):
                    await heights.decide()  # the one that is left is needed now
                await cluster.start(2)
                for height in range(heights.last + 1):
                    assert await decided_everywhere(cluster, height) == {b"%d" % height}
                assert votes_so_far(copy, NODE) == said
                assert not await is_voting(copy)
                assert await has_decided(copy, NODE, 0) == b"0"

                assert await copy.stop(NODE) == 0
                told_so_far = copy.log(NODE).read_text().count(STOP_ALL_BUT_ONE)
                await copy.start(NODE)
                told = await status(copy)
                assert (told.voting, told.why_not_voting) == (False, STOP_ALL_BUT_ONE)
                assert copy.log(NODE).read_text().count(STOP_ALL_BUT_ONE) == told_so_far + 1
                assert votes_so_far(copy, NODE) == said
                assert await copy.stop(NODE) == 0
            await stop_and_audit(cluster, lost={NODE})
