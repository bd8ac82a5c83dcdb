"""Real nodes whose disks fail, fill up or hold the wrong thing (SCENARIOS K22, K23, K27, K29)."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import grpc
import pytest
from e2e.crash_cluster import (
    FAST,
    SECONDS,
    TOPIC,
    cluster_with_faults,
    data_of,
    decided_everywhere,
    decides,
    has_decided,
    heights_led_by,
    records_so_far,
    stop_and_audit,
    votes_again,
    votes_so_far,
)
from e2e.journal_audit import heard
from e2e.service_clients import proposal, stub_of
from grpc import aio

from qbft.client import Client
from qbft.core import Message, MessageType
from qbft.decision import Decision
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

VICTIM = 1
PATIENT = {"QBFT_TIMER__FIRST_ROUND_MS": "10000"}
"""Where it is about votes of the first round, which a busy machine may leave too early."""

STORE_UNUSABLE = 5
"""The exit code of a node whose store cannot be used: no supervisor starts it again."""


async def refuses_to_start(cluster: LocalCluster, node: int, why: str) -> None:
    """Start a node: it ends by itself, at once, with the exit code for it, and says why."""
    before = cluster.log(node).stat().st_size
    await cluster.start(node)
    async with asyncio.timeout(SECONDS):
        assert await cluster.wait(node) == STORE_UNUSABLE
    said = cluster.log(node).read_bytes()[before:].decode()
    assert why in said, said
    assert "Traceback" not in said, said


async def has_stopped_voting(cluster: LocalCluster, node: int) -> None:
    """Wait until a node says that it does not vote any more."""
    async with stub_of(cluster, node) as stub, asyncio.timeout(SECONDS):
        ask = partial(stub.GetStatus, pb.GetStatusRequest(), wait_for_ready=True)
        while (await ask(timeout=SECONDS)).voting:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def reads_only(cluster: LocalCluster, node: int, known: int) -> None:
    """A node without its journal answers what it has stored, and sends proposals elsewhere."""
    pid = cluster.pid(node)
    assert await has_decided(cluster, node, known) is not None
    async with stub_of(cluster, node) as stub:
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.Propose(proposal(TOPIC, 1_000_000, b"x"), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        page = await stub.ListDecisions(pb.ListDecisionsRequest(topic=TOPIC), timeout=SECONDS)
        assert page.decisions
    os.kill(pid, 0)  # it is still the same process: no crash, no loop


async def decide_until_it_stops(cluster: LocalCluster, client: Client, first: int) -> int:
    """Decide heights, with some bytes each, until the victim stops voting; gives the last."""
    stopping = asyncio.create_task(has_stopped_voting(cluster, VICTIM))
    height = first
    while not stopping.done():
        await client.propose(TOPIC, height, bytes([height % 256]) * 20_000, timeout=SECONDS)
        height += 1
    await stopping
    return height - 1


@contextmanager
def small_disk(cluster: LocalCluster, node: int, size: str) -> Iterator[None]:
    """Move a node's data to a file system of its own that is this small."""
    data = data_of(cluster, node)
    kept = data.with_name("kept")
    data.rename(kept)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", data], check=True)
    try:
        shutil.copytree(kept, data, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)


def fill(directory: Path) -> None:
    """Take the last byte of a file system."""
    with (directory / "ballast").open("ab", buffering=0) as file:
        for size in (4_096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def grow(cluster: LocalCluster, node: int) -> None:
    """Make room."""
    mount = ["mount", "-o", "remount,size=256m", data_of(cluster, node)]
    subprocess.run(mount, check=True)


@asynccontextmanager
async def four_nodes(directory: Path) -> AsyncIterator[tuple[LocalCluster, Client]]:
    """Four nodes with their client, and one decision."""
    async with cluster_with_faults(directory, {}) as cluster, Client(cluster.cluster) as client:
        await client.propose(TOPIC, 0, b"first", timeout=SECONDS)
        yield cluster, client


def can_mount(directory: Path) -> bool:
    """Whether a file system can be mounted here; needs root."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "none", directory], check=False, capture_output=True
    )
    if mounted.returncode == 0:
        subprocess.run(["umount", directory], check=True)
    return mounted.returncode == 0


async def test_a_full_disk_stops_the_voting_and_nothing_else(tmp_path: Path) -> None:
    """SCENARIOS K23, with a file system that is really full (ENOSPC).

    The node stops voting, answers reads, and stays up; the others decide. Started again without
    room it is as before; with room it votes again and has learnt what it missed.
    """
    if not can_mount(tmp_path / "probe"):
        pytest.skip("mounting a small file system takes root")
    async with LocalCluster.create(tmp_path / "cluster", environment=FAST) as cluster:
        with small_disk(cluster, VICTIM, "1m"):
            await cluster.start()
            await cluster.wait_until_ready()
            async with Client(cluster.cluster) as client:
                last = await decide_until_it_stops(cluster, client, 0)
                await reads_only(cluster, VICTIM, 0)
                await cluster.kill(VICTIM)
                fill(data_of(cluster, VICTIM))
                await cluster.start(VICTIM)
                await has_stopped_voting(cluster, VICTIM)
                await reads_only(cluster, VICTIM, 0)
                assert await cluster.stop(VICTIM) == 0
                grow(cluster, VICTIM)
                await cluster.start(VICTIM)
                await cluster.wait_until_ready(VICTIM)
                await client.propose(TOPIC, last + 1, b"again", timeout=SECONDS)
            for height in (0, last, last + 1):
                assert len(await decided_everywhere(cluster, height)) == 1
            await stop_and_audit(cluster)


async def test_a_file_that_may_not_grow_stops_the_voting_and_nothing_else(tmp_path: Path) -> None:
    """SCENARIOS K23 where no file system can be mounted: the system refuses longer files (EFBIG).

    The limit is set while the node runs, as a quota is; restarted without it the node goes on.
    """
    async with four_nodes(tmp_path) as (cluster, client):
        size = max(f.stat().st_size for f in data_of(cluster, VICTIM).rglob("*") if f.is_file())
        limit = size + 100_000
        resource.prlimit(cluster.pid(VICTIM), resource.RLIMIT_FSIZE, (limit, limit))
        last = await decide_until_it_stops(cluster, client, 1)
        await reads_only(cluster, VICTIM, 0)
        assert await cluster.stop(VICTIM) == 0
        await cluster.start(VICTIM)
        await cluster.wait_until_ready(VICTIM)
        assert len(await decided_everywhere(cluster, last)) == 1
        await stop_and_audit(cluster)


@pytest.mark.parametrize("label", ["before_append", "after_append"])
async def test_an_error_of_the_disk_stops_the_voting_and_nothing_else(
    tmp_path: Path, label: str
) -> None:
    """SCENARIOS K23: EIO from the write, and from the fsync, of a COMMIT; it never leaves.

    Three nodes run, so that each COMMIT of the victim stands in the others' certificates, if it was
    sent: there are those that were durable, and no other. Then a fourth node takes its place.
    """
    fault = {"QBFT_TEST_FAULTS": "1", "QBFT_TEST_FAIL_AT": f"{label}:3:COMMIT"}
    async with LocalCluster.create(tmp_path / "cluster", environment=FAST | PATIENT) as cluster:
        await cluster.start(0, 2)
        await cluster.start(VICTIM, environment=fault)
        await cluster.wait_until_ready()
        await votes_again(cluster, VICTIM)  # it has asked the others first, as new nodes do
        async with Client(cluster.cluster) as client:
            decided, height, waiting = await decide_until_one_waits(cluster, client)
            await reads_only(cluster, VICTIM, decided)
            await cluster.start(3)
            assert (await waiting).value == b"%d" % height
            for peer in (0, 2, 3):
                assert await decides(cluster, peer, height) == b"%d" % height
            written = commits(votes_so_far(cluster, VICTIM))
            assert len(written) == (3 if label == "after_append" else 2)
            for peer in (0, 2):
                told = commits(heard(records_so_far(cluster, peer), VICTIM))
                assert told == written[:2], f"node {peer} has a vote that is not durable"
            assert await cluster.stop(VICTIM) == 0
            await cluster.start(VICTIM)
            await cluster.wait_until_ready(VICTIM)
        assert await decided_everywhere(cluster, height) == {b"%d" % height}
        await stop_and_audit(cluster)


async def decide_until_one_waits(
    cluster: LocalCluster, client: Client
) -> tuple[int, int, asyncio.Task[Decision]]:
    """Decide until the victim stops voting; gives the first height, and that which waits for it."""
    stopping = asyncio.create_task(has_stopped_voting(cluster, VICTIM))
    heights = heights_led_by(cluster, 0)
    first = height = next(heights)
    while True:
        deciding = client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
        waiting = asyncio.create_task(deciding)
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            await stopping
            return first, height, waiting
        await waiting
        height = next(heights)


def commits(votes: Iterable[Message]) -> list[Hashable]:
    """The instances in which there are COMMITs, in order."""
    return list(dict.fromkeys(v.instance for v in votes if v.type is MessageType.COMMIT))


async def test_a_bit_flipped_in_the_middle_keeps_the_node_down(tmp_path: Path) -> None:
    """SCENARIOS K22: votes that were durable are unreadable, so it must not vote; others decide."""
    async with four_nodes(tmp_path) as (cluster, client):
        for height in range(1, 10):
            await client.propose(TOPIC, height, b"v", timeout=SECONDS)
        await cluster.kill(VICTIM)
        segment = max((data_of(cluster, VICTIM) / "journal").glob("*.segment"))
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 4
        segment.write_bytes(data)
        await refuses_to_start(cluster, VICTIM, "this disk has lost votes")
        assert segment.read_bytes() == data, "evidence is not to be touched"
        await client.propose(TOPIC, 10, b"without it", timeout=SECONDS)
        segment.write_bytes(
            data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
        )
        await cluster.start(VICTIM)
        await cluster.wait_until_ready(VICTIM)
        assert await decided_everywhere(cluster, 10) == {b"without it"}


async def test_a_second_process_with_the_key_is_refused(tmp_path: Path) -> None:
    """SCENARIOS K27, W8: on one machine the lock file says no, and the first node does not notice.

    When the first is killed the lock is free at once.
    """
    async with four_nodes(tmp_path) as (cluster, client):
        twin = LocalCluster(cluster.directory, environment=FAST)
        await refuses_to_start(twin, VICTIM, f"in use by another process (pid {cluster.pid(1)})")
        await client.propose(TOPIC, 1, b"v", timeout=SECONDS)
        await cluster.kill(VICTIM)
        await cluster.start(VICTIM)
        await cluster.wait_until_ready(VICTIM)
        assert await decided_everywhere(cluster, 1) == {b"v"}


async def test_a_journal_or_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    """SCENARIOS K29: each is named, and left as it is, byte for byte."""
    async with four_nodes(tmp_path) as (cluster, _):
        assert await cluster.stop(VICTIM) == 0
        data = data_of(cluster, VICTIM)
        segment = max((data / "journal").glob("*.segment"))
        for path, offset, says in (
            (segment, 8, "has format version"),
            (data / "decisions.sqlite3", 60, "has schema version"),
        ):
            original = path.read_bytes()
            changed = bytearray(original)
            width = 2 if path is segment else 4  # the field's, in the header of each format
            changed[offset : offset + width] = (250).to_bytes(width, "big")
            path.write_bytes(changed)
            await refuses_to_start(cluster, VICTIM, says)
            assert path.read_bytes() == changed
            path.write_bytes(original)
        await cluster.start(VICTIM)
        await cluster.wait_until_ready(VICTIM)
