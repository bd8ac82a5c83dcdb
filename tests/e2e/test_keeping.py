"""What real nodes keep: retention with its marks, backup while they run, restore."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import grpc
import pytest
from attacks.liar import Liar
from e2e.crash_cluster import (
    FAST,
    SECONDS,
    TOPIC,
    cluster_with_faults,
    data_of,
    decided_everywhere,
    decides,
    has_decided,
    reaches,
    status_of,
    stop_and_audit,
    votes_so_far,
)
from e2e.journal_audit import read_journal
from e2e.service_clients import proposal, question, stub_of
from grpc import aio

from qbft.client import BelowMark, Client
from qbft.core import InstanceId, Message, MessageType
from qbft.crypto.proposal import Proposal
from qbft.records import StandingRecord
from qbft.transport import Frame
from qbft.wire import encode_frame
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

VICTIM, PEER = 1, 3
GONE, KEPT = 0, 9
KEEP_THREE = {"QBFT_RETENTION": f'[{{"prefix": "{TOPIC}", "keep_decisions": 3}}]'}


async def qbft(*arguments: str | Path) -> tuple[int, str]:
    """Run a command; gives its exit code and what it said."""
    command = [sys.executable, "-m", "qbft_server.cli", *map(str, arguments)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


async def until_mark(cluster: LocalCluster, node: int, height: int) -> None:
    """Wait until a node keeps the topic from this height on."""
    async with stub_of(cluster, node) as stub, asyncio.timeout(SECONDS):
        while True:
            reply = await stub.GetDecision(question(TOPIC, 0), timeout=SECONDS, wait_for_ready=True)
            if reply.low_water_mark == height:
                assert reply.state == pb.DECISION_STATE_BELOW_MARK
                return
            await asyncio.sleep(0.05)


async def test_below_the_mark_a_node_says_where_it_is(tmp_path: Path) -> None:
    """SCENARIOS K28: reads below it, and after a restart proposals and watches, are told the mark.

    What is above the mark is decided and read as ever.
    """
    async with cluster_with_faults(tmp_path, {}, KEEP_THREE) as cluster:
        async with Client(cluster.cluster) as client:
            await client.propose(TOPIC, 0, b"0", timeout=SECONDS)
            async with stub_of(cluster, VICTIM) as stub:
                everything = stub.WatchAll(pb.WatchAllRequest(), timeout=SECONDS)
                cursor = (await everything.read()).cursor
            await _propose(client, range(1, 10))
        for node in range(4):
            await until_mark(cluster, node, 7)
        await cluster.kill(VICTIM)
        await cluster.start(VICTIM)
        await until_mark(cluster, VICTIM, 7)
        async with stub_of(cluster, VICTIM) as stub:
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Propose(proposal(TOPIC, 6, b"again"), timeout=SECONDS)
            assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
            assert "from height 7 on" in str(refused.value.details())
            watch = stub.Watch(pb.WatchRequest(topic=TOPIC, from_height=6), timeout=SECONDS)
            with pytest.raises(aio.AioRpcError) as ended:
                await watch.read()
            assert ended.value.code() is grpc.StatusCode.OUT_OF_RANGE
            stale = stub.WatchAll(pb.WatchAllRequest(cursor=cursor), timeout=SECONDS)
            with pytest.raises(aio.AioRpcError) as gone:
                await stale.read()
            assert gone.value.code() is grpc.StatusCode.OUT_OF_RANGE
            kept = stub.WatchAll(pb.WatchAllRequest(), timeout=SECONDS)
            heights = [(await kept.read()).decision.instance.height for _ in range(3)]
            assert sorted(heights) == [7, 8, 9]
            page = await stub.ListDecisions(pb.ListDecisionsRequest(topic=TOPIC), timeout=SECONDS)
            assert [d.instance.height for d in page.decisions] == [7, 8, 9]
        async with Client(cluster.cluster) as client:
            with pytest.raises(BelowMark):
                await client.get(TOPIC, 6)
            assert (await client.propose(TOPIC, 10, b"10", timeout=SECONDS)).value == b"10"
        await stop_and_audit(cluster)


async def test_old_messages_of_what_is_compacted_are_replayed_in_vain(tmp_path: Path) -> None:
    """SCENARIOS K28: nothing runs again, also after a restart; a certificate, or the mark.

    A peer says again, with the values, all that anybody has said of two instances: the decision of
    one is kept, that of the other is not. Asked for both, the node gives the certificate of the one
    and says from which height on it keeps the topic.
    """
    async with cluster_with_faults(tmp_path, {}, KEEP_THREE) as cluster:
        async with Client(cluster.cluster) as client:
            await _propose(client, range(10))
        for node in range(4):
            await until_mark(cluster, node, 7)
        old = [vote for node in range(4) for vote in votes_so_far(cluster, node)]
        await cluster.kill(PEER)
        async with Liar(cluster.directory / f"node-{PEER}") as liar:
            for restarts in (False, True):
                if restarts:
                    await cluster.kill(VICTIM)
                    await cluster.start(VICTIM)
                await reaches(cluster, VICTIM, PEER)
                before = votes_so_far(cluster, VICTIM)
                assert await replay(liar, old, GONE, KEPT) == ([KEPT], [7])
                assert votes_so_far(cluster, VICTIM) == before
                assert (await status_of(cluster, VICTIM)).open_instances == 0
                await until_mark(cluster, VICTIM, 7)


async def replay(liar: Liar, votes: list[Message], *heights: int) -> tuple[list[int], list[int]]:
    """Say it all again, and ask what was decided; gives whose certificates come, and the marks."""
    instances = tuple(InstanceId(TOPIC, height) for height in heights)
    again = tuple(vote for vote in votes if vote.instance in instances)
    assert {(vote.instance, vote.type) for vote in again} == {
        (instance, kind)
        for instance in instances
        for kind in (MessageType.PRE_PREPARE, MessageType.PREPARE, MessageType.COMMIT)
    }
    values = tuple(Proposal(instance, b"%d" % instance.height) for instance in instances)
    for frame in (
        Frame(
            relayed=tuple(vote for vote in again if vote.type is not MessageType.COMMIT),
            proposals=values,
        ),
        Frame(relayed=again),
        Frame(wanted_decisions=instances),
    ):
        await liar.links.push(VICTIM, encode_frame(frame))
    async with asyncio.timeout(SECONDS):
        while True:
            for peer, frame in (await liar.receive()).frames:
                if peer == VICTIM and frame.certificates:
                    given = [each.instance.height for each in frame.certificates]
                    return given, [mark.height for mark in frame.marks]


async def test_a_backup_of_one_node_restores_another(tmp_path: Path) -> None:
    """Issue 4: taken while clients propose; a lost disk comes back from it, without votes (W7).

    Alone, with its peers down, the restored node serves what the backup had; with them it asks what
    it may have voted on, and votes again.
    """
    file = tmp_path / "decisions.sqlite3"
    async with cluster_with_faults(tmp_path, {}) as cluster:
        async with Client(cluster.cluster) as client:
            await _propose(client, range(20))
            await in_the_table(cluster, 0, 20)
            proposing = asyncio.create_task(_propose(client, range(20, 40)))
            code, said = await qbft("backup", cluster.directory / "node-0" / "node.toml", file)
            assert code == 0, said
            await proposing
        assert file.stat().st_mode & 0o777 == 0o600
        node_file = cluster.directory / f"node-{VICTIM}" / "node.toml"
        code, said = await qbft("restore", node_file, file)
        assert (code, "in use by another process" in said) == (5, True), said
        await asyncio.gather(*(cluster.stop(node) for node in range(4)))
        code, said = await qbft("restore", node_file, file)
        assert (code, "this store has been used" in said) == (5, True), said
        assert (await qbft("init", "--replace", node_file))[0] == 0
        code, said = await qbft("restore", node_file, file)
        assert code == 0, said
        await cluster.start(VICTIM)
        for height in range(20):
            assert await has_decided(cluster, VICTIM, height) == b"%d" % height
        await cluster.start(*(node for node in range(4) if node != VICTIM))
        await cluster.wait_until_ready()
        assert await decided_everywhere(cluster, 39) == {b"39"}
        await stop_and_audit(cluster, lost={VICTIM})


async def in_the_table(cluster: LocalCluster, node: int, count: int) -> None:
    """Wait until so many decisions are in a node's table: a backup has no others."""
    table = f"file:{data_of(cluster, node) / 'decisions.sqlite3'}?mode=ro"
    async with asyncio.timeout(SECONDS):
        while True:
            with closing(sqlite3.connect(table, uri=True)) as connection:
                if connection.execute("SELECT count(*) FROM decisions").fetchone()[0] >= count:
                    return
            await asyncio.sleep(0.05)


async def _propose(client: Client, heights: range) -> None:
    for height in heights:
        await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)


async def test_what_the_others_have_let_go_is_over_for_all(tmp_path: Path) -> None:
    """SCENARIOS K24, K28: three nodes keep little, one keeps all, and then loses its disk.

    A client that proposes below the three marks at the one is told where they are. As a node
    without its votes it learns them before it votes again, so that it is never led to vote there.
    """
    others = [node for node in range(4) if node != VICTIM]
    async with cluster_with_faults(tmp_path, dict.fromkeys(others, KEEP_THREE)) as cluster:
        async with Client(cluster.cluster) as client:
            await _propose(client, range(100, 110))
        for node in others:
            await until_mark(cluster, node, 107)
        async with stub_of(cluster, VICTIM) as stub:
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Propose(proposal(TOPIC, 5, b"late"), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert "from height 107 on" in str(refused.value.details())
        assert await decides(cluster, VICTIM, 100) == b"100"
        await cluster.kill(VICTIM)
        shutil.rmtree(data_of(cluster, VICTIM))
        code, said = await qbft("init", "--replace", cluster.directory / f"node-{VICTIM}/node.toml")
        assert code == 0, said
        await cluster.start(VICTIM)
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client:
            for height in count(110):
                await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
                if votes_so_far(cluster, VICTIM):
                    break
        assert await decided_everywhere(cluster, height) == {b"%d" % height}
        async with stub_of(cluster, VICTIM) as stub:
            with pytest.raises(aio.AioRpcError) as kept_out:
                await stub.Propose(proposal(TOPIC, 6, b"led astray"), timeout=SECONDS)
        assert kept_out.value.code() is grpc.StatusCode.UNAVAILABLE
        assert f"does not vote in {TOPIC}/6" in str(kept_out.value.details())
        audited = await stop_and_audit(cluster, lost={VICTIM})
        assert min(vote.instance.height for vote in audited[VICTIM]) >= 107
        records = read_journal(cluster.directory, cluster.cluster, VICTIM)
        standing = [record for record in records if isinstance(record, StandingRecord)][-1]
        assert (standing.lost, standing.floors) == (False, ((TOPIC, 107),))


async def test_a_backup_that_proves_nothing_is_refused(tmp_path: Path) -> None:
    """Of another cluster, changed, or no backup at all: nothing of it is taken."""
    file = tmp_path / "decisions.sqlite3"
    async with cluster_with_faults(tmp_path, {}) as cluster:
        async with Client(cluster.cluster) as client:
            await client.propose(TOPIC, 1, b"precious", timeout=SECONDS)
            await client.propose(TOPIC, 2, b"more", timeout=SECONDS)
        assert await decided_everywhere(cluster, 2) == {b"more"}
        await asyncio.gather(*(cluster.stop(node) for node in range(4)))
        code, said = await qbft("backup", cluster.directory / "node-0" / "node.toml", file)
        assert (code, "2" in said) == (0, True), said
        assert (await qbft("backup", cluster.directory / "node-0" / "node.toml", file))[0] == 5
        await a_changed_value_is_not_backed_up(cluster, tmp_path / "changed.sqlite3")
        node_file = cluster.directory / f"node-{VICTIM}" / "node.toml"
        assert (await qbft("init", "--replace", node_file))[0] == 0
        forged = tmp_path / "forged.sqlite3"
        forged.write_bytes(file.read_bytes().replace(b"precious", b"tampered"))
        garbage = tmp_path / "garbage.sqlite3"
        garbage.write_bytes(b"nothing of the kind" * 1_000)
        for wrong in (forged, garbage, tmp_path / "missing"):
            code, said = await qbft("restore", node_file, wrong)
            assert code != 0
            assert "Traceback" not in said, said
        async with LocalCluster.create(tmp_path / "other", environment=FAST) as other:
            code, said = await qbft("restore", other.directory / "node-0" / "node.toml", file)
        assert (code, "of another cluster" in said) == (5, True), said
        assert (await qbft("restore", node_file, file))[0] == 0


async def a_changed_value_is_not_backed_up(cluster: LocalCluster, file: Path) -> None:
    """A disk changes a byte of a value, and nothing else notices; no file is left."""
    table = cluster.data(1) / "decisions.sqlite3"
    table.write_bytes(table.read_bytes().replace(b"precious", b"pressing"))
    code, said = await qbft("backup", cluster.directory / "node-1" / "node.toml", file)
    assert (code, f"{TOPIC}/1: the value is not the one that was decided" in said) == (1, True), (
        said
    )
    assert not file.exists()  # noqa: ASYNC240 - a test has the time
