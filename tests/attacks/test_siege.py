"""Real nodes under attack by a real program, which has a validator's keys (issue 6, SCENARIOS F16).

One cluster for each family of attacks, and one attack after the other; a fresh one for each attack
that leaves instances open. What is claimed is what holds on a machine of any speed: everything is
decided, once; nothing is logged; memory is bounded; and the nodes have taken something in of each
attack. How fast that goes is measured by `benchmarks/attack.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from attacks.bad_frames import BAD_FRAMES
from attacks.behaviours import LIE
from attacks.catalogue import ATTACKS, Family
from attacks.siege import (
    HONEST,
    LIAR,
    HonestClients,
    Lines,
    MemoryWatch,
    Metrics,
    Told,
    attacked,
    besieged,
    heard_of_liar,
    read_metrics,
    rejects_of_liar,
)
from e2e.journal_audit import audit

from qbft.replica.bounds import Bound
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

RESIDENT_MIB_MAX = 300
IN_FLIGHT = 8
SECONDS = 0.7
"""Of each attack, from when it is heard; each proposal has a minute beside that."""

PRIORITY = 5
"""A third of what a node takes of a busy processor: little, but the liar gets to say something."""

QUICK_ROUNDS = {"QBFT_TIMER__FIRST_ROUND_MS": "400"}
HEARD_SECONDS, REFUSED_SECONDS, ENDED_SECONDS = 120.0, 120.0, 120.0


async def all_are_refused(cluster: LocalCluster, reasons: set[str]) -> None:
    """Wait until each node has refused something of the liar's for each of these reasons."""
    async with asyncio.timeout(REFUSED_SECONDS):
        for node in HONEST:
            while not reasons <= set(rejects_of_liar(await metrics(cluster, node))):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def metrics(cluster: LocalCluster, node: int) -> Metrics:
    """A node's samples, read while clients go on."""
    return await asyncio.to_thread(read_metrics, cluster, node)


async def heard(cluster: LocalCluster) -> float:
    """The frames that all nodes together have taken in from the liar."""
    return sum([heard_of_liar(await metrics(cluster, node)) for node in HONEST])


async def all_stop_verifying(cluster: LocalCluster) -> None:
    """Wait until each node has put off what the liar would have it verify."""
    stopped = ("qbft_bounds_total", (("bound", Bound.WASTE_WORK_MAX), ("peer", str(LIAR))))
    async with asyncio.timeout(REFUSED_SECONDS):
        for node in HONEST:
            while not (await metrics(cluster, node)).get(stopped):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def all_calls_end(cluster: LocalCluster) -> None:
    """Wait until each node is rid of the calls that the end of a liar has broken off."""
    async with asyncio.timeout(ENDED_SECONDS):
        for node in HONEST:
            while (await metrics(cluster, node))["qbft_client_calls_open", ()]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def until_heard(cluster: LocalCluster, name: str, clients: HonestClients, told: Told) -> None:
    """Wait until the nodes have taken something in of an attack that speaks.

    Clients propose meanwhile: some attacks are what a liar makes of what it is sent.
    """
    before = await heard(cluster)
    async with asyncio.timeout(HEARD_SECONDS):
        while ATTACKS[name].speaks and await heard(cluster) <= before:
            await clients.propose(0.2, 1, told)


def was_proposed(height: int, value: bytes) -> bool:
    """Whether somebody proposed it: a client, or the liar, who may have a value of its own."""
    return value == b"%d" % height or value.startswith(LIE % LIAR)


async def bear(directory: Path, *names: str, environment: Mapping[str, str] = QUICK_ROUNDS) -> None:
    """Let clients propose to a fresh cluster while these attacks follow one another.

    All of it is decided, what is decided is what was proposed, no journal has a vote that
    contradicts another or a second decision, nothing is logged, memory stays.
    """
    told = Told()
    async with besieged(directory, environment) as cluster, asyncio.TaskGroup() as tasks:
        memory, lines, clients = MemoryWatch(cluster), Lines(cluster), HonestClients(cluster)
        watching = tasks.create_task(memory.run())
        for name in names:
            async with attacked(cluster, name, priority=PRIORITY, environment=QUICK_ROUNDS):
                await until_heard(cluster, name, clients, told)
                await clients.propose(SECONDS, IN_FLIGHT, told)
                if name == "bad frames":
                    await all_are_refused(cluster, {bad.reason for bad in BAD_FRAMES.values()})
                if name == "false signatures":
                    await all_stop_verifying(cluster)
        await all_calls_end(cluster)
        watching.cancel()
        assert not told.failures
        assert told.latencies
        assert told.led_by_liar
        assert all(was_proposed(height, value) for height, value in told.values.items())
        assert lines.told() == []
        assert max(memory.most.values()) <= RESIDENT_MIB_MAX
        codes = await asyncio.gather(*(cluster.stop(node) for node in HONEST))
        assert codes == [0, 0, 0]
        audit(cluster.directory, cluster.cluster)


def family(which: Family) -> list[str]:
    """The attacks of a family, but for those that need a cluster of their own."""
    return [
        name
        for name, attack in ATTACKS.items()
        if attack.family == which and not attack.leaves and not attack.prepares
    ]


async def test_behaviours_of_a_liar(tmp_path: Path) -> None:
    """SCENARIOS B3, B12, B13, B15, C1, C6, C13, C14, C18, C21 to C23, F11, with keys and links.

    The simulator's Byzantine behaviours, each about a replica of the shipped kind, and some more.
    """
    await bear(tmp_path, *family("votes"))


async def test_what_a_newer_version_adds_is_ignored(tmp_path: Path) -> None:
    """SCENARIOS F13: nothing of it is refused, and its votes count: without them no two decide."""
    up = HONEST[:2]
    async with besieged(tmp_path, QUICK_ROUNDS) as cluster:
        async with attacked(cluster, "newer version", priority=PRIORITY, environment=QUICK_ROUNDS):
            await cluster.stop(HONEST[2])
            told = await HonestClients(cluster).propose(SECONDS, 2)
            rejects = [rejects_of_liar(await metrics(cluster, node)) for node in up]
        assert not told.failures
        assert told.latencies
        assert told.led_by_liar
        assert rejects == [{}, {}]


@pytest.mark.parametrize("name", family("bytes"))
async def test_frames_that_no_node_sends(tmp_path: Path, name: str) -> None:
    """SCENARIOS C6 to C9, C14 to C16, C18 to C21, F1 to F10, F12, F14, F15, F17 to F19, over links.

    Each kind is refused for its own reason by each node; each signature and certificate is false,
    and nodes stop verifying what is. Each on a fresh cluster, or the next one would not be read
    before the last one has been paid for.
    """
    await bear(tmp_path, name)


async def test_floods_of_a_member(tmp_path: Path) -> None:
    """SCENARIOS C11, C12, C13, C14, C16, F14, F16: as much of everything as links carry."""
    await bear(tmp_path, *family("floods"))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.leaves])
async def test_floods_that_leave_instances_open(tmp_path: Path, name: str) -> None:
    """SCENARIOS C17, C18: what nobody asked for is opened, and clients' own instances decide.

    Each has a fresh cluster: how long the open ones take is a matter of how fast the machine is.
    """
    await bear(tmp_path, name)


async def test_what_strangers_do(tmp_path: Path) -> None:
    """SCENARIOS F16: slow handshakes, storms of connections, replies that nobody reads."""
    await bear(tmp_path, *family("strangers"))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.prepares])
async def test_what_strangers_hold(tmp_path: Path, name: str) -> None:
    """SCENARIOS F16: calls by the thousand, requests and replies by the megabyte, never finished.

    Each on a fresh cluster, whose memory it alone takes, and once it has what it gets of that.
    """
    await bear(tmp_path, name)
