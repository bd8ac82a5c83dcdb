"""The decision service: what clients ask of a node (SCENARIOS, group G).

Every call answers from this node alone; what it says about a decision carries the certificate that
proves it. Requests are untrusted: what is malformed gets INVALID_ARGUMENT and changes nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import grpc
from grpc import aio

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import QbftError
from qbft.replica.driver import now_ms
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceServicer
from qbft_server.parts import NodeParts
from qbft_server.services.refusal import Refusal, invalid, refusal_of
from qbft_server.version import VERSION

LIST_DECISIONS_MAX = 256
LIST_BYTES_MAX = 1 << 20
WATCHES_MAX = 256
STREAM_IN_FLIGHT_MAX = 1_024
CURSOR_BYTES = 24

T = TypeVar("T")
Context = aio.ServicerContext


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
        self._watches = 0
        self.accepting = True

    # --- proposing --------------------------------------------------------------------------------

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, context: Context[pb.ProposeRequest, pb.ProposeReply]
    ) -> pb.ProposeReply:
        """Have a value decided, and wait for the decision, whosever value it is."""
        decision = await self._answer("Propose", context, self._propose(request.proposal))
        return pb.ProposeReply(decision=decision_to_pb(decision))

    async def ProposeStream(  # noqa: N802
        self,
        requests: AsyncIterator[pb.ProposeStreamRequest],
        context: Context[pb.ProposeStreamRequest, pb.ProposeStreamReply],
    ) -> None:
        """Have many values decided at once; replies come as the decisions do.

        A client that has too many in flight is not read from until some are decided.
        """
        await self._answer("ProposeStream", context, self._check_access(context))
        free = asyncio.Semaphore(STREAM_IN_FLIGHT_MAX)
        async with asyncio.TaskGroup() as tasks:
            async for request in requests:
                await free.acquire()
                task = tasks.create_task(self._propose_one(request, context))
                task.add_done_callback(lambda _: free.release())

    async def _propose_one(
        self,
        request: pb.ProposeStreamRequest,
        context: Context[pb.ProposeStreamRequest, pb.ProposeStreamReply],
    ) -> None:
        reply = pb.ProposeStreamReply(id=request.id)
        try:
            decision = await self._propose(request.proposal)
            reply.decision.CopyFrom(decision_to_pb(decision))
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            code = refusal.code
            trailers = dict(refusal.metadata)
            reply.failure.CopyFrom(
                pb.Failure(
                    code=code.value[0],
                    message=refusal.message,
                    first_digest=bytes.fromhex(trailers.get("qbft-first-digest", "")),
                    retry_ms=int(trailers.get("grpc-retry-pushback-ms", 0)),
                )
            )
        self._metrics.call_ended("ProposeStream item", code.name)
        await context.write(reply)

    async def _propose(self, message: messages_pb2.Proposal) -> Decision:
        """Check a proposal, hand it to the replica, and wait."""
        if not self.accepting:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "this node is stopping; ask another")
        if not self._replica.status().voting:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE, "this node has stopped voting; ask another node"
            )
        proposal = self._read_proposal(message)
        limit = self._config.limits.proposals_in_flight_max
        if self._in_flight >= limit:
            raise Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{limit} proposals are in flight here; try again in 100 ms or at another node",
                (("grpc-retry-pushback-ms", "100"),),
            )
        began = time.perf_counter()
        self._in_flight += 1
        try:
            deciding = self._replica.propose(proposal, now_ms())
            self._driver.wake()
            decision = await deciding
        except QbftError as error:
            raise refusal_of(error) from error
        finally:
            self._in_flight -= 1
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
        context: Context[pb.GetDecisionRequest, pb.GetDecisionReply],
    ) -> pb.GetDecisionReply:
        """Read one instance: decided, undecided here, or never heard of here (G8, G9)."""
        return await self._answer("GetDecision", context, self._get(request))

    async def _get(self, request: pb.GetDecisionRequest) -> pb.GetDecisionReply:
        instance = _read_instance(request.instance)
        decision = self._store.get(instance)
        if decision is not None:
            return pb.GetDecisionReply(
                state=pb.DECISION_STATE_DECIDED, decision=decision_to_pb(decision)
            )
        is_open = self._replica.is_open(instance)
        return pb.GetDecisionReply(
            state=pb.DECISION_STATE_UNDECIDED if is_open else pb.DECISION_STATE_UNKNOWN
        )

    async def ListDecisions(  # noqa: N802
        self,
        request: pb.ListDecisionsRequest,
        context: Context[pb.ListDecisionsRequest, pb.ListDecisionsReply],
    ) -> pb.ListDecisionsReply:
        """Read a topic's decisions by height, a page at a time; gaps are not hidden."""
        return await self._answer("ListDecisions", context, self._list(request))

    async def _list(self, request: pb.ListDecisionsRequest) -> pb.ListDecisionsReply:
        start = _read_topic(request.topic, request.from_height)
        limit = min(request.limit or LIST_DECISIONS_MAX, LIST_DECISIONS_MAX)
        reply = pb.ListDecisionsReply()
        size = 0
        for decision in self._store.list_topic(start.topic, start.height, limit + 1):
            if len(reply.decisions) >= limit or size >= LIST_BYTES_MAX:
                reply.next_height = _height(decision)
                break
            reply.decisions.append(decision_to_pb(decision))
            size += reply.decisions[-1].ByteSize()
        return reply

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context[pb.WatchRequest, messages_pb2.Decision]
    ) -> None:
        """Follow a topic height by height, without gaps, waiting at the first undecided one."""
        await self._answer("Watch", context, self._check_access(context))
        start = await self._answer("Watch", context, _in_future(request))
        await self._stream("Watch", context, self._watch(start))

    async def _watch(self, start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        height, end = start.height, -1
        while height <= HEIGHT_MAX:
            decision = self._store.get(InstanceId(start.topic, height))
            if decision is None:
                if end >= 0:
                    end = await self._store.wait_for_decisions(end)
                else:
                    end = self._store.end
                continue
            yield decision_to_pb(decision)
            height += 1

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, context: Context[pb.WatchAllRequest, pb.WatchAllReply]
    ) -> None:
        """Follow every decision in this node's order, from a cursor of this node or the start."""
        await self._answer("WatchAll", context, self._check_access(context))
        position = await self._answer("WatchAll", context, self._read_cursor(request.cursor))
        await self._stream("WatchAll", context, self._watch_all(position))

    async def _read_cursor(self, cursor: bytes) -> int:
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

    async def _watch_all(self, position: int) -> AsyncIterator[pb.WatchAllReply]:
        while True:
            end = self._store.end
            entries = self._store.feed(position, LIST_DECISIONS_MAX)
            for reached, instance in entries:
                decision = self._store.get(instance)
                if decision is not None:
                    cursor = self._store.store_id + reached.to_bytes(8, "big")
                    yield pb.WatchAllReply(decision=decision_to_pb(decision), cursor=cursor)
                position = reached
            if not entries:
                await self._store.wait_for_decisions(end)

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: Context[pb.GetStatusRequest, pb.GetStatusReply],
    ) -> pb.GetStatusReply:
        """Say how this node is."""
        return await self._answer("GetStatus", context, self._status())

    async def _status(self) -> pb.GetStatusReply:
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

    # --- what all calls share ---------------------------------------------------------------------

    async def _check_access(self, context: Context[T, object]) -> None:
        """Ask for a token where the operator does; which part is wrong is not told."""
        if not self._tokens:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", b"")
        text = given.encode() if isinstance(given, str) else given
        known = [hmac.compare_digest(b"Bearer " + token, text) for token in self._tokens]
        if not any(known):
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "a valid token is needed")

    async def _answer(self, method: str, context: Context[T, object], work: Awaitable[T]) -> T:
        """Do a call's work; a refusal becomes its status."""
        try:
            if self._tokens:
                await self._check_access(context)
            result = await work
        except Refusal as refusal:
            self._metrics.call_ended(method, refusal.code.name)
            await context.abort(refusal.code, refusal.message, tuple(refusal.metadata))
        self._metrics.call_ended(method, grpc.StatusCode.OK.name)
        return result

    async def _stream(
        self, method: str, context: Context[T, object], replies: AsyncIterator[object]
    ) -> None:
        """Write replies until the client leaves; so many watches at a time."""
        if self._watches >= WATCHES_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{WATCHES_MAX} watches are open at this node; ask another",
            )
        self._watches += 1
        try:
            async for reply in replies:
                await context.write(reply)
        finally:
            self._watches -= 1
            self._metrics.call_ended(method, "CLOSED")


async def _in_future(request: pb.WatchRequest) -> InstanceId:
    return _read_topic(request.topic, request.from_height)


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
