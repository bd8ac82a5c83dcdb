"""Real nodes under attack by a real program, which has a validator's keys (issue 6, SCENARIOS F16).

One cluster for each family of attacks, and one attack after the other. What is claimed is what
holds on a machine of any speed: everything is decided, once; nothing is logged; memory is bounded.
How fast that goes is measured by `benchmarks/attack.py`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from attacks.bad_frames import BAD_FRAMES
from attacks.catalogue import ATTACKS
from attacks.siege import (
    HONEST,
    HonestClients,
    Lines,
    MemoryWatch,
    attacked,
    besieged,
    read_metrics,
    rejects_of_liar,
)
from e2e.journal_audit import audit

from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

RESIDENT_MIB_MAX = 300
IN_FLIGHT = 8
SECONDS = 0.7
"""Of each attack; each proposal has a minute beside that."""

QUICK_ROUNDS = {"QBFT_TIMER__FIRST_ROUND_MS": "400"}
REFUSED_SECONDS = 120.0


async def end(cluster: LocalCluster) -> None:
    """Stop the nodes; no journal has a vote that contradicts another, or a second decision."""
    codes = await asyncio.gather(*(cluster.stop(node) for node in HONEST))
    assert codes == [0, 0, 0]
    audit(cluster.directory, cluster.cluster)


async def all_are_refused(cluster: LocalCluster, reasons: set[str]) -> None:
    """Wait until each node has refused something of the liar's for each of these reasons."""
    async with asyncio.timeout(REFUSED_SECONDS):
        for node in HONEST:
            while not reasons <= set(rejects_of_liar(read_metrics(cluster, node))):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def bear(directory: Path, family: str) -> None:
    """Let clients propose while the attacks of a family follow one another.

    All of it is decided, what is decided is what was proposed, nothing is logged, memory stays.
    What leaves instances open that nobody asked for is left to the benchmark: how long they take is
    a matter of how fast the machine is.
    """
    names = [
        name for name, attack in ATTACKS.items() if attack.family == family and not attack.leaves
    ]
    async with besieged(directory, QUICK_ROUNDS) as cluster, asyncio.TaskGroup() as tasks:
        memory, lines = MemoryWatch(cluster), Lines(cluster)
        watching = tasks.create_task(memory.run())
        async with attacked(cluster, *names, seconds=SECONDS):
            told = await HonestClients(cluster).propose(SECONDS * len(names), IN_FLIGHT)
            if family == "bytes":
                await all_are_refused(cluster, {bad.reason for bad in BAD_FRAMES.values()})
        watching.cancel()
        assert not told.failures
        assert told.latencies
        assert told.led_by_liar
        assert all(value == b"%d" % height for height, value in told.values.items())
        assert lines.told() == []
        assert max(memory.most.values()) <= RESIDENT_MIB_MAX
        await end(cluster)


async def test_behaviours_of_a_liar(tmp_path: Path) -> None:
    """SCENARIOS B3, B12, B13, B15, C1, C6, C13, C14, C17, C18, C21, C22, with real keys and links.

    The simulator's Byzantine behaviours, each about a replica of the shipped kind.
    """
    await bear(tmp_path, "votes")


async def test_frames_that_no_node_sends(tmp_path: Path) -> None:
    """SCENARIOS C6 to C9, C14, C15, C18 to C21, F1 to F10, F14, F15, F18, F19 over real links.

    Each kind is refused for its own reason by each node; each signature and certificate is false.
    """
    await bear(tmp_path, "bytes")


async def test_floods_of_a_member(tmp_path: Path) -> None:
    """SCENARIOS C11, C12, C13, C16, C17, C18, F14, F16: as much of everything as links carry."""
    await bear(tmp_path, "floods")


async def test_what_strangers_do(tmp_path: Path) -> None:
    """SCENARIOS F16: slow handshakes, storms of connections, replies that nobody reads."""
    await bear(tmp_path, "strangers")
