"""Appending to nodes that answer, are silent, lag or lie, and reading what stands (issue 7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from pretend_cluster import PretendCluster, PretendNode, Say
from pretend_cluster import is_silent as silent_read

from qbft.client import Client, Conflict, NoNodeLeft, Refused, asking
from qbft.core import InstanceId
from qbft.crypto.entries import (
    WINDOW_HEIGHTS,
    Entry,
    encode_batch,
    is_entry_genuine,
    is_standing_at,
)
from qbft.crypto.keys import VoteKey
from qbft.ordered import Position
from qbft.wire.entries import entry_from_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

TOPIC = "log/a"
KEY = VoteKey(b"a" * 32)
Stand = Callable[[PretendNode, Entry], Awaitable[pb.AppendReply]]


def batch_of(pretend: PretendCluster, height: int, *entries: Entry) -> messages_pb2.Decision:
    """A genuine decision of these."""
    return pretend.decision(InstanceId(TOPIC, height), encode_batch(entries))


async def stands(node: PretendNode, entry: Entry) -> pb.AppendReply:
    """Honest: the entry stands behind another one."""
    other = Entry(b"other", b"w")
    return pb.AppendReply(height=7, index=1, decision=batch_of(node.pretend, 7, other, entry))


async def is_silent(node: PretendNode, entry: Entry) -> pb.AppendReply:
    """Never answers."""
    return await asyncio.Future()


class Appending:
    """What a test makes the nodes of a pretended cluster say of appends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nodes: int = 4, **settings: object) -> None:
        self.pretend = PretendCluster(nodes)
        self.client = self.pretend.client_on_virtual_clock(monkeypatch, **settings)
        self.stand: dict[int, Stand] = dict.fromkeys(range(nodes), stands)
        self.heights = dict.fromkeys(range(nodes), 7)
        self.asked: list[int] = []
        self.entries: list[Entry] = []
        self.link: Any = asking.NodeLink

        async def append(link: object, topic: str, message: pb.Entry, _: object) -> pb.AppendReply:
            node = self.pretend.nodes[link.node]  # type: ignore[attr-defined]
            self.asked.append(node.index)
            self.entries.append(entry_from_pb(message))
            try:
                return await self.stand[node.index](node, self.entries[-1])
            except Say as said:
                raise said.failure(node.index) from None

        async def next_height(link: object, topic: str, _: object) -> int:
            return self.heights[link.node]  # type: ignore[attr-defined]

        self.link.append, self.link.next_height = append, next_height

    @property
    def order(self) -> list[int]:
        """The nodes in the order in which they are asked."""
        return [node.index for node in self.pretend.order(InstanceId(TOPIC, 0))]


async def test_an_append_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 7: the client is told its position, with a decision that proves it."""
    world = Appending(monkeypatch)
    async with world.client as client:
        appended = await client.append(TOPIC, b"v", b"mine")
        assert (appended.position, appended.value) == (Position(7, 1), b"v")
        assert appended.decision.instance == InstanceId(TOPIC, 7)
        assert world.asked == world.order[:1]
        other = await client.append(TOPIC, b"v")
        assert len(other.request_id) == 16, "made up"
        for bad in (b"", b"1" * 65):
            with pytest.raises(ValueError, match="1 to 64"):
                await client.append(TOPIC, b"v", bad)


@pytest.mark.parametrize(
    "lie",
    [
        lambda d, e: pb.AppendReply(height=7, index=0, decision=d(7, Entry(b"other", b"w"), e)),
        lambda d, e: pb.AppendReply(height=7, index=2, decision=d(7, Entry(b"other", b"w"), e)),
        lambda d, e: pb.AppendReply(height=8, index=0, decision=d(7, e)),
        lambda d, e: pb.AppendReply(height=7, index=0, decision=d(7, Entry(e.request_id, b"w"))),
        lambda d, e: pb.AppendReply(height=1 << 63, index=0),
    ],
)
async def test_a_node_that_lies_of_a_position_is_caught(
    monkeypatch: pytest.MonkeyPatch, lie: Callable[..., pb.AppendReply]
) -> None:
    """SCENARIOS G11: what a node says of a position has to be proven by the decision."""
    world = Appending(monkeypatch)

    async def lies(node: PretendNode, entry: Entry) -> pb.AppendReply:
        return lie(lambda height, *entries: batch_of(node.pretend, height, *entries), entry)

    world.stand[world.order[0]] = lies
    async with world.client as client:
        assert (await client.append(TOPIC, b"v")).position == Position(7, 1)
        assert list(client.liars) == world.order[:1]


async def test_a_silent_node_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another node is asked with the same request id, and from then on first."""
    world = Appending(monkeypatch, hedge_ms=50)
    first, second, *_ = world.order
    world.stand[first] = is_silent
    async with world.client as client:
        await client.append(TOPIC, b"v", b"mine")
        await client.append(TOPIC, b"v", b"also")
    assert world.asked == [first, second, second]
    assert [each.request_id for each in world.entries] == [b"mine", b"mine", b"also"]


async def test_a_large_batch_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/adr/017: of a batch that many share, the bytes travel once to each client."""
    world = Appending(monkeypatch)
    entries = [Entry(b"%d" % number, b"v") for number in range(20)]
    first = world.pretend.nodes[world.order[0]]

    async def without(_: PretendNode, entry: Entry) -> pb.AppendReply:
        return pb.AppendReply(height=9, index=entries.index(entry))

    async def reads(node: PretendNode, *_: object) -> messages_pb2.Decision:
        return batch_of(node.pretend, 9, *entries)

    world.stand[first.index], first.read = without, reads
    async with world.client as client:
        told = await asyncio.gather(
            *(client.append(TOPIC, each.value, each.request_id) for each in entries)
        )
    assert [each.position for each in told] == [Position(9, index) for index in range(20)]
    assert first.calls == [("GetDecision", InstanceId(TOPIC, 9))]


async def test_a_batch_that_is_withheld_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that says where an entry stands, and never shows the decision, is passed by."""
    world = Appending(monkeypatch, hedge_ms=50, timeout=None)
    first, *others = (world.pretend.nodes[index] for index in world.order)
    entries = [Entry(b"%d" % number, b"v") for number in range(3)]

    async def without(_: PretendNode, entry: Entry) -> pb.AppendReply:
        return pb.AppendReply(height=9, index=entries.index(entry))

    async def reads(node: PretendNode, *_: object) -> messages_pb2.Decision:
        return batch_of(node.pretend, 9, *entries)

    world.stand = dict.fromkeys(range(4), without)
    first.read = silent_read
    for other in others:
        other.read = reads
    async with world.client as client, asyncio.timeout(5):
        told = await asyncio.gather(*(client.append(TOPIC, b"v", e.request_id) for e in entries))
    assert [each.position.index for each in told] == [0, 1, 2]


async def test_a_signed_entry_is_for_the_next_heights(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/adr/017: up to f nodes that lie about how far the topic is change nothing."""
    world = Appending(monkeypatch, 7, proposer=KEY)
    world.heights = {node: 1_000 + node for node in range(7)}
    world.heights |= {world.order[0]: 0, world.order[1]: 1 << 60}
    async with world.client as client:
        appended = await client.append(TOPIC, b"v")
    entry = appended.entry
    assert is_entry_genuine(entry, world.pretend.roster.cluster_id, TOPIC)
    assert 1_000 <= entry.until - WINDOW_HEIGHTS <= 1_006
    assert is_standing_at(entry, 1_006)


async def test_an_entry_is_signed_anew_when_the_topic_went_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OUT_OF_RANGE of f+1 nodes: ask again, sign again, with the same request id; not for ever."""
    world = Appending(monkeypatch, proposer=KEY)

    async def stands_later(node: PretendNode, entry: Entry) -> pb.AppendReply:
        if entry.until <= 5_000:
            raise Say(grpc.StatusCode.OUT_OF_RANGE, "sign it anew")
        return await stands(node, entry)

    world.stand = dict.fromkeys(range(4), stands_later)
    async with world.client as client:
        with pytest.raises(Refused, match="sign it anew"):
            await client.append(TOPIC, b"v")
        assert len(world.entries) == 3 * 2, "f+1 nodes each time"
        signing = client.append(TOPIC, b"v", b"mine")
        world.heights = dict.fromkeys(range(4), 5_000)
        assert (await signing).entry.until == 5_000 + WINDOW_HEIGHTS


async def test_a_request_id_of_another_value_is_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    """f+1 nodes say so: an honest one does."""
    world = Appending(monkeypatch)

    async def used(node: PretendNode, entry: Entry) -> pb.AppendReply:
        raise Say(grpc.StatusCode.ALREADY_EXISTS, "it stands at 3.0 already")

    world.stand = dict.fromkeys(range(4), used)
    async with world.client as client:
        with pytest.raises(Conflict, match=r"3\.0"):
            await client.append(TOPIC, b"v", b"mine")


def watched(world: Appending, *heights: list[Entry]) -> None:
    """Let every node tell of these heights, and then of none."""

    async def tell(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        for height, entries in enumerate(heights):
            if height >= start.height and entries:
                yield batch_of(world.pretend, height, *entries)
        await asyncio.Future()

    async def watch(link: object, start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        async for decision in tell(start):
            yield decision

    world.link.watch = watch


async def test_entries_are_read_in_order_without_repetitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issue 7: watchers see positions in order without gaps; a repeated request counts once."""
    world = Appending(monkeypatch)
    one, two, three = (Entry(b"%d" % number, b"v") for number in range(3))
    watched(world, [one], [two, one], [three])

    async def positions(client: Client, count: int, **options: object) -> list[str]:
        found = []
        reading = client.watch_entries(TOPIC, **options)  # type: ignore[arg-type]
        async for entry in reading:
            found.append(f"{entry.position}{' void' if entry.is_void else ''}")
            if len(found) == count:
                break
        await reading.aclose()
        return found

    async with world.client as client:
        assert await positions(client, 3) == ["0.0", "1.0", "2.0"]
        assert await positions(client, 4, void=True) == ["0.0", "1.0", "1.1 void", "2.0"]
        assert await positions(client, 1, after=Position(1, 0)) == ["2.0"]


async def test_nobody_is_left_to_append_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every node lies the caller is told, and not left waiting."""
    world = Appending(monkeypatch)

    async def lies(node: PretendNode, entry: Entry) -> pb.AppendReply:
        return pb.AppendReply(height=1 << 63)

    world.stand = dict.fromkeys(range(4), lies)
    async with world.client as client:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the last node's lie becomes
            await client.append(TOPIC, b"v")
        with pytest.raises(NoNodeLeft):
            await client.append(TOPIC, b"v")
