"""A node replaced under load, by real processes of both epochs (issue 6, epochs)."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import QUIET, SECONDS, proposal, stub_of
from grpc import aio

from qbft.client import Client, NoDecision, Refused
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.keys import VoteKey
from qbft.decision import Decision
from qbft.errors import CertificateError
from qbft.verify import verify
from qbft.wire import encode_decision
from qbft_server.identity import write_vote_key
from qbft_server.initialise import CLUSTER_FILE, PORTS_PER_NODE
from qbft_server.joining import VALIDATOR_FILE, join, make_candidate
from qbft_server.local import LocalCluster, claim_ports

pytestmark = pytest.mark.e2e

TOPICS = ("prices/btc", "prices/eth")
MARGIN = 10
BEYOND = 5
"""Heights of each topic that the new epoch has to decide before the load ends."""

LOST = 3


class Load:
    """Clients that have one height after the other decided, by whichever epoch decides it."""

    def __init__(self, old: Client) -> None:
        self.decided: dict[InstanceId, Decision] = {}
        self.new: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self.went_over: dict[str, int] = {}
        """By topic, the first height that the old epoch would not decide."""
        self._old = old

    async def has_begun(self) -> None:
        """Wait until something of each topic is decided."""
        async with asyncio.timeout(SECONDS):
            while len({instance.topic for instance in self.decided}) < len(TOPICS):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def run(self, topic: str) -> None:
        """Go on with a topic until the new epoch has decided some of it."""
        height, client = 0, self._old
        while height < self.went_over.get(topic, height + 1) + BEYOND:
            try:
                decision = await client.propose(topic, height, f"{height}".encode())
            except Refused as refused:
                if client is not self._old or refused.code != "FAILED_PRECONDITION":
                    raise
                self.went_over[topic], client = height, await self.new
                continue
            self.decided[InstanceId(topic, height)] = decision
            height += 1


@contextlib.asynccontextmanager
async def old_cluster(directory: Path) -> AsyncIterator[LocalCluster]:
    """Four nodes whose cluster file names an operator, with the key beside it."""
    async with LocalCluster.create(directory / "old", environment=QUIET) as cluster:
        operator = VoteKey.generate()
        write_vote_key(directory / "operator.key", operator)
        named = cluster.cluster.model_copy(update={"operators": (operator.public.hex(),)})
        cluster.cluster_file.write_text(named.dump())
        cluster.cluster = Cluster.load(cluster.cluster_file)
        await cluster.start()
        await cluster.wait_until_ready()
        yield cluster


async def reconfigure(directory: Path, first_port: int) -> None:
    """Do what docs/OPERATIONS.md asks of the operator, for a new validator in the place of one."""
    new = directory / "new"
    for index in range(4):
        keys = None if index == LOST else directory / "old" / f"node-{index}"
        port = first_port + index * PORTS_PER_NODE
        make_candidate(new / f"node-{index}", "127.0.0.1", port, keys)
    command = [sys.executable, "-m", "qbft_server.cli", "reconfigure"]
    command += [str(new / f"node-{index}" / VALIDATOR_FILE) for index in range(4)]
    command += ["--cluster", str(directory / "old" / CLUSTER_FILE), "--margin", str(MARGIN)]
    command += ["--operator-key", str(directory / "operator.key"), "--faults", "1"]
    command += ["--out", str(new / CLUSTER_FILE)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for index in range(4):
        join(new / f"node-{index}", new / CLUSTER_FILE)


async def test_a_node_is_replaced_under_load(tmp_path: Path) -> None:
    """Issue 6, epochs: no height is decided twice or left out, and old certificates verify.

    One of four nodes is lost for good. While clients go on, the others decide the seal; the new
    epoch, with another validator in its place, takes over where the seal says.
    """
    with contextlib.ExitStack() as claims:
        first_port = claim_ports(4, claims)
        async with old_cluster(tmp_path) as old, Client(old.cluster, timeout=SECONDS) as client:
            load = Load(client)
            async with asyncio.TaskGroup() as tasks:
                loads = [tasks.create_task(load.run(topic)) for topic in TOPICS]
                await load.has_begun()
                await old.kill(LOST)
                await reconfigure(tmp_path, first_port)
                async with contextlib.AsyncExitStack() as stack:
                    new = await stack.enter_async_context(LocalCluster(tmp_path / "new", QUIET))
                    await new.start()
                    await new.wait_until_ready()
                    newer = await stack.enter_async_context(Client(new.cluster, timeout=SECONDS))
                    load.new.set_result(newer)
                    async with asyncio.timeout(SECONDS):
                        await asyncio.gather(*loads)
                    await check_each_epoch_keeps_to_its_own(client, newer, load)
            check_certificates(old.cluster, new.cluster, load)
            await check_a_restarted_node_is_held_to_the_seal(old, load)


async def check_each_epoch_keeps_to_its_own(old: Client, new: Client, load: Load) -> None:
    """Neither has anything of what the other decides."""
    seal = new.cluster.ended[-1].seal
    for topic in TOPICS:
        first = seal.first_height(topic)
        assert load.went_over[topic] == first
        for client, heights in ((old, range(first, first + BEYOND)), (new, range(first))):
            for height in heights:
                with pytest.raises(NoDecision):
                    await client.get(topic, height)
        with pytest.raises(Refused, match="not of epoch 1"):
            await new.propose(topic, first - 1, b"late")


def check_certificates(old: Cluster, new: Cluster, load: Load) -> None:
    """The new file verifies all of them, the old one its own."""
    assert {each.topic for each in load.decided} == set(TOPICS)
    for instance, decision in load.decided.items():
        data = encode_decision(decision)
        assert verify(data, new).value == str(instance.height).encode()
        if new.roster_of(instance) == old.roster:
            assert verify(data, old).instance == instance
        else:
            with pytest.raises(CertificateError):
                verify(data, old)


async def check_a_restarted_node_is_held_to_the_seal(old: LocalCluster, load: Load) -> None:
    """After a power cut a node of the old epoch knows where it ends."""
    await old.kill(0)
    await old.start(0)
    await old.wait_until_ready(0)
    topic = TOPICS[0]
    first = load.went_over[topic]
    async with stub_of(old, 0) as stub:
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.Propose(proposal(topic, first, b"again"), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "next epoch" in str(refused.value.details())
        reply = await stub.Propose(proposal(topic, first - 1, b"again"), timeout=SECONDS)
        assert reply.decision.value == str(first - 1).encode()
