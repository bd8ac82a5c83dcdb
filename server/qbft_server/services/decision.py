"""The decision service: what clients ask of a node (SCENARIOS, group G).

Every call answers from this node alone; what it says about a decision carries the certificate that
proves it. Requests are untrusted: what is malformed gets INVALID_ARGUMENT and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import BelowLowWaterMark, QbftError
from qbft.replica.driver import now_ms
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceServicer
from qbft_server.parts import NodeParts
from qbft_server.services.refusal import Refusal, full, invalid, refusal_of
from qbft_server.services.replies import Replies
from qbft_server.store.decisions import DecisionsError
from qbft_server.version import VERSION

LIST_DECISIONS_MAX = 256
LIST_BYTES_MAX = 1 << 20
LIST_STEP_DECISIONS = 8
"""Decisions of a page that are read at one go: each may be as large as a value and its proof."""
WATCHES_MAX = 256
PROPOSE_STREAMS_MAX = 256
UNREAD_BYTES_MAX = 128 << 20
"""Replies of all clients together that their clients have not taken yet; each is held up to three
times, as a message, as bytes, and by gRPC."""

SMALL_REPLY_BYTES = 4_096
"""Replies below this are bounded by the number of calls alone."""

CURSOR_BYTES = 24
RETRY_MS = 100
WATCH_RETRY_MS = 5_000

Context = aio.ServicerContext[Any, Any]


class DecisionService(DecisionServiceServicer):
    """One node's decision service."""

    def __init__(self, parts: NodeParts) -> None:
        self._config = parts.config
        self._cluster = parts.cluster
        self._replica = parts.replica
        self._driver = parts.driver
        self._store = parts.store
        self._links = parts.links
        self._metrics = parts.metrics
        self._tokens = [t.get_secret_value().encode() for t in parts.config.clients.tokens]
        self._in_flight = 0
        self._bytes_in_flight = 0
        self._watches = 0
        self._streams = 0
        self._unread_bytes = 0
        self.accepting = True

    # --- proposing --------------------------------------------------------------------------------

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, context: Context
    ) -> pb.ProposeReply:
        """Have a value decided, and wait for the decision, whosever value it is."""
        async with self._call("Propose", context):
            decision = await self._propose(request.proposal)
            reply = pb.ProposeReply(decision=decision_to_pb(decision))
            self._charge(reply.ByteSize(), context)
            return reply

    async def ProposeStream(  # noqa: N802
        self,
        requests: AsyncIterator[pb.ProposeStreamRequest],
        context: Context,
    ) -> None:
        """Have many values decided at once; replies come as the decisions do.

        A client is not read from while it has too many in flight, decided or not, or does not read
        what was decided.
        """
        replies = Replies()
        async with (
            self._call("ProposeStream", context),
            self._stream_place(),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._propose_all(requests, replies))
            while (outcome := await replies.take()) is not None:
                await context.write(_reply(*outcome))
                replies.written(outcome)

    async def _propose_all(
        self,
        requests: AsyncIterator[pb.ProposeStreamRequest],
        replies: Replies,
    ) -> None:
        """Propose what a stream asks for, and end its replies, which have one writer."""
        async with asyncio.TaskGroup() as tasks:
            async for request in requests:
                await replies.place()
                tasks.create_task(self._propose_one(request, replies))
        replies.end()

    async def _propose_one(self, request: pb.ProposeStreamRequest, replies: Replies) -> None:
        outcome: Decision | Refusal
        try:
            outcome = await self._propose(request.proposal)
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            outcome, code = refusal, refusal.code
        replies.put((request.id, outcome))
        self._metrics.call_ended("ProposeStream item", code.name)

    async def _propose(self, message: messages_pb2.Proposal) -> Decision:
        """Check a proposal, hand it to the replica, and wait."""
        if not self.accepting:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "this node is stopping; ask another")
        if not self._replica.status().voting:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE, "this node does not vote now; ask another node"
            )
        proposal = self._read_proposal(message)
        limits, size = self._config.limits, len(proposal.value)
        if self._in_flight >= limits.proposals_in_flight_max:
            raise full(f"{limits.proposals_in_flight_max} proposals are in flight here", RETRY_MS)
        if self._in_flight and self._bytes_in_flight + size > limits.proposal_bytes_in_flight_max:
            raise full(f"{self._bytes_in_flight} bytes of values are in flight here", RETRY_MS)
        began = time.perf_counter()
        self._in_flight += 1
        self._bytes_in_flight += size
        try:
            deciding = self._replica.propose(proposal, now_ms())
            self._driver.wake()
            decision = await deciding
        except QbftError as error:
            raise refusal_of(error) from error
        finally:
            self._in_flight -= 1
            self._bytes_in_flight -= size
        self._metrics.propose_seconds.observe(time.perf_counter() - began)
        return decision

    def _read_proposal(self, message: messages_pb2.Proposal) -> Proposal:
        instance = _read_instance(message.instance)
        size, limit = len(message.value), self._config.limits.value_bytes_max
        if not size:
            raise invalid("the value is empty; a value has at least one byte")
        if size > limit:
            raise invalid(f"the value has {size} bytes; at most {limit} are allowed")
        if len(message.proposer) not in (0, 32) or len(message.signature) not in (0, 64):
            raise invalid("a proposer is 32 bytes and its signature 64, or both are left out")
        return Proposal(instance, message.value, message.proposer, message.signature)

    # --- reading ----------------------------------------------------------------------------------

    async def GetDecision(  # noqa: N802
        self,
        request: pb.GetDecisionRequest,
        context: Context,
    ) -> pb.GetDecisionReply:
        """Read one instance: decided, undecided here, unknown, or not kept any more (G8, G9)."""
        async with self._call("GetDecision", context):
            instance = _read_instance(request.instance)
            reply = pb.GetDecisionReply(low_water_mark=self._store.low_water_mark(instance.topic))
            decision = self._store.get(instance)
            if decision is not None:
                reply.state = pb.DECISION_STATE_DECIDED
                reply.decision.CopyFrom(decision_to_pb(decision))
                self._charge(reply.ByteSize(), context)
            elif self._store.is_below_mark(instance):
                reply.state = pb.DECISION_STATE_BELOW_MARK
            elif self._replica.is_open(instance):
                reply.state = pb.DECISION_STATE_UNDECIDED
            else:
                reply.state = pb.DECISION_STATE_UNKNOWN
            return reply

    async def ListDecisions(  # noqa: N802
        self,
        request: pb.ListDecisionsRequest,
        context: Context,
    ) -> pb.ListDecisionsReply:
        """Read a topic's decisions by height, a page at a time; gaps are not hidden."""
        async with self._call("ListDecisions", context):
            reply = await self._list(request)
            self._charge(reply.ByteSize(), context)
            return reply

    async def _list(self, request: pb.ListDecisionsRequest) -> pb.ListDecisionsReply:
        """Collect a page in small steps, whatever the sizes of its decisions are."""
        start = _read_topic(request.topic, request.from_height)
        limit = min(request.limit or LIST_DECISIONS_MAX, LIST_DECISIONS_MAX)
        reply = pb.ListDecisionsReply()
        height, size = start.height, 0
        while height <= HEIGHT_MAX:
            found = self._store.list_topic(start.topic, height, LIST_STEP_DECISIONS)
            for decision in found:
                height = _height(decision)
                if len(reply.decisions) >= limit or size >= LIST_BYTES_MAX:
                    reply.next_height = height
                    return reply
                reply.decisions.append(decision_to_pb(decision))
                size += reply.decisions[-1].ByteSize()
            if len(found) < LIST_STEP_DECISIONS:
                break
            height += 1
            await asyncio.sleep(0)
        return reply

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> None:
        """Follow a topic height by height, without gaps, waiting at the first undecided one.

        It ends with OUT_OF_RANGE where the topic's low-water mark is above the height it is at.
        """
        async with self._call("Watch", context), self._watch_place():
            start = _read_topic(request.topic, request.from_height)
            for height in range(start.height, HEIGHT_MAX + 1):
                instance = InstanceId(start.topic, height)
                try:
                    decision = await self._store.wait_for(instance)
                except BelowLowWaterMark as error:
                    raise refusal_of(error) from error
                await context.write(decision_to_pb(decision))

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, context: Context
    ) -> None:
        """Follow every decision in this node's order, from a cursor of this node or the start.

        Without a cursor it begins with what is still kept. It ends with OUT_OF_RANGE where what
        should come next may have been deleted.
        """
        async with self._call("WatchAll", context), self._watch_place():
            position = self._read_cursor(request.cursor)
            forgiven = 0 if request.cursor else self._store.deleted_position
            while True:
                self._check_complete(max(position, forgiven))
                end = self._store.end
                entries = self._store.feed(position, LIST_DECISIONS_MAX)
                for reached, instance in entries:
                    decision = self._store.get(instance)
                    if decision is not None:
                        cursor = self._store.store_id + reached.to_bytes(8, "big")
                        reply = pb.WatchAllReply(decision=decision_to_pb(decision), cursor=cursor)
                        await context.write(reply)
                    position = reached
                if not entries:
                    await self._store.wait_for_decisions(end)

    def _check_complete(self, position: int) -> None:
        """See that nothing behind this position was deleted."""
        if self._store.deleted_position > position:
            raise Refusal(
                grpc.StatusCode.OUT_OF_RANGE,
                "decisions behind the cursor are not kept any more; begin without one",
            )

    def _read_cursor(self, cursor: bytes) -> int:
        if not cursor:
            return 0
        if len(cursor) != CURSOR_BYTES:
            raise invalid("the cursor is not one that WatchAll gave")
        store_id, position = cursor[:16], int.from_bytes(cursor[16:], "big")
        if store_id != self._store.store_id:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the cursor is of another node's order; begin without one, or ask that node",
            )
        if position > self._store.end:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "the cursor is beyond the last decision")
        return position

    @contextlib.asynccontextmanager
    async def _watch_place(self) -> AsyncIterator[None]:
        """Take one of the places for watches: so many at a time."""
        if self._watches >= WATCHES_MAX:
            raise full(f"{WATCHES_MAX} watches are open here", WATCH_RETRY_MS)
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1

    @contextlib.asynccontextmanager
    async def _stream_place(self) -> AsyncIterator[None]:
        """Take one of the places for streams of proposals."""
        if self._streams >= PROPOSE_STREAMS_MAX:
            raise full(f"{PROPOSE_STREAMS_MAX} streams of proposals are open here", WATCH_RETRY_MS)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: Context,
    ) -> pb.GetStatusReply:
        """Say how this node is."""
        async with self._call("GetStatus", context):
            return self._status()

    def _status(self) -> pb.GetStatusReply:
        status = self._replica.status()
        roster = self._cluster.roster
        connected = self._links.connected
        now = now_ms()
        peers = [
            pb.PeerStatus(
                validator=peer,
                connected=peer in connected,
                last_heard_ms=now - heard if heard is not None else None,
            )
            for peer in range(roster.nodes)
            if peer != self._config.validator
            for heard in [status.peers_heard.get(peer)]
        ]
        return pb.GetStatusReply(
            node_name=f"{self._cluster.name}/{self._config.validator}",
            validator=self._config.validator,
            cluster_id=roster.cluster_id,
            nodes=roster.nodes,
            faulty=roster.faulty,
            version=VERSION,
            voting=status.voting,
            quorum_reachable=status.voting and len(connected) + 1 >= roster.quorum,
            open_instances=status.open_instances,
            decisions=self._store.end,
            store_id=self._store.store_id,
            peers=peers,
        )

    def _charge(self, size: int, context: Context) -> None:
        """Account for a reply until its call has ended: whoever does not read has it kept here."""
        if size < SMALL_REPLY_BYTES:
            return
        if self._unread_bytes + size > UNREAD_BYTES_MAX:
            raise full("too many replies wait here to be read", RETRY_MS)
        self._unread_bytes += size

        def give_back(_: object) -> None:
            self._unread_bytes -= size

        context.add_done_callback(give_back)  # type: ignore[arg-type] # the stubs are wrong here

    # --- what all calls share ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """Around every call: who may call, what a refusal becomes, and how it ended."""
        code = grpc.StatusCode.CANCELLED
        try:
            self._check_access(context)
            yield
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            code = refusal.code
            await context.abort(refusal.code, refusal.message, tuple(refusal.trailers))
        except DecisionsError:  # its words name files of this machine
            code = grpc.StatusCode.UNAVAILABLE
            await context.abort(code, "this node cannot read its decisions now; ask another")
        finally:
            self._metrics.call_ended(method, code.name)

    def _check_access(self, context: Context) -> None:
        """Ask for a token where the operator does; which part is wrong is not told."""
        if not self._tokens:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", b"")
        text = given.encode() if isinstance(given, str) else given
        known = [hmac.compare_digest(b"Bearer " + token, text) for token in self._tokens]
        if not any(known):
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "a valid token is needed")


def _reply(request_id: int, outcome: Decision | Refusal) -> pb.ProposeStreamReply:
    """Write one reply of a stream."""
    if isinstance(outcome, Refusal):
        failure = pb.Failure(
            code=outcome.code.value[0],
            message=outcome.message,
            first_digest=outcome.first_digest,
            retry_ms=outcome.retry_ms,
        )
        return pb.ProposeStreamReply(id=request_id, failure=failure)
    return pb.ProposeStreamReply(id=request_id, decision=decision_to_pb(outcome))


def _read_instance(message: messages_pb2.InstanceId) -> InstanceId:
    return _read_topic(message.topic, message.height)


def _read_topic(topic: str, height: int) -> InstanceId:
    try:
        return InstanceId(topic, height)
    except ValueError as error:
        raise invalid(str(error)) from error


def _height(decision: Decision) -> int:
    instance = decision.instance
    return instance.height if isinstance(instance, InstanceId) else 0
