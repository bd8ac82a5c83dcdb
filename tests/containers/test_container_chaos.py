"""The clients and the judge of `qbft chaos` against four containers (issue 4, part 3)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from containers.compose_project import CLIENT_PORT, NETWORK, SECONDS, ComposeProject

from qbft.client import Client, NodeStatus
from qbft.cluster import Cluster
from qbft_server.chaos.clock import now
from qbft_server.chaos.history import Conditions, Proposed
from qbft_server.chaos.witness import Witness

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("containers")]

NODES = 4
RATE = 10.0
DECISIONS = 30
"""That have to come while one node is away."""

AWAY_SECONDS = 4.0
"""How long two are: long enough for rounds to end."""

POLL_SECONDS = 0.1


class Containers:
    """Begins and ends faults of containers, and tells the witness."""

    def __init__(self, project: ComposeProject, cluster: Cluster, witness: Witness) -> None:
        self.witness = witness
        self._project = project
        self._cluster = cluster
        self._down: set[int] = set()

    async def begin(self, node: int, fault: str) -> None:
        """Stop, kill or disconnect a node."""
        self._down.add(node)
        self._tell()
        await self._do(node, fault)

    async def end(self, node: int, fault: str) -> None:
        """Bring it back, and wait until it votes with the others that are there."""
        await self._do(node, "connect" if fault == "disconnect" else "start")
        expected = {other for other in range(NODES) if other not in self._down - {node}}
        async with asyncio.timeout(SECONDS), Client(self._cluster) as client:
            while not self._is_back((await client.status())[node], expected - {node}):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        self._down.discard(node)
        self._tell()
        await self.witness.recovered()

    def _is_back(self, account: object, expected: set[int]) -> bool:
        if not isinstance(account, NodeStatus) or not account.voting:
            return False
        return expected <= {peer.validator for peer in account.peers if peer.connected}

    async def _do(self, node: int, what: str) -> None:
        work: Callable[[], object]
        match what:
            case "disconnect":
                work = lambda: self._project.disconnect(node)  # noqa: E731
            case "connect":
                work = lambda: self._project.connect(node)  # noqa: E731
            case _:
                work = lambda: self._project.compose(what, f"node{node}")  # noqa: E731
        await asyncio.to_thread(work)

    def _tell(self) -> None:
        down = len(self._down)
        self.witness.see(Conditions(now(), down <= 1, down))


async def tell_what_is_decided(witness: Witness, cluster: Cluster) -> None:
    """Have the judge know what others have had decided before: it sees who proposes what later."""
    async with Client(cluster) as client:
        account = (await client.status())[0]
        assert isinstance(account, NodeStatus)
        left = account.decisions
        if left:
            async for decision, _ in client.watch_all(0):
                assert isinstance(decision.value, bytes)
                witness.see(Proposed(now(), decision.instance, decision.value))
                left -= 1
                if not left:
                    break


async def _decide_more(witness: Witness) -> None:
    enough = len(witness.checker.decided) + DECISIONS
    async with asyncio.timeout(SECONDS):
        while len(witness.checker.decided) < enough:  # noqa: ASYNC110 - containers make it true
            await asyncio.sleep(POLL_SECONDS)


def _figures(witness: Witness) -> str:
    """What there was to be judged; `pytest -s` shows it."""
    checker = witness.checker
    return (
        f"{len(checker.decided)} decisions, {checker.reads} reads, "
        f"{witness.load.prover.certificates} certificates verified, "
        f"{checker.recoveries} instances open when things could go on, worst recovery "
        f"{checker.worst_recovery_s:.1f} s, {checker.open_instances} undecided, "
        f"{checker.violations_count} violations"
    )


def _is_reachable() -> bool:
    try:
        socket.create_connection((f"{NETWORK}.10", CLIENT_PORT), timeout=5.0).close()
    except OSError:
        return False
    return True


async def test_containers_keep_what_they_promise(project: ComposeProject) -> None:
    """Issue 4, part 3: stop, kill, disconnect; then two at once. The checker finds nothing.

    Each node is away once while the others decide; with two away nothing can be decided, and what
    was open is decided once one of them is back.
    """
    if not _is_reachable():
        pytest.skip("the containers' network cannot be reached from here")
    cluster = await asyncio.to_thread(project.cluster)
    witness = Witness(cluster, rate=RATE, seed=1)
    containers = Containers(project, cluster, witness)
    witness.see(Conditions(now(), True, 0))
    await tell_what_is_decided(witness, cluster)
    async with witness.clients() as proposing:
        await _decide_more(witness)
        for node, fault in ((1, "stop"), (2, "kill"), (3, "disconnect"), (0, "kill")):
            await containers.begin(node, fault)
            await _decide_more(witness)
            await containers.end(node, fault)
        await containers.begin(1, "kill")
        await containers.begin(2, "disconnect")
        await asyncio.sleep(AWAY_SECONDS)
        await containers.end(2, "disconnect")
        await containers.end(1, "kill")
        await _decide_more(witness)
        assert await witness.settled(proposing)
        await witness.read_back()
    witness.checker.finish(now())
    print(_figures(witness))
    assert witness.checker.violations == []
    assert witness.checker.recoveries > 0
