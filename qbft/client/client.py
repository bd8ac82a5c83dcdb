"""The client: finds the leader, retries, hedges, and believes no node but by its certificate."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qbft.client.access import Access
from qbft.client.appending import (
    REQUEST_ID_BYTES,
    SIGNINGS_MAX,
    Batches,
    Preference,
    Signing,
    appended_at,
    enough_told,
    is_signed_for_other_heights,
    log_entries,
    position_in,
)
from qbft.client.belief import Belief
from qbft.client.errors import (
    BelowMark,
    ClientError,
    DeadlineExceeded,
    Lied,
    NoDecision,
    NoNodeLeft,
    Refused,
    Unavailable,
    Undecided,
    Unknown,
    refused_by,
)
from qbft.client.hedging import Ask, Judge, Patience, first_good
from qbft.client.in_flight import as_they_end
from qbft.client.node import NodeLink, instance_to_pb
from qbft.client.proposals import ProposalStream
from qbft.client.retrying import until_available
from qbft.client.status import NodeStatus, status_from_pb
from qbft.client.watching import Watch
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.entries import REQUEST_ID_BYTES_MAX, Entry
from qbft.crypto.evidence import Evidence
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import sign_proposal
from qbft.crypto.roster import service_leader
from qbft.decision import Decision
from qbft.diagnosis import Diagnosis, NodeAccount, deciders, diagnose
from qbft.errors import QbftError
from qbft.ordered import Appended, LogEntry, Position, Window
from qbft.replay.capture import own_record
from qbft.replay.record import InstanceRecord
from qbft.wire.accounts import account_from_pb
from qbft.wire.entries import entry_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
HEDGE_MS = 500
STALL_SECONDS = 10.0
IN_FLIGHT_MAX = 256
PAGE_DECISIONS = 256
STATUS_SECONDS = 5.0
EVIDENCE_MAX = 4_096
"""Records of evidence that are read of one node: twice what the largest cluster's nodes keep."""
HEIGHTS_TOPICS_MAX = 1 << 20
"""Topics that are taken from one node, which may be a liar and go on for ever."""


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
        hedge_ms: after so much silence of a node one more is asked, and under load after twice the
            time that answers usually take; but always so soon that f+1 are asked before the
            deadline. With 0 all are asked at once.

    Raises:
        ClusterError: the cluster file is not usable.
        ValueError: `hedge_ms` is negative.
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
        if hedge_ms < 0:
            raise ValueError(f"hedge_ms = {hedge_ms}: allowed is 0 or more")
        self.cluster = cluster if isinstance(cluster, Cluster) else Cluster.load(Path(cluster))
        self._access = access or Access()
        self._proposer = proposer
        self._timeout = timeout
        self._proposing = Patience(hedge_ms / 1000)
        self._reading = Patience(hedge_ms / 1000)
        self._roster = self.cluster.roster
        self._leader = service_leader(self._roster)
        self._belief = Belief(self._roster)
        self._appending = Patience(hedge_ms / 1000)
        self._preference = Preference()
        self._batches = Batches(self._batch)
        self._signing = (
            None
            if proposer is None
            else Signing(proposer, self._roster.cluster_id, self._next_height)
        )
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
        """Close the channels; calls that still run fail, as `Closed`."""
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

        Decisions come as they are made, in any order, whether or not `proposals` goes on: it is
        read, in a task of its own, as long as fewer than `in_flight` are on their way, and closed
        at the end. The first failure, see `propose`, ends it all, after the decisions that are
        there; `timeout` is that of each proposal.

        Raises:
            ValueError: `in_flight` is less than 1.
            ClientError: see `propose`.
        """
        streams = [ProposalStream(link) for link in self._links]

        async def through_stream(
            link: NodeLink, proposal: messages_pb2.Proposal, seconds: float | None
        ) -> messages_pb2.Decision:
            return await streams[link.node].propose(proposal)

        async def decided(proposal: tuple[str, int, bytes]) -> Decision:
            topic, height, value = proposal
            return await self._propose(InstanceId(topic, height), value, timeout, through_stream)

        try:
            async with aclosing(as_they_end(proposals, decided, in_flight=in_flight)) as decisions:
                async for decision in decisions:
                    yield decision
        finally:
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
            f"proposing {instance}",
            self._order(instance),
            ask,
            timeout,
            judge=self._refused,
            patience=self._proposing,
            learns=True,
        )

    def _proposal(self, instance: InstanceId, value: bytes) -> messages_pb2.Proposal:
        message = messages_pb2.Proposal(instance=instance_to_pb(instance), value=value)
        if self._proposer is not None:
            signed = sign_proposal(self._proposer, self._roster.cluster_id, instance, value)
            message.proposer, message.signature = signed.proposer, signed.signature
        return message

    # --- ordered topics ---------------------------------------------------------------------------

    async def append(
        self,
        topic: str,
        value: bytes,
        request_id: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> Appended:
        """Put a value at the next free position of an ordered topic; gives where it stands.

        `request_id` is the caller's name for it, 1 to 64 bytes, made up where it is left out. After
        a failure the same call with the same request id does no harm: it lands once, if the second
        call comes less than 1,024 heights after the first. That the entry stands there is proven;
        that it repeats no earlier one is what the node said, and `watch_entries` tells for sure.

        Raises:
            ValueError: the topic or the request id is none.
            DeadlineExceeded: no answer came in time; it may still land.
            Refused: f+1 nodes will not do it (`Conflict`: the request id stands for another value).
            NoNodeLeft: every node has lied.
        """
        where = InstanceId(topic, 0)
        if request_id is None:
            request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        if not 1 <= len(request_id) <= REQUEST_ID_BYTES_MAX:
            raise ValueError(f"a request id has 1 to {REQUEST_ID_BYTES_MAX} bytes")
        seconds = self._timeout if timeout is None else timeout
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds
        if self._signing is None:
            return await self._append(where, Entry(request_id, value), seconds)
        signings = 0
        while True:
            signings += 1
            entry = await self._signing.sign(topic, request_id, value, _seconds_until(when))
            try:
                appended = await self._append(where, entry, _seconds_until(when))
            except Refused as refusal:
                if signings == SIGNINGS_MAX or not is_signed_for_other_heights(refusal):
                    raise
                self._signing.forget(topic)
            else:
                self._signing.note(topic, appended.position.height)
                return appended

    async def _append(self, where: InstanceId, entry: Entry, timeout: float | None) -> Appended:
        topic, message = where.topic, entry_to_pb(entry)
        usual = self._order(where)

        async def ask(link: NodeLink, seconds: float | None) -> Appended:
            reply = await link.append(topic, message, seconds)
            position = position_in(self._belief, link.node, reply)
            instance = InstanceId(topic, position.height)
            if reply.HasField("decision"):
                decision = self._belief.check(link.node, reply.decision, instance)
            else:
                decision = await self._batches.get(instance, link.node)
            appended = appended_at(self._belief, link.node, position, entry, decision)
            self._preference.answered(link, usual)
            return appended

        return await self._ask(
            f"appending to {topic}",
            self._preference.order(usual),
            ask,
            timeout,
            judge=self._refused,
            patience=self._appending,
            learns=True,
        )

    async def _batch(self, instance: InstanceId, node: int) -> Decision:
        return await self.get(instance.topic, instance.height, node=node)

    async def _next_height(self, topic: str, seconds: float | None) -> int:
        """How far an ordered topic has come, by so many nodes that it can be relied on."""
        told: list[int] = []
        faulty = self._roster.faulty

        async def ask(link: NodeLink, left: float | None) -> int:
            return enough_told(told, await link.next_height(topic, left), faulty)

        return await self._ask(
            f"asking how far {topic} has come",
            self._order(InstanceId(topic, 0)),
            ask,
            seconds,
            width=2 * faulty + 1,
            judge=self._refused,
            patience=self._reading,
        )

    async def watch_entries(
        self,
        topic: str,
        after: Position | None = None,
        *,
        void: bool = False,
        node: int | None = None,
        stall: float = STALL_SECONDS,
    ) -> AsyncGenerator[LogEntry, None]:
        """Follow an ordered topic, entry by entry, without gaps, for ever; every reader gets alike.

        It begins after a position, or where the topic does. With `void`, entries are given too that
        repeat an earlier one, and count for nothing. What counts depends on the 1,023 heights
        before: they are read as well, and have to be kept. `node` and `stall` are as in `watch`.

        Raises:
            ValueError: topic or node is outside what there can be.
            Refused: f+1 nodes in a row will not (it begins below what is kept, no token).
            NoNodeLeft: every node has lied.
        """
        first = self.cluster.first_height(topic)
        begin = Window.begin(first if after is None else after.height, first)
        watching = aclosing(self.watch(topic, begin, node=node, stall=stall))
        async with (
            watching as decisions,
            aclosing(log_entries(decisions, begin, after, void=void)) as entries,
        ):
            async for entry in entries:
                yield entry

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
        `quorum` that is said by f+1 nodes, and where they differ the instance counts as undecided,
        and the lowest of their marks is told: an honest one's is no lower.
        `node` asks that node alone.

        Raises:
            ValueError: topic, height or node is outside what there can be.
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
                marks = [answer.mark for answer in answers if isinstance(answer, BelowMark)]
                if alike and marks:
                    raise BelowMark(instance, min(marks))
                raise answers[0] if alike else Undecided(instance)
            self._refused(failures)

        return await self._ask(
            f"reading {instance}",
            self._order(instance, node),
            ask,
            timeout,
            width=enough,
            judge=judge,
            patience=self._reading,
            learns=node is None,
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
            ValueError: topic, height or node is outside what there can be.
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

        nodes = self._order(start, node)
        return await self._ask(
            f"listing {start.topic}",
            nodes,
            ask,
            None,
            judge=self._refused,
            patience=self._reading,
        )

    async def watch(
        self,
        topic: str,
        from_height: int = 0,
        *,
        node: int | None = None,
        stall: float = STALL_SECONDS,
    ) -> AsyncGenerator[Decision, None]:
        """Follow a topic height by height, without gaps, for ever (SCENARIOS G14).

        A stream that breaks is taken up at the next height, at another node. One that gives nothing
        for `stall` seconds is too: perhaps there is nothing, perhaps the node lags or is silent.
        `node` keeps to that node.

        Raises:
            ValueError: topic, height or node is outside what there can be.
            Refused: f+1 nodes in a row will not (below the mark, no token), or the one asked for.
            NoNodeLeft: every node has lied.
        """
        following = InstanceId(topic, from_height)
        nodes = self._order(following, node)

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
            ValueError: there is no such node.
            Refused: the cursor is another node's, or beyond what it has or keeps.
            NoNodeLeft: the node has lied.
        """
        nodes = [self._known(node)]

        def check(teller: int, told: pb.WatchAllReply) -> tuple[Decision, bytes]:
            return self._belief.check(teller, told.decision), told.cursor

        watch = Watch(
            lambda: self._believed(nodes),
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
        now = asyncio.get_running_loop().time

        async def ask(link: NodeLink) -> NodeStatus | ClientError:
            asked_s = now()
            try:
                return status_from_pb(await link.status(timeout), asked_s, now())
            except ClientError as failure:
                return failure

        accounts = await asyncio.gather(*map(ask, self._links))
        return dict(enumerate(accounts))

    async def diagnose(
        self,
        instance: InstanceId,
        timeout: float = STATUS_SECONDS,
        known: Mapping[int, NodeAccount] | None = None,
    ) -> Diagnosis:
        """Ask every node how it stands in an instance, and say why it is not decided.

        `known` are accounts of nodes that need not be asked. A faulty node may say what it likes,
        but that it is decided: that is believed of F+1, or of a certificate.
        """
        nodes = self._roster.nodes
        told: dict[int, NodeAccount | str] = dict(known or {})
        unwilling: dict[int, str] = {}

        async def ask(link: NodeLink) -> None:
            try:
                reply = await link.inspect(instance, timeout)
                told[link.node] = account_from_pb(reply, instance, link.node, nodes)
            except Refused as refusal:
                unwilling[link.node] = str(refusal)
            except (ClientError, ValueError) as failure:
                told[link.node] = str(failure)

        await asyncio.gather(*(ask(link) for link in self._links if link.node not in told))
        is_proven = await self._has_proof(instance, deciders(told), timeout)
        return diagnose(instance, told, nodes, unwilling, is_proven=is_proven)

    async def _has_proof(self, instance: InstanceId, nodes: Sequence[int], timeout: float) -> bool:
        """Whether one of F nodes that say that an instance is decided shows it; more need not."""
        for node in nodes if len(nodes) <= self._roster.faulty else ():
            try:
                self._read(node, instance, await self._links[node].get(instance, timeout))
            except ClientError:
                continue
            return True
        return False

    async def capture(
        self, instance: InstanceId, timeout: float = STATUS_SECONDS, *, node: int | None = None
    ) -> dict[int, InstanceRecord | QbftError | None]:
        """Ask every node, or this one, for what it recorded of an instance; None: it has nothing.

        Nothing of it is proven: a faulty node may say what it likes.
        """

        async def ask(link: NodeLink) -> InstanceRecord | QbftError | None:
            try:
                reply = await link.capture(instance, timeout)
                if not reply.HasField("record"):
                    return None
                return own_record(reply.record, instance, link.node, self._roster.nodes)
            except QbftError as failure:
                return failure

        links = self._links if node is None else [self._links[node]]
        told = await asyncio.gather(*map(ask, links))
        return {link.node: answer for link, answer in zip(links, told, strict=True)}

    async def heights(
        self, timeout: float = STATUS_SECONDS
    ) -> dict[int, dict[str, int] | ClientError]:
        """Ask every node how far each topic has come there, or why it does not say.

        By topic, the highest height that the node has voted at or knows to be decided. Nothing of
        it is proven.
        """

        async def ask(link: NodeLink) -> dict[str, int] | ClientError:
            highest: dict[str, int] = {}
            try:
                async with asyncio.timeout(timeout), aclosing(link.heights()) as pages:
                    async for page in pages:
                        highest.update((each.topic, each.height) for each in page.highest)
                        if len(highest) > HEIGHTS_TOPICS_MAX:
                            return Lied(link.node, "it names more topics than there can be")
            except TimeoutError:
                return Unavailable(f"node {link.node}: no answer in {timeout:g} s", node=link.node)
            except ClientError as failure:
                return failure
            return highest

        return dict(enumerate(await asyncio.gather(*map(ask, self._links))))

    async def evidence(
        self, *, node: int | None = None, timeout: float = STATUS_SECONDS
    ) -> dict[int, list[Evidence] | ClientError]:
        """Ask every node, or that one, what it holds against validators (SCENARIOS B16).

        Gives what each has proven, or why it has told nothing; a node that tells what proves
        nothing has lied (`liars`).

        Raises:
            ValueError: there is no such node.
        """
        nodes = range(self._roster.nodes) if node is None else [self._known(node)]

        async def ask(asked: int) -> list[Evidence] | ClientError:
            try:
                async with asyncio.timeout(timeout):
                    return await self._evidence_of(*self._believed([asked]))
            except TimeoutError:
                return Unavailable(f"node {asked}: no answer in {timeout:g} s", node=asked)
            except ClientError as failure:
                return failure

        told = await asyncio.gather(*map(ask, nodes))
        return dict(zip(nodes, told, strict=True))

    async def _evidence_of(self, link: NodeLink) -> list[Evidence]:
        """Read all pages of one node, whatever it says, up to a bound."""
        found: list[Evidence] = []
        while len(found) < EVIDENCE_MAX:
            reply = await link.evidence_page(len(found), None)
            found += [self._belief.check_evidence(link.node, each) for each in reply.evidence]
            if not reply.HasField("next") or not reply.evidence:
                break
        return found

    # --- whom to ask ------------------------------------------------------------------------------

    async def _ask(
        self,
        what: str,
        nodes: Sequence[int],
        call: Callable[[NodeLink, float | None], Awaitable[T]],
        timeout: float | None,
        *,
        judge: Judge,
        patience: Patience,
        learns: bool = False,
        width: int = 1,
    ) -> T:
        """Ask these nodes, hedged and retried, until the deadline.

        `learns` is for askings that are like most: what the caller's node takes, or a page, is not
        what answers usually take. Nor is the time for which a node was away.
        """
        seconds = self._timeout if timeout is None else timeout
        now = asyncio.get_running_loop().time
        failures: dict[int, ClientError] = {}

        def asking(link: NodeLink) -> Ask[T]:
            async def ask(stumble: Callable[[], None]) -> T:
                def stumbled(failure: Unavailable) -> None:
                    if link.node not in failures:
                        stumble()
                    failures[link.node] = failure

                async def try_once() -> T:
                    began = now()
                    answer = await call(link, _seconds_until(deadline.when()))
                    if learns:
                        patience.answered(now() - began)
                    return answer

                return await until_available(try_once, stumbled, link.rest)

            return ask

        links = self._believed(nodes)
        delay = patience.delay
        if seconds is not None:
            delay = min(delay, seconds / (self._roster.faulty + 2))
        try:
            async with asyncio.timeout(seconds) as deadline:
                asks = [asking(link) for link in links]
                return await first_good(asks, delay=delay, width=width, judge=judge)
        except TimeoutError:
            raise DeadlineExceeded(what, seconds or 0.0, failures) from None

    def _order(self, instance: InstanceId, node: int | None = None) -> list[int]:
        """All nodes, from the leader of round 1 on, in the order in which they lead; or that one.

        Raises:
            ValueError: there is no such node.
        """
        if node is not None:
            return [self._known(node)]
        nodes = self._roster.nodes
        return [self._leader(instance, round_) for round_ in range(1, nodes + 1)]

    def _known(self, node: int) -> int:
        nodes = self._roster.nodes
        if not 0 <= node < nodes:
            raise ValueError(f"node = {node}: allowed is 0 to {nodes - 1}")
        return node

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
            raise refused_by(refusals)


def _seconds_until(when: float | None) -> float | None:
    return None if when is None else max(0.0, when - asyncio.get_running_loop().time())
