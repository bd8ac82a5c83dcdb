"""Reading what is decided: one instance, a topic page by page, and how far a topic has come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from qbft.client.asking import Asking
from qbft.client.belief import Belief
from qbft.client.errors import BelowMark, ClientError, NoDecision, Undecided, Unknown
from qbft.client.hedging import Patience
from qbft.client.node import NodeLink
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.decision import Decision
from qbft.wire.v1 import decision_pb2 as pb

PAGE_DECISIONS = 256


class MoreWanted(ClientError):  # noqa: N818 - never leaves the client
    """One answer is not enough."""


class Reading:
    """Reads, and believes what is proven; what is not counts as said by so many."""

    def __init__(self, asking: Asking, patience: Patience) -> None:
        self._asking = asking
        self._patience = patience

    async def get(
        self,
        instance: InstanceId,
        *,
        quorum: bool = False,
        node: int | None = None,
        seconds: float | None = None,
    ) -> Decision:
        """Read a decision from one node, or with `quorum` from f+1, one of which is honest.

        Raises:
            ValueError: there is no such node.
            ClientError: see `Client.get`.
        """
        asking = self._asking
        enough = asking.roster.faulty + 1 if quorum else 1

        async def ask(link: NodeLink, seconds: float | None) -> Decision:
            reply = await link.get(instance, seconds)
            return decision_in(reply, asking.belief, link.node, instance)

        def judge(failures: Sequence[ClientError]) -> None:
            answers = [failure for failure in failures if isinstance(failure, NoDecision)]
            if len(answers) >= enough:
                raise _agreed(instance, answers)
            asking.refused(failures)

        return await asking.ask(
            f"reading {instance}",
            asking.order(instance, node),
            ask,
            seconds,
            width=enough,
            judge=judge,
            patience=self._patience,
            learns=node is None,
        )

    async def list_decisions(
        self, topic: str, from_height: int, node: int | None
    ) -> AsyncGenerator[Decision, None]:
        """Read a topic's decisions upwards, each page from the first that gives it, or that node.

        Raises:
            ValueError: topic, height or node is outside what there can be.
            ClientError: see `Client.get`.
        """
        start: InstanceId | None = InstanceId(topic, from_height)
        while start is not None:
            page, start = await self._page(start, node)
            for decision in page:
                yield decision

    async def _page(
        self, start: InstanceId, node: int | None
    ) -> tuple[list[Decision], InstanceId | None]:
        async def ask(
            link: NodeLink, seconds: float | None
        ) -> tuple[list[Decision], InstanceId | None]:
            return self._paged(
                link.node, start, await link.list_page(start, PAGE_DECISIONS, seconds)
            )

        return await self._asking.ask(
            f"listing {start.topic}",
            self._asking.order(start, node),
            ask,
            None,
            patience=self._patience,
        )

    def _paged(
        self, node: int, start: InstanceId, reply: pb.ListDecisionsReply
    ) -> tuple[list[Decision], InstanceId | None]:
        """A page, and where the next one begins, if there is one."""
        belief = self._asking.belief
        page = [belief.check(node, told) for told in reply.decisions]
        least = start.height
        for decision in page:
            instance = decision.instance
            if (
                not isinstance(instance, InstanceId)
                or instance.topic != start.topic
                or instance.height < least
            ):
                said = f"it gives {instance} where {start.topic}/{least} or later is due"
                raise belief.caught(node, said)
            least = instance.height + 1
        if not reply.HasField("next_height"):
            return page, None
        if not page or not least <= reply.next_height <= HEIGHT_MAX:
            raise belief.caught(node, "its pages do not go on")
        return page, InstanceId(start.topic, reply.next_height)

    async def next_height(self, topic: str, seconds: float | None) -> int:
        """How far an ordered topic has come, by so many nodes that it can be relied on.

        Of 2f+1 answers at most f are false. So the highest of the lowest f+1 is no higher than some
        honest answer, and no lower than another.

        Raises:
            ClientError: it cannot be learnt in time.
        """
        told: list[int] = []
        faulty = self._asking.roster.faulty

        async def ask(link: NodeLink, left: float | None) -> int:
            told.append(await link.next_height(topic, left))
            if len(told) <= 2 * faulty:
                raise MoreWanted("more answers are wanted")
            return sorted(told)[faulty]

        return await self._asking.ask(
            f"asking how far {topic} has come",
            self._asking.order(InstanceId(topic, 0)),
            ask,
            seconds,
            width=2 * faulty + 1,
            patience=self._patience,
        )


def decision_in(
    reply: pb.GetDecisionReply, belief: Belief, node: int, instance: InstanceId
) -> Decision:
    """The decision that a node gives of an instance, proven.

    Raises:
        NoDecision: it says that there is none.
        Lied: it proves nothing.
    """
    match reply.state:
        case pb.DECISION_STATE_DECIDED:
            return belief.check(node, reply.decision, instance)
        case pb.DECISION_STATE_UNDECIDED:
            raise Undecided(instance)
        case pb.DECISION_STATE_UNKNOWN:
            raise Unknown(instance)
        case pb.DECISION_STATE_BELOW_MARK:
            raise BelowMark(instance, reply.low_water_mark)
        case _:
            raise belief.caught(node, f"it gives {instance} the state {reply.state}")


def _agreed(instance: InstanceId, answers: Sequence[NoDecision]) -> NoDecision:
    """What several say there is instead; where they differ it counts as undecided.

    Of marks the lowest is told: an honest one's is no lower.
    """
    if len({type(answer) for answer in answers}) > 1:
        return Undecided(instance)
    marks = [answer.mark for answer in answers if isinstance(answer, BelowMark)]
    return BelowMark(instance, min(marks)) if marks else answers[0]
