"""The client: finds the leader, retries, hedges, and believes no node but by its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qbft.client.access import Access
from qbft.client.belief import Belief
from qbft.client.errors import (
    BelowMark,
    ClientError,
    DeadlineExceeded,
    NoDecision,
    NoNodeLeft,
    Refused,
    Unavailable,
    Undecided,
    Unknown,
)
from qbft.client.hedging import Ask, Judge, first_good
from qbft.client.node import NodeLink, instance_to_pb
from qbft.client.proposals import ProposalStream
from qbft.client.retrying import until_available
from qbft.client.status import NodeStatus, status_from_pb
from qbft.client.watching import Watch
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import sign_proposal
from qbft.crypto.roster import service_leader
from qbft.decision import Decision
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
HEDGE_MS = 500
STALL_SECONDS = 10.0
IN_FLIGHT_MAX = 256
PAGE_DECISIONS = 256
STATUS_SECONDS = 5.0


class Client:
    """Asks a cluster, while the `async with` block lasts; for use in one event loop.

        async with Client("mycluster/cluster.toml") as client:
            decision = await client.propose("prices/btc", 17, b"64123.50")

    Whatever it gives is verified. A node that tells what it cannot prove is asked nothing more by
    this client (`liars`). Timeouts are in seconds; None is the
    client's own, and where that is None too it waits for ever.

    Args:
        cluster: a cluster file's path, or its contents.
        access: the token or certificate that the operator asks of clients.
        proposer: the key that signs proposals, for topics that are not open to all.
        timeout: that of every call that is given none of its own.
        hedge_ms: after so much silence of a node one more is asked.

    Raises:
        ClusterError: the cluster file is not usable.
    """

    def __init__(
        self,
        cluster: Cluster | Path | str,
        *,
        access: Access | None = None,
        proposer: VoteKey | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        hedge_ms: int = HEDGE_MS,
    ) -> None:
        self.cluster = cluster if isinstance(cluster, Cluster) else Cluster.load(Path(cluster))
        self._access = access or Access()
        self._proposer = proposer
        self._timeout = timeout
        self._hedge_seconds = hedge_ms / 1000
        self._roster = self.cluster.roster
        self._leader = service_leader(self._roster)
        self._belief = Belief(self._roster)
        self._links: list[NodeLink] = []

    async def __aenter__(self) -> Self:
        """Prepare a channel to every node; none is connected before it is needed."""
        self._links = [
            NodeLink(node, validator, self._access)
            for node, validator in enumerate(self.cluster.validators)
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channels; calls that still run end."""
        links, self._links = self._links, []
        for link in links:
            await link.close()

    @property
    def liars(self) -> dict[int, str]:
        """The nodes that this client has caught, and at what (SCENARIOS G11)."""
        return self._belief.liars

    # --- proposing --------------------------------------------------------------------------------

    async def propose(
        self, topic: str, height: int, value: bytes, *, timeout: float | None = None
    ) -> Decision:
        """Have a value decided; gives what was decided, which may be another's (`Decision.own`).

        The leader of round 1 is asked first. Proposing the same again does no harm: after a failure
        that is the way to learn the outcome.

        Raises:
            ValueError: topic or height is outside what there can be.
            DeadlineExceeded: no decision came in time; there may still be one later.
            Refused: f+1 nodes will not do it (`Conflict`: for their clients proposed another
                value), so one of them is honest.
            NoNodeLeft: every node has lied.
        """
        return await self._propose(InstanceId(topic, height), value, timeout, NodeLink.propose)

    async def propose_many(
        self,
        proposals: Iterable[tuple[str, int, bytes]] | AsyncIterable[tuple[str, int, bytes]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        timeout: float | None = None,
    ) -> AsyncIterator[Decision]:
        """Have many values decided, so many at a time, over one stream to each node.

        Decisions come as they are made, in any order. The first failure, see `propose`, ends it
        all; `timeout` is that of each proposal.
        """
        streams = [ProposalStream(link) for link in self._links]

        async def through_stream(
            link: NodeLink, proposal: messages_pb2.Proposal, seconds: float | None
        ) -> messages_pb2.Decision:
            return await streams[link.node].propose(proposal)

        running: set[asyncio.Task[Decision]] = set()
        source = _iterate(proposals)
        try:
            async for topic, height, value in source:
                instance = InstanceId(topic, height)
                work = self._propose(instance, value, timeout, through_stream)
                running.add(asyncio.create_task(work))
                while len(running) >= in_flight:
                    for done in await _some_of(running):
                        yield done
            while running:
                for done in await _some_of(running):
                    yield done
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for stream in streams:
                await stream.close()

    async def _propose(
        self,
        instance: InstanceId,
        value: bytes,
        timeout: float | None,
        send: Callable[
            [NodeLink, messages_pb2.Proposal, float | None], Awaitable[messages_pb2.Decision | None]
        ],
    ) -> Decision:
        proposal = self._proposal(instance, value)

        async def ask(link: NodeLink, seconds: float | None) -> Decision:
            told = await send(link, proposal, seconds)
            return self._belief.check(link.node, told, instance, value)

        return await self._ask(
            f"proposing {instance}", self._order(instance), ask, timeout, judge=self._refused
        )

    def _proposal(self, instance: InstanceId, value: bytes) -> messages_pb2.Proposal:
        message = messages_pb2.Proposal(instance=instance_to_pb(instance), value=value)
        if self._proposer is not None:
            signed = sign_proposal(self._proposer, self._roster.cluster_id, instance, value)
            message.proposer, message.signature = signed.proposer, signed.signature
        return message

    # --- reading ----------------------------------------------------------------------------------

    async def get(
        self,
        topic: str,
        height: int,
        *,
        quorum: bool = False,
        node: int | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """Read a decision from one node, or with `quorum` from f+1, one of which is honest.

        A decision is beyond doubt whoever gave it; that there is none is only what was said. With
        `quorum` that is said by f+1 nodes, and where they differ the instance counts as undecided.
        `node` asks that node alone.

        Raises:
            ValueError: topic or height is outside what there can be.
            NoDecision: `Undecided`, `Unknown` or `BelowMark`.
            DeadlineExceeded: too few answers came in time.
            Refused: f+1 nodes will not answer.
            NoNodeLeft: every node has lied.
        """
        instance = InstanceId(topic, height)
        enough = self._roster.faulty + 1 if quorum else 1

        async def ask(link: NodeLink, seconds: float | None) -> Decision:
            return self._read(link.node, instance, await link.get(instance, seconds))

        def judge(failures: Sequence[ClientError]) -> None:
            answers = [failure for failure in failures if isinstance(failure, NoDecision)]
            if len(answers) >= enough:
                alike = len({type(answer) for answer in answers}) == 1
                raise answers[0] if alike else Undecided(instance)
            self._refused(failures)

        return await self._ask(
            f"reading {instance}",
            self._order(instance) if node is None else [node],
            ask,
            timeout,
            width=enough,
            judge=judge,
        )

    def _read(self, node: int, instance: InstanceId, reply: pb.GetDecisionReply) -> Decision:
        match reply.state:
            case pb.DECISION_STATE_DECIDED:
                return self._belief.check(node, reply.decision, instance)
            case pb.DECISION_STATE_UNDECIDED:
                raise Undecided(instance)
            case pb.DECISION_STATE_UNKNOWN:
                raise Unknown(instance)
            case pb.DECISION_STATE_BELOW_MARK:
                raise BelowMark(instance, reply.low_water_mark)
            case _:
                raise self._belief.caught(node, f"it gives {instance} the state {reply.state}")

    async def list_decisions(
        self, topic: str, from_height: int = 0, *, node: int | None = None
    ) -> AsyncIterator[Decision]:
        """Read a topic's decisions upwards, as far as one node has them; heights may be missing.

        Each decision is verified; that none is left out is not, for an honest node may lag as well.
        `node` asks that node alone; otherwise each page comes from the first that gives it.

        Raises:
            ValueError: topic or height is outside what there can be.
            ClientError: see `get`.
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
            reply = await link.list_page(start, PAGE_DECISIONS, seconds)
            page = [self._belief.check(link.node, told) for told in reply.decisions]
            least = start.height
            for decision in page:
                instance = decision.instance
                if (
                    not isinstance(instance, InstanceId)
                    or instance.topic != start.topic
                    or instance.height < least
                ):
                    said = f"it gives {instance} where {start.topic}/{least} or later is due"
                    raise self._belief.caught(link.node, said)
                least = instance.height + 1
            if not reply.HasField("next_height"):
                return page, None
            if not page or not least <= reply.next_height <= HEIGHT_MAX:
                raise self._belief.caught(link.node, "its pages do not go on")
            return page, InstanceId(start.topic, reply.next_height)

        nodes = self._order(start) if node is None else [node]
        return await self._ask(f"listing {start.topic}", nodes, ask, None, judge=self._refused)

    async def watch(
        self,
        topic: str,
        from_height: int = 0,
        *,
        node: int | None = None,
        stall: float = STALL_SECONDS,
    ) -> AsyncIterator[Decision]:
        """Follow a topic height by height, without gaps, for ever (SCENARIOS G14).

        A stream that breaks is taken up at the next height, at another node. One that gives nothing
        for `stall` seconds is too: perhaps there is nothing, perhaps the node lags or is silent.
        `node` keeps to that node.

        Raises:
            ValueError: topic or height is outside what there can be.
            Refused: f+1 nodes in a row will not (below the mark, no token), or the one asked for.
            NoNodeLeft: every node has lied.
        """
        following = InstanceId(topic, from_height)
        nodes = self._order(following) if node is None else [node]

        def check(teller: int, told: messages_pb2.Decision) -> Decision:
            return self._belief.check(teller, told, following)

        watch = Watch(
            lambda: self._believed(nodes),
            lambda link: link.watch(following),
            check,
            refusals_max=self._roster.faulty if node is None else 0,
            stall=stall,
        )
        try:
            while True:
                yield await watch.next()
                if following.height == HEIGHT_MAX:
                    return
                following = InstanceId(topic, following.height + 1)
        finally:
            await watch.close()

    async def watch_all(
        self, node: int, cursor: bytes = b""
    ) -> AsyncIterator[tuple[Decision, bytes]]:
        """Follow all decisions in one node's own order; each comes with the cursor to go on from.

        A stream that breaks is taken up where it was. The order, and that none is left out, is that
        node's word.

        Raises:
            Refused: the cursor is another node's, or beyond what it has or keeps.
            NoNodeLeft: the node has lied.
        """

        def check(teller: int, told: pb.WatchAllReply) -> tuple[Decision, bytes]:
            return self._belief.check(teller, told.decision), told.cursor

        watch = Watch(
            lambda: self._believed([node]),
            lambda link: link.watch_all(cursor),
            check,
            refusals_max=0,
            stall=None,
        )
        try:
            while True:
                decision, cursor = await watch.next()
                yield decision, cursor
        finally:
            await watch.close()

    async def status(self, timeout: float = STATUS_SECONDS) -> dict[int, NodeStatus | ClientError]:
        """Ask every node how it is: its account, or why there is none. Nothing of it is proven."""

        async def ask(link: NodeLink) -> NodeStatus | ClientError:
            try:
                return status_from_pb(await link.status(timeout))
            except ClientError as failure:
                return failure

        accounts = await asyncio.gather(*map(ask, self._links))
        return dict(enumerate(accounts))

    # --- whom to ask ------------------------------------------------------------------------------

    async def _ask(
        self,
        what: str,
        nodes: Sequence[int],
        call: Callable[[NodeLink, float | None], Awaitable[T]],
        timeout: float | None,
        *,
        judge: Judge,
        width: int = 1,
    ) -> T:
        """Ask these nodes, hedged and retried, until the deadline."""
        seconds = self._timeout if timeout is None else timeout
        failures: dict[int, ClientError] = {}

        def asking(link: NodeLink) -> Ask[T]:
            async def ask(stumble: Callable[[], None]) -> T:
                def stumbled(failure: Unavailable) -> None:
                    if link.node not in failures:
                        stumble()
                    failures[link.node] = failure

                async def try_once() -> T:
                    return await call(link, _seconds_until(deadline.when()))

                return await until_available(try_once, stumbled)

            return ask

        links = self._believed(nodes)
        try:
            async with asyncio.timeout(seconds) as deadline:
                asks = [asking(link) for link in links]
                return await first_good(asks, delay=self._hedge_seconds, width=width, judge=judge)
        except TimeoutError:
            raise DeadlineExceeded(what, seconds or 0.0, failures) from None

    def _order(self, instance: InstanceId) -> list[int]:
        """All nodes, from the leader of round 1 on: in the order in which they lead."""
        nodes = self._roster.nodes
        return [self._leader(instance, round_) for round_ in range(1, nodes + 1)]

    def _believed(self, nodes: Sequence[int]) -> list[NodeLink]:
        """The links to those nodes that have not lied.

        Raises:
            Unavailable: none is left.
        """
        if not self._links:
            raise ClientError("the client is not open: use it in `async with`")
        links = [self._links[node] for node in nodes if self._belief.believes(node)]
        if not links:
            reasons = "; ".join(f"node {node}: {self.liars[node]}" for node in nodes)
            raise NoNodeLeft(f"no node is left that did not lie ({reasons})")
        return links

    def _refused(self, failures: Sequence[ClientError]) -> None:
        """More nodes refuse than can be faulty: then an honest one does."""
        refusals = [failure for failure in failures if isinstance(failure, Refused)]
        if len(refusals) > self._roster.faulty:
            raise refusals[0]


def _seconds_until(when: float | None) -> float | None:
    return None if when is None else max(0.0, when - asyncio.get_running_loop().time())


async def _iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _some_of(running: set[asyncio.Task[T]]) -> list[T]:
    """Wait until some have ended, take them out, and give what they gave."""
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running -= done
    return [task.result() for task in done]
