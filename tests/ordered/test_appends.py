"""Appending to ordered topics: batches, races, retries, cancelled calls (docs/adr/017)."""

from __future__ import annotations

import asyncio
import random

import pytest
from pretend_agreement import TOPIC, Lots, log_of, running

from qbft.core import InstanceId
from qbft.crypto.entries import BATCH_ENTRIES_MAX, WINDOW_HEIGHTS, Entry, encode_batch
from qbft.crypto.proposal import Proposal
from qbft.crypto.seal import NEVER
from qbft.errors import Busy, JournalError, OtherEpoch
from qbft.ordered import Appended, Position
from qbft_server.ordered import appends as appends_module
from qbft_server.ordered import queue as queue_module
from qbft_server.ordered.appends import Appends
from qbft_server.ordered.queue import BATCH_BYTES_AIM, LostTooOften, NotStanding, RequestIdUsed


def entry(name: int, value: bytes = b"v") -> Entry:
    """The entry of that request id."""
    return Entry(b"%d" % name, value)


async def test_many_appends_share_a_height() -> None:
    """Issue 7: batching; the first goes at once, what comes meanwhile shares the next heights."""
    lots = Lots()
    (node,) = lots.nodes
    async with running(node.appends):
        told = await asyncio.gather(*(node.appends.append(TOPIC, entry(n)) for n in range(200)))
    assert [each.position for each in told] == sorted({each.position for each in told})
    assert {each.position.height for each in told} == {0, 1}
    assert max(each.position.index for each in told) == BATCH_ENTRIES_MAX - 1
    for number, each in enumerate(told):
        assert (each.request_id, each.decision.instance) == (
            b"%d" % number,
            InstanceId(TOPIC, each.position.height),
        )


async def test_a_batch_is_bounded_in_bytes() -> None:
    """DESIGN, values: above 64 KiB they travel later than votes; a large entry goes alone."""
    lots = Lots()
    (node,) = lots.nodes
    sizes = [30_000, 30_000, 30_000, 200_000, 10]
    async with running(node.appends):
        told = await asyncio.gather(
            *(node.appends.append(TOPIC, entry(n, bytes(size))) for n, size in enumerate(sizes))
        )
    assert [str(each.position) for each in told] == ["0.0", "0.1", "1.0", "2.0", "3.0"]
    small = [len(each.value) for each in node.proposed if len(each.value) < 200_000]
    assert max(small) <= BATCH_BYTES_AIM


async def test_a_batch_is_no_longer_than_a_value_may_be() -> None:
    """An operator may allow less than a batch aims at: peers would refuse it for ever."""
    lots = Lots(value_bytes_max=32_768)
    (node,) = lots.nodes
    async with running(node.appends):
        await asyncio.gather(
            *(node.appends.append(TOPIC, entry(n, bytes(20_000))) for n in range(4))
        )
    assert len(node.proposed) == 4
    assert max(len(each.value) for each in node.proposed) <= 32_768


@pytest.mark.parametrize("seed", range(8))
async def test_nodes_race_and_nothing_is_lost_or_doubled(seed: int) -> None:
    """Issue 7: what loses a height is proposed again; what clients send to two nodes lands once.

    Some calls are cancelled, some retried at another node with the same request id, as after a
    crash. At the end everyone who was told a position finds the entry there, counting.
    """
    lots = Lots(seed, nodes=4)
    draw = random.Random(seed)

    async def client(number: int) -> Appended:
        while True:
            node = draw.choice(lots.nodes)
            try:
                async with asyncio.timeout(draw.choice([0.005, 0.05, 5])):
                    return await node.appends.append(TOPIC, entry(number))
            except TimeoutError:
                continue

    async with running(*(node.appends for node in lots.nodes)), asyncio.TaskGroup() as tasks:
        calls = []
        for number in range(120):
            calls.append(tasks.create_task(client(number)))
            await asyncio.sleep(draw.choice([0, 0, 0.002]))
    await asyncio.sleep(1)  # all nodes learn the last heights
    logs = [log_of(node) for node in lots.nodes]
    assert all(log == logs[0] for log in logs)
    assert sorted(logs[0], key=lambda each: int(each.request_id)) == [entry(n) for n in range(120)]
    told = [call.result() for call in calls]
    assert len({each.position for each in told}) == 120
    in_order = sorted(told, key=lambda each: each.position)
    assert [each.entry for each in in_order] == logs[0]
    assert sum(node.appends.heights_lost for node in lots.nodes) > 0


async def test_a_retry_is_told_where_it_stands() -> None:
    """Issue 7: the same request id at another node, later: the same position, nothing new."""
    lots = Lots(nodes=2)
    one, other = lots.nodes
    async with running(one.appends, other.appends):
        first = await one.appends.append(TOPIC, entry(1))
        await other.wait_for(InstanceId(TOPIC, 0))
        again = await other.appends.append(TOPIC, entry(1))
        assert (again.position, other.proposed) == (first.position, [])
        with pytest.raises(RequestIdUsed, match=r"stands at 0\.0"):
            await other.appends.append(TOPIC, entry(1, b"another value"))
        assert (await other.appends.append(TOPIC, entry(2))).position == Position(1, 0)


async def test_two_calls_for_one_entry_share_it() -> None:
    """A client that sends again over another connection waits beside its first call."""
    lots = Lots()
    (node,) = lots.nodes
    async with running(node.appends), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(node.appends.append(TOPIC, entry(1)))
        second = tasks.create_task(node.appends.append(TOPIC, entry(1)))
        await asyncio.sleep(0)
        with pytest.raises(RequestIdUsed):
            await node.appends.append(TOPIC, entry(1, b"another"))
    assert first.result().position == second.result().position == Position(0, 0)


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    """DESIGN, async: what nobody waits for is proposed no more, and no task goes on."""
    lots = Lots()
    lots.holds = True
    (node,) = lots.nodes
    async with running(node.appends):
        before = len(asyncio.all_tasks())
        calls = [asyncio.ensure_future(node.appends.append(TOPIC, entry(n))) for n in range(3)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == before
        lots.holds = False
        assert (await node.appends.append(TOPIC, entry(7))).position == Position(1, 0)
    assert log_of(node) == [entry(0), entry(1), entry(2), entry(7)], "what was under way still was"


async def test_what_an_earlier_life_proposed_comes_first() -> None:
    """A restarted node is bound to its journaled proposal of the open height, and waits for it."""
    lots = Lots()
    (node,) = lots.nodes
    node.own[InstanceId(TOPIC, 0)] = b"the digest of its proposal"
    async with running(node.appends), asyncio.TaskGroup() as tasks:
        call = tasks.create_task(node.appends.append(TOPIC, entry(1)))
        await asyncio.sleep(1)
        lots.put(0, encode_batch([entry(0), entry(1)]))
    assert call.result().position == Position(0, 1)


async def test_a_topic_is_taken_up_where_it_is() -> None:
    """A node that has just started reads the last heights, and no more: the mark is no hindrance.

    What stands there in front of the window, or was no batch, is nobody's repetition.
    """
    lots = Lots()
    (node,) = lots.nodes
    lots.put(0, encode_batch([entry(1)]))
    for height in range(1, WINDOW_HEIGHTS + 10):
        lots.put(height, b"decided before the topic was ordered")
    lots.put(WINDOW_HEIGHTS + 10, encode_batch([entry(2)]))
    node.mark = 5
    async with running(node.appends):
        assert (await node.appends.append(TOPIC, entry(2))).position == Position(1_034, 0)
        assert (await node.appends.append(TOPIC, entry(1))).position == Position(1_035, 0)
        assert await node.appends.next_height(TOPIC) == 1_036


async def test_what_was_signed_for_other_heights_is_refused() -> None:
    """docs/adr/017: too late, or too early; whoever signed it is told how far the topic is."""
    lots = Lots()
    (node,) = lots.nodes
    lots.put(0, encode_batch([entry(0)]))
    late, early, good = (
        Entry(b"x", b"v", b"a" * 32, b"s" * 64, until) for until in (1, WINDOW_HEIGHTS + 2, 2)
    )
    async with running(node.appends):
        for bad in (late, early):
            with pytest.raises(NotStanding, match="the topic is at 1"):
                await node.appends.append(TOPIC, bad)
        assert (await node.appends.append(TOPIC, good)).position == Position(1, 0)


async def test_a_node_that_cannot_propose_says_so() -> None:
    """Whoever waits is told, and goes to another node; a busy replica is only waited for."""
    lots = Lots()
    (node,) = lots.nodes
    async with running(node.appends), asyncio.TaskGroup() as tasks:
        node.refusal = JournalError("gone")
        with pytest.raises(JournalError, match="gone"):
            await node.appends.append(TOPIC, entry(1))
        node.refusal = Busy("full", 100)
        call = tasks.create_task(node.appends.append(TOPIC, entry(1)))
        await asyncio.sleep(1)
        node.refusal = None
    assert call.result().position == Position(0, 0)


async def test_a_topic_of_another_epoch_is_refused() -> None:
    """docs/adr/013: a seal may leave a topic to the epoch before for good."""
    (node,) = Lots().nodes
    appends = Appends(
        node, node, wake=lambda: None, first_height=lambda topic: NEVER, value_bytes_max=1 << 20
    )
    async with running(appends):
        with pytest.raises(OtherEpoch):
            await appends.append(TOPIC, entry(1))
        with pytest.raises(OtherEpoch):
            await appends.next_height(TOPIC)


@pytest.mark.bites("losses_max")
async def test_who_always_loses_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 7: retries are bounded."""
    monkeypatch.setattr(queue_module, "LOSSES_MAX", 3)
    lots = Lots()
    (node,) = lots.nodes
    heights = iter(range(10))
    wait = node._wait

    def lose(instance: InstanceId) -> asyncio.Future[object]:
        lots.put(next(heights), encode_batch([entry(99 + instance.height)]))
        return wait(instance)

    monkeypatch.setattr(node, "_wait", lose)
    async with running(node.appends):
        with pytest.raises(LostTooOften):
            await node.appends.append(TOPIC, entry(1))
    assert node.appends.heights_lost == 3


async def test_a_leader_proposes_what_waits_before_what_others_propose() -> None:
    """docs/adr/017: one that is always the first to propose cannot keep others' entries out.

    For so many heights ahead at most, or whoever opens many would have it said as often.
    """
    lots = Lots()
    (node,) = lots.nodes
    later = [InstanceId(TOPIC, height) for height in range(9)]
    assert node.appends.own_input(later[0]) is None, "nothing waits"
    lots.holds = True
    async with running(node.appends):
        calls = [asyncio.ensure_future(node.appends.append(TOPIC, entry(n))) for n in range(2)]
        await asyncio.sleep(0.1)
        own = [node.appends.own_input(instance) for instance in later]
        assert [each is not None for each in own] == [True] * 4 + [False] * 5
        assert own[3] == Proposal(later[3], encode_batch([entry(0), entry(1)]))
        assert node.appends.own_input(InstanceId("log/other", 0)) is None
        lots.holds = False
        await asyncio.gather(*calls)
        assert node.appends.own_input(later[8]) is None, "nothing waits any more"


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        pytest.param("REMEMBERED_IDS_MAX", 3, marks=pytest.mark.bites("remembered_ids_max")),
        pytest.param("REMEMBERED_TOPICS_MAX", 1, marks=pytest.mark.bites("remembered_topics_max")),
    ],
)
async def test_topics_are_remembered_in_bounds(
    bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN, bounds: idle topics are forgotten; when none is idle further ones are refused."""
    monkeypatch.setattr(appends_module, bound, value)
    lots = Lots()
    (node,) = lots.nodes
    async with running(node.appends):
        for number in range(6):
            await node.appends.append(f"log/{number}", entry(number))
        assert len(node.appends._logs) <= 3
        await asyncio.gather(*(node.appends.append("log/0", entry(n)) for n in range(10, 13)))
        lots.holds = True
        call = asyncio.ensure_future(node.appends.append("log/0", entry(20)))
        await asyncio.sleep(0.1)
        with pytest.raises(Busy):
            await node.appends.append("log/1", entry(1))
        lots.holds = False
        await call
