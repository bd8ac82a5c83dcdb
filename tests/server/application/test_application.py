"""The operator's own program beside a node (issue 7, applications; docs/APPLICATIONS.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from application_program import Program, served
from server.store.store_builders import CLUSTER, VALIDATOR, decided, instance

from qbft.client import Client
from qbft.client.errors import DeadlineExceeded
from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import ClusterError
from qbft.records import DecisionRecord
from qbft_server.application import CURSOR_FILE, RemoteApplication, connect
from qbft_server.config import ApplicationSettings, NodeConfig
from qbft_server.initialise import init_cluster
from qbft_server.local import LocalCluster, wait_until
from qbft_server.store.decisions import DecisionsError
from qbft_server.store.retention import Retention, RetentionRule
from qbft_server.store.store import NodeStore

SECONDS = 120.0
VALUE_BYTES_MAX, MESSAGE_BYTES_MAX = 1 << 20, 2 << 20

pytestmark = pytest.mark.real_clock


@asynccontextmanager
async def beside(
    program: Program, folder: Path, **settings: object
) -> AsyncIterator[RemoteApplication]:
    """A node's end of it."""
    async with served(program, folder / "app.sock") as address:
        chosen = ApplicationSettings(address=address, **settings)  # type: ignore[arg-type]
        async with connect(
            chosen, value_bytes_max=VALUE_BYTES_MAX, message_bytes_max=MESSAGE_BYTES_MAX
        ) as remote:
            assert remote is not None
            yield remote


def open_store(directory: Path) -> NodeStore:
    """A store, made at first use."""
    if not directory.exists():
        NodeStore.create(directory, CLUSTER, VALIDATOR)
    return NodeStore.open(directory, CLUSTER, VALIDATOR)


@asynccontextmanager
async def store_with(directory: Path, heights: Sequence[int]) -> AsyncIterator[NodeStore]:
    """A node's store, to which these decisions are added."""
    store = open_store(directory)
    try:
        for height in heights:
            await store.commit([decided(height)])
        yield store
    finally:
        await store.aclose()


def of_topic(topic: str, height: int) -> DecisionRecord:
    """A decision of another topic."""
    decision = decided(height).decision
    certificate = replace(decision.certificate, instance=instance(height, topic))
    return DecisionRecord(replace(decision, certificate=certificate))


async def tell_until(
    remote: RemoteApplication, store: NodeStore, directory: Path, program: Program, height: int
) -> None:
    """Tell until the program knows of a height, then stop as a node does."""
    telling = asyncio.create_task(remote.tell(store, directory))
    async with asyncio.timeout(SECONDS):
        await program.until_told(height)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_it_is_asked_about_its_own_topics_alone(tmp_path: Path) -> None:
    """Validity: what it says of its topics; a value of another topic is none of its business."""
    program = Program(provides=b"42")
    async with beside(program, tmp_path, prefixes=("prices/",), provides=True) as remote:
        assert await remote.check_value(instance(1), b"good", 0)
        assert not await remote.check_value(instance(1), b"bad", 0)
        assert await remote.check_value(instance(1, "jobs"), b"bad", 0)
        assert await remote.provide_value(instance(1)) == Proposal(instance(1), b"42")
        assert await remote.provide_value(instance(1, "jobs")) is None
    assert program.checked == [b"good", b"bad"]


async def test_what_it_is_not_asked_for_is_granted(tmp_path: Path) -> None:
    """Each of the three is switched on by itself."""
    program = Program(provides=b"42")
    async with beside(program, tmp_path, checks=False) as remote:
        assert await remote.check_value(instance(1), b"bad", 0)
        assert await remote.provide_value(instance(1)) is None
    assert program.checked == []


async def test_decisions_are_told_in_order_and_a_failure_is_told_again(tmp_path: Path) -> None:
    """At least once, in this node's order: the next only after the acknowledgement."""
    program = Program(failures=2)
    async with (
        store_with(tmp_path / "data", [5, 3, 9]) as store,
        beside(program, tmp_path) as remote,
    ):
        await tell_until(remote, store, tmp_path / "data", program, 9)
    assert [told[:3] for told in program.told] == [
        (1, "prices/btc", 5),
        (2, "prices/btc", 3),
        (3, "prices/btc", 9),
    ]


async def test_a_restarted_node_goes_on_where_it_was(tmp_path: Path) -> None:
    """The place is kept; one of another store, or no place at all, counts for nothing."""
    data, program = tmp_path / "data", Program()
    async with beside(program, tmp_path) as remote:
        async with store_with(data, [1, 2]) as store:
            await tell_until(remote, store, data, program, 2)
        async with store_with(data, [3]) as store:
            await tell_until(remote, store, data, program, 3)
        assert sorted({told[2] for told in program.told}) == [1, 2, 3]
        assert [told[2] for told in program.told].count(1) == 1
        for said in ("no place at all", json.dumps({"store": "00" * 16, "position": 3})):
            (data / CURSOR_FILE).write_text(said)
            program.told.clear()
            async with store_with(data, []) as store:
                await tell_until(remote, store, data, program, 3)
            assert [told[2] for told in program.told] == [1, 2, 3]


async def test_what_retention_has_left_is_told_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted positions are gaps in the order, and hide nothing that is kept beside them."""
    monkeypatch.setattr("qbft.replica.telling.PAGE_DECISIONS", 2)
    data, program = tmp_path / "data", Program()
    retention = Retention([RetentionRule("prices/", 2, None)])
    async with store_with(data, []) as store, beside(program, tmp_path) as remote:
        await store.commit([of_topic("kept", height) for height in range(4)])
        await store.commit([decided(height) for height in range(1, 7)])
        await store.commit([decided(7)])
        tasks = [
            asyncio.create_task(store.run()),
            asyncio.create_task(store.retain(retention, lambda: ())),
        ]
        await wait_until(lambda: store.stats.deleted == 5, "the mark of the topic", SECONDS)
        await tell_until(remote, store, data, program, 7)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [told[1:3] for told in program.told] == [
        *(("kept", height) for height in range(4)),
        ("prices/btc", 6),
        ("prices/btc", 7),
    ]


async def test_a_program_that_fails_is_seen_in_the_metrics(tmp_path: Path) -> None:
    """What it fails at holds up all that follows: how much waits, and how often it failed, is told.

    The log says it too, once a minute at most, for the value may be anybody's.
    """
    program = Program(failures=3)
    async with (
        store_with(tmp_path / "data", [1, 2]) as store,
        beside(program, tmp_path) as remote,
    ):
        with structlog.testing.capture_logs() as lines:
            await tell_until(remote, store, tmp_path / "data", program, 2)
        assert remote.failures == 3
        assert remote.told_position in (1, 2), "the last one may not have been noted yet"
    told = [line for line in lines if "application is not told" in line["event"]]
    assert [(line["log_level"], line["why"], line["told"]) for line in told] == [
        ("warning", "INTERNAL", 0)
    ]


async def test_a_decision_that_cannot_be_read_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else stops: the node goes on, and the decision is tried again."""
    program, fails = Program(), 2
    async with (
        store_with(tmp_path / "data", [1, 2]) as store,
        beside(program, tmp_path) as remote,
    ):
        get = store.get

        def unreadable(which: InstanceId) -> Decision | None:
            nonlocal fails
            if which.height == 2 and fails:
                fails -= 1
                raise DecisionsError("cannot read it")
            return get(which)

        monkeypatch.setattr(store, "get", unreadable)
        await tell_until(remote, store, tmp_path / "data", program, 2)
        assert remote.failures == 2
    assert [told[2] for told in program.told] == [1, 2]


@pytest.mark.parametrize("address", ["10.0.0.1:9000", "example.org:9000", "unix:relative", "9000"])
def test_a_program_elsewhere_is_refused(address: str, tmp_path: Path) -> None:
    """What it says is believed, and the way to it is not encrypted: this machine alone."""
    init_cluster(tmp_path / "c", 4, name="c", base_port=7_400)
    file = tmp_path / "c" / "node-0" / "node.toml"
    file.write_text(file.read_text() + f'\n[application]\naddress = "{address}"\n')
    with pytest.raises(ClusterError, match=r"application\.address"):
        NodeConfig.load(file)


@pytest.mark.e2e
async def test_a_value_that_the_programs_refuse_is_not_decided(tmp_path: Path) -> None:
    """SCENARIOS B14 with real processes: one program for all four nodes, up only after a while.

    While it is away its topics wait and others go on; then a valid value is decided, an invalid one
    never, and each node tells of what was decided.
    """
    program = Program()
    address = f"unix:{tmp_path / 'app.sock'}"
    settings = json.dumps({"address": address, "prefixes": ["judged/"]})
    async with LocalCluster.create(
        tmp_path / "cluster", environment={"QBFT_APPLICATION": settings}
    ) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client, asyncio.timeout(SECONDS):
            waiting = asyncio.create_task(client.propose("judged/a", 1, b"good", timeout=SECONDS))
            other = await client.propose("free", 1, b"bad", timeout=SECONDS)
            assert other.value == b"bad"
            assert not waiting.done()
            async with served(program, tmp_path / "app.sock"):
                assert (await waiting).value == b"good"
                with pytest.raises(DeadlineExceeded):
                    await client.propose("judged/a", 2, b"bad", timeout=3.0)
                while [told[2] for told in program.told] != [1] * 4:
                    program.has_told.clear()
                    await program.has_told.wait()
    assert {told[3] for told in program.told} == {b"good"}
    assert b"bad" in program.checked
