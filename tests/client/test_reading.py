"""Reading decisions: what there is instead of one, quorum reads and pages (SCENARIOS, group G)."""

from __future__ import annotations

import pytest
from client_parts import INSTANCE
from pretend_cluster import TOPIC, gives, has_none, is_silent, pretend_cluster

from qbft.client import BelowMark, DeadlineExceeded, NoDecision, Undecided, Unknown
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

pytestmark = pytest.mark.real_clock

UNDECIDED = pb.DECISION_STATE_UNDECIDED
UNKNOWN = pb.DECISION_STATE_UNKNOWN
BELOW = pb.DECISION_STATE_BELOW_MARK


@pytest.mark.parametrize(
    ("state", "told"), [(UNDECIDED, Undecided), (UNKNOWN, Unknown), (BELOW, BelowMark)]
)
async def test_what_there_is_instead_of_a_decision(
    state: pb.DecisionState, told: type[NoDecision]
) -> None:
    """SCENARIOS G8, G9: undecided here, never heard of, deleted: three different answers."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        for node in pretend.nodes:
            node.read = has_none(state)
        with pytest.raises(told) as answer:
            await client.get(TOPIC, 17)
        assert answer.value.instance == INSTANCE
        assert sum(len(node.calls) for node in pretend.nodes) == 1


async def test_an_unknown_state_is_a_lie() -> None:
    """A state that the schema does not have cannot be an honest node's."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(INSTANCE)[0]
        first.read = has_none(pb.DECISION_STATE_UNSPECIFIED)
        assert (await client.get(TOPIC, 17)).value == b"value"
        assert list(client.liars) == [first.index]


async def test_a_quorum_read_asks_f_plus_one() -> None:
    """Issue 2: quorum=True asks f+1; a decision wins, however late it comes among them."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        first, second, *others = pretend.order(INSTANCE)
        first.read = has_none(UNKNOWN)
        assert (await client.get(TOPIC, 17, quorum=True)).value == b"value"
        assert second.calls
        for state, told in ((UNKNOWN, Unknown), (UNDECIDED, Undecided)):
            for node in (second, *others):  # whoever is asked, were one to be slow to answer
                node.read = has_none(state)
            with pytest.raises(told):
                await client.get(TOPIC, 17, quorum=True)


async def test_a_quorum_read_replaces_who_does_not_answer() -> None:
    """A node that lies or is away is no answer: another is asked in its place."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        first, second, third, fourth = pretend.order(INSTANCE)
        first.read = gives(pretend.decision(INSTANCE, b"x", sources=[0]))
        await pretend.stop(second.index)
        third.read = has_none(UNKNOWN)
        fourth.read = has_none(UNKNOWN)
        with pytest.raises(Unknown):
            await client.get(TOPIC, 17, quorum=True)
        assert list(client.liars) == [first.index]
        fourth.read = is_silent
        with pytest.raises(DeadlineExceeded):
            await client.get(TOPIC, 17, quorum=True, timeout=0.3)


async def test_pages_of_a_topic() -> None:
    """Decisions upwards, page after page, each verified; gaps are allowed."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        at = [pretend.decision(InstanceId(TOPIC, height), b"x") for height in (3, 4, 9)]
        pretend.nodes[0].pages = [
            pb.ListDecisionsReply(decisions=at[:2], next_height=9),
            pb.ListDecisionsReply(decisions=at[2:]),
        ]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC, 2)]
        assert heights == [3, 4, 9]
        asked = [instance.height for _, instance in pretend.nodes[0].calls]
        assert asked == [2, 9]


async def test_pages_end_at_the_last_height_there_can_be() -> None:
    """DESIGN section 4: heights go to 2^63-1; nothing comes after that one."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        last = pretend.decision(InstanceId(TOPIC, HEIGHT_MAX), b"x")
        first = pretend.decision(InstanceId(TOPIC, 5), b"x")
        pretend.nodes[0].pages = [
            pb.ListDecisionsReply(decisions=[first], next_height=HEIGHT_MAX),
            pb.ListDecisionsReply(decisions=[last]),
        ]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC, 5)]
        assert heights == [5, HEIGHT_MAX]
        assert client.liars == {}


PAGE_LIES = (
    "backwards",
    "another topic",
    "stands still",
    "empty page",
    "beyond the last height",
    "after the last height",
)


@pytest.mark.parametrize("lie", PAGE_LIES)
async def test_pages_that_cannot_be_are_lies(lie: str) -> None:
    """A liar could otherwise repeat itself for ever; the next node gives the page."""
    async with pretend_cluster() as pretend, pretend.client() as client:

        def told(*heights: int, topic: str = TOPIC) -> list[messages_pb2.Decision]:
            return [pretend.decision(InstanceId(topic, height), b"x") for height in heights]

        pages = {
            "backwards": pb.ListDecisionsReply(decisions=told(5, 4)),
            "another topic": pb.ListDecisionsReply(decisions=told(5, topic="other")),
            "stands still": pb.ListDecisionsReply(decisions=told(5), next_height=5),
            "empty page": pb.ListDecisionsReply(next_height=8),
            "beyond the last height": pb.ListDecisionsReply(
                decisions=told(5), next_height=HEIGHT_MAX + 1
            ),
            "after the last height": pb.ListDecisionsReply(
                decisions=told(HEIGHT_MAX), next_height=HEIGHT_MAX
            ),
        }
        first, second, *_ = pretend.order(InstanceId(TOPIC, 0))
        first.pages = [pages[lie]]
        second.pages = [pb.ListDecisionsReply(decisions=told(1))]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC)]
        assert heights == [1]
        assert list(client.liars) == [first.index]
