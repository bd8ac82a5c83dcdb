"""The decision service: what clients ask of a node (SCENARIOS, group G).

Every call answers from this node alone; what it says about a decision carries the certificate that
proves it. Requests are untrusted: what is malformed gets INVALID_ARGUMENT and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import BelowLowWaterMark, OtherEpoch, QbftError
from qbft.ordered import Appended
from qbft.replay.capture import fill_record
from qbft.replica.driver import now_ms
from qbft.replica.narrow import as_instance
from qbft.wire import decision_to_pb
from qbft.wire.accounts import account_to_pb
from qbft.wire.evidence import fill_evidence
from qbft.wire.v1 import capture_pb2, inspection_pb2, messages_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceServicer
from qbft_server.access import Gate, Permissions
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Admission, Caller, Context, Needs
from qbft_server.services.appending import (
    check_author,
    check_ordered,
    read_entry,
    refusal_of_append,
    reply_of,
)
from qbft_server.services.budgets import Budgets
from qbft_server.services.own_instances import OwnInstances
from qbft_server.services.refusal import (
    Refusal,
    denied,
    failure_of,
    full,
    invalid,
    refusal_of,
)
from qbft_server.services.replies import Replies
from qbft_server.store.decisions import DecisionsError
from qbft_server.telemetry.inspection import inspect
from qbft_server.version import VERSION

LIST_DECISIONS_MAX = 256
LIST_BYTES_MAX = 1 << 20
"""One page of decisions."""

LIST_STEP_DECISIONS = 8
"""Decisions of a page that are read at one go: each may be as large as a value and its proof."""

LIST_EVIDENCE_MAX = 256
"""One page of evidence."""

CURSOR_BYTES = 24
RETRY_MS = 100

Reply = TypeVar("Reply", bound=Message)


class DecisionService(DecisionServiceServicer):
    """One node's decision service.

    Raises:
        ClusterError: a client's token cannot be read.
    """

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._config = parts.config
        self._cluster = parts.cluster
        self._replica = parts.replica
        self._driver = parts.driver
        self._store = parts.store
        self._links = parts.links
        self._metrics = parts.metrics
        self._traces = parts.traces
        self.admission = Admission(Gate(parts.config.clients))
        self._budgets = Budgets(parts.config.limits, parts.metrics.clients, parts.metrics.bites)
        self._own = OwnInstances(self._hand_over, self._is_open, self._is_decided, self._budgets)
        self.accepting = True

    # --- proposing --------------------------------------------------------------------------------

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, context: Context
    ) -> pb.ProposeReply:
        """Have a value decided, and wait for the decision, whosever value it is."""
        async with self._call("Propose", context) as client:
            decision = await self._propose(request.proposal, client)
            reply = self._charged(_decided(decision), client)
            if reply is None:
                raise _unread_full()
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
        replies = Replies(self._metrics.bites)
        async with self._call("ProposeStream", context, _proposes) as client:
            with self._budgets.shares.place(client.name, self._budgets.streams):
                has_room = True
                async with asyncio.TaskGroup() as tasks:
                    proposing = tasks.create_task(self._propose_all(requests, replies, client))
                    while has_room and (outcome := await replies.take()) is not None:
                        has_room = await self._is_written(_reply(*outcome), client)
                        replies.written(outcome)
                    proposing.cancel()
                if not has_room:  # raised within the group it would be part of a group itself
                    raise _unread_full()

    async def _propose_all(
        self,
        requests: AsyncIterator[pb.ProposeStreamRequest],
        replies: Replies,
        client: Caller,
    ) -> None:
        """Propose what a stream asks for, and end its replies, which have one writer."""
        async with asyncio.TaskGroup() as tasks:
            async for request in requests:
                await replies.place()
                tasks.create_task(self._propose_one(request, replies, client))
        replies.end()

    async def _propose_one(
        self, request: pb.ProposeStreamRequest, replies: Replies, client: Caller
    ) -> None:
        outcome: Decision | pb.Failure
        try:
            outcome = await self._propose(request.proposal, client)
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            outcome, code = failure_of(refusal), refusal.code
        replies.put((request.id, outcome))
        self._metrics.call_ended("ProposeStream item", code.name)

    async def _propose(self, message: messages_pb2.Proposal, client: Caller) -> Decision:
        """Check a proposal, hand it to the replica, and wait."""
        proposal = self._read_proposal(message)
        if not client.permissions.may_propose(proposal.instance.topic):
            raise denied()
        check_ordered(self._cluster, proposal.instance.topic, appends=False)
        with self._flight(client, len(proposal.value)):
            began = time.perf_counter()
            try:
                with self._budgets.wasted.checking(client.name, len(proposal.value)):
                    decision = await self._own.propose(client.name, proposal)
            except QbftError as error:
                raise refusal_of(error) from error
            self._metrics.propose_seconds.add(time.perf_counter() - began)
        return decision

    def _hand_over(self, proposal: Proposal) -> asyncio.Future[Decision]:
        """Let the replica have a value decided."""
        deciding = self._replica.propose(proposal, now_ms())
        self._driver.wake()
        if self._traces is not None:
            self._traces.join(proposal.instance)
        return deciding

    def _is_open(self, instance: InstanceId) -> bool:
        return self._replica.is_open(instance)

    def _is_decided(self, instance: InstanceId) -> bool:
        return self._store.get(instance) is not None

    def _flight(self, client: Caller, size: int) -> contextlib.AbstractContextManager[None]:
        """Take a place among the values that wait for a decision.

        Raises:
            Refusal: there is none now, or this node takes no values.
        """
        if not self.accepting:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "this node is stopping; ask another")
        if not self._replica.is_voting:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE, "this node does not vote now; ask another node"
            )
        return self._budgets.flight(client.name, size)

    def _read_proposal(self, message: messages_pb2.Proposal) -> Proposal:
        instance = _read_topic(message.instance.topic, message.instance.height)
        size, limit = len(message.value), self._config.limits.value_bytes_max
        if not size:
            raise invalid("the value is empty; a value has at least one byte")
        if size > limit:
            raise invalid(f"the value has {size} bytes; at most {limit} are allowed")
        if len(message.proposer) not in (0, 32) or len(message.signature) not in (0, 64):
            raise invalid("a proposer is 32 bytes and its signature 64, or both are left out")
        return Proposal(instance, message.value, message.proposer, message.signature)

    # --- ordered topics ---------------------------------------------------------------------------

    async def Append(  # noqa: N802
        self, request: pb.AppendRequest, context: Context
    ) -> pb.AppendReply:
        """Put an entry at the next free position of an ordered topic, and wait until it stands."""
        async with self._call("Append", context) as client:
            appended = await self._append(request, client)
            reply = self._charged(reply_of(appended), client)
            if reply is None:
                raise _unread_full()
            return reply

    async def _append(self, request: pb.AppendRequest, client: Caller) -> Appended:
        topic = _read_topic(request.topic, 0).topic
        entry = read_entry(request.entry, self._config.limits.value_bytes_max)
        if not client.permissions.may_propose(topic):
            raise denied()
        check_ordered(self._cluster, topic, appends=True)
        with self._flight(client, len(entry.value)), self._budgets.appending(client.name, topic):
            try:
                with self._budgets.wasted.checking(client.name, len(entry.value)):
                    check_author(self._cluster, topic, entry)
                return await self._parts.appends.append(topic, entry)
            except DecisionsError:
                raise
            except QbftError as error:
                raise refusal_of_append(error) from error

    async def GetNextHeight(  # noqa: N802
        self, request: pb.GetNextHeightRequest, context: Context
    ) -> pb.GetNextHeightReply:
        """Say where the next entry of a topic would stand, as far as this node knows."""
        async with self._call("GetNextHeight", context) as client:
            topic = _read_topic(request.topic, 0).topic
            if not client.permissions.may_read(topic) and not client.permissions.may_propose(topic):
                raise denied()
            check_ordered(self._cluster, topic, appends=True)
            try:
                height = await self._parts.appends.next_height(topic)
            except OtherEpoch as error:
                raise refusal_of(error) from error
            return pb.GetNextHeightReply(height=height)

    # --- reading ----------------------------------------------------------------------------------

    async def GetDecision(  # noqa: N802
        self,
        request: pb.GetDecisionRequest,
        context: Context,
    ) -> pb.GetDecisionReply:
        """Read one instance: decided, undecided here, unknown, or not kept any more (G8, G9)."""
        async with self._call("GetDecision", context) as client:
            instance = _readable(client, request.instance.topic, request.instance.height)
            reply = self._charged(self._read(instance), client)
            if reply is None:
                raise _unread_full()
            return reply

    def _read(self, instance: InstanceId) -> pb.GetDecisionReply:
        """Say what is known here of an instance."""
        reply = pb.GetDecisionReply(low_water_mark=self._store.low_water_mark(instance.topic))
        decision = self._store.get(instance)
        if decision is not None:
            reply.state = pb.DECISION_STATE_DECIDED
            reply.decision.CopyFrom(decision_to_pb(decision))
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
        async with self._call("ListDecisions", context) as client:
            start = _readable(client, request.topic, request.from_height)
            reply = self._charged(await self._list(start, request.limit), client)
            if reply is None:
                raise _unread_full()
            return reply

    async def _list(self, start: InstanceId, limit: int) -> pb.ListDecisionsReply:
        """Collect a page in small steps, whatever the sizes of its decisions are."""
        limit = min(limit or LIST_DECISIONS_MAX, LIST_DECISIONS_MAX)
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
        needs: Needs = lambda may: may.may_read(request.topic)  # noqa: E731
        async with self._call("Watch", context, needs) as client:
            start = _readable(client, request.topic, request.from_height)
            with self._watch_place(client):
                for height in range(start.height, HEIGHT_MAX + 1):
                    instance = InstanceId(start.topic, height)
                    try:
                        decision = await self._store.wait_for(instance)
                    except BelowLowWaterMark as error:
                        raise refusal_of(error) from error
                    await self._write(decision_to_pb(decision), client)

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, context: Context
    ) -> None:
        """Follow every decision in this node's order, from a cursor of this node or the start.

        Without a cursor it begins with what is still kept. It ends with OUT_OF_RANGE where what
        should come next may have been deleted. Topics that the client may not read are left out.
        """
        async with self._call("WatchAll", context, _reads) as client:
            following = contextlib.aclosing(self._follow(request.cursor, client))
            async with following as replies:
                with self._watch_place(client):
                    async for reply in replies:
                        await self._write(reply, client)

    async def _follow(
        self, cursor: bytes, client: Caller
    ) -> AsyncGenerator[pb.WatchAllReply, None]:
        """Give what this client may read, as it comes."""
        position = self._read_cursor(cursor)
        forgiven = 0 if cursor else self._store.deleted_position
        while True:
            self._check_complete(max(position, forgiven))
            end = self._store.end
            entries = self._store.feed(position, LIST_DECISIONS_MAX)
            for position, instance in entries:
                decision = (
                    self._store.get(instance)
                    if client.permissions.may_read(instance.topic)
                    else None
                )
                if decision is not None:
                    yield pb.WatchAllReply(
                        decision=decision_to_pb(decision),
                        cursor=self._store.store_id + position.to_bytes(8, "big"),
                    )
            if entries:
                await asyncio.sleep(0)  # where all of it is left out, nothing else waits
            else:
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

    def _watch_place(self, client: Caller) -> contextlib.AbstractContextManager[None]:
        """Take one of the places for watches: so many at a time."""
        return self._budgets.shares.place(client.name, self._budgets.watches)

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: Context,
    ) -> pb.GetStatusReply:
        """Say how this node is."""
        async with self._call("GetStatus", context):
            return self._status()

    async def InspectInstance(  # noqa: N802
        self, request: inspection_pb2.InspectInstanceRequest, context: Context
    ) -> inspection_pb2.InspectInstanceReply:
        """Say how this node stands in one instance (`qbft why`); no value is told."""
        async with self._call("InspectInstance", context) as client:
            instance = _readable(client, request.instance.topic, request.instance.height)
            return account_to_pb(inspect(self._parts, instance))

    async def CaptureInstance(  # noqa: N802
        self, request: capture_pb2.CaptureInstanceRequest, context: Context
    ) -> capture_pb2.CaptureInstanceReply:
        """Give what was recorded of one instance (`qbft capture`); no value is told."""
        async with self._call("CaptureInstance", context) as client:
            instance = _readable(client, request.instance.topic, request.instance.height)
            reply = self._charged(await self._capture(instance), client)
            if reply is None:
                raise _unread_full()
            return reply

    async def _capture(self, instance: InstanceId) -> capture_pb2.CaptureInstanceReply:
        """Write down what was recorded, in small steps."""
        recorder = self._parts.recorder
        record = recorder.snapshot(instance, now_ms()) if recorder is not None else None
        reply = capture_pb2.CaptureInstanceReply()
        if record is not None:
            for _ in fill_record(reply.record, record, self._config.limits.message_bytes_max):
                await asyncio.sleep(0)
        return reply

    async def ListHeights(  # noqa: N802
        self, request: pb.ListHeightsRequest, context: Context
    ) -> None:
        """Say how far each topic has come that the client may read, some topics at a time."""
        async with self._call("ListHeights", context) as client:
            with self._watch_place(client):
                for page in self._pages_of_heights():
                    await context.write(_heights(client, page))

    def _pages_of_heights(self) -> Iterator[dict[str, int]]:
        """The highest height of each topic, decided or used otherwise, some topics at a time."""
        beside = self._replica.highest_beside_decided()
        after = ""
        while found := self._store.highest(after, LIST_DECISIONS_MAX):
            after = found[-1].topic
            yield {each.topic: max(each.height, beside.pop(each.topic, 0)) for each in found}
        rest = sorted(beside)
        for start in range(0, len(rest), LIST_DECISIONS_MAX):
            yield {topic: beside[topic] for topic in rest[start : start + LIST_DECISIONS_MAX]}

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
            clock_unix_ms=time.time_ns() // 1_000_000,
        )

    async def ListEvidence(  # noqa: N802
        self,
        request: pb.ListEvidenceRequest,
        context: Context,
    ) -> pb.ListEvidenceReply:
        """Give what this node holds against validators, a page at a time.

        Records of topics that the client may not read are left out.
        """
        async with self._call("ListEvidence", context) as client:
            if not client.permissions.read:
                raise denied()
            kept = [
                evidence
                for evidence in self._replica.misconduct.evidence
                if client.permissions.may_read(as_instance(evidence.first.instance).topic)
            ]
            end = request.after + LIST_EVIDENCE_MAX
            reply = pb.ListEvidenceReply(next=end if end < len(kept) else None)
            for evidence in kept[request.after : end]:
                fill_evidence(reply.evidence.add(), evidence)
            charged = self._charged(reply, client)
            if charged is None:
                raise _unread_full()
            return charged

    def _charged(self, reply: Reply, client: Caller) -> Reply | None:
        """Account for a reply until its call has ended: whoever does not read has it kept here.

        None if there is no room: nobody may hold on to it while the refusal is being told, which
        takes as long as the client likes.
        """
        unread, name, size = self._budgets.unread, client.name, reply.ByteSize()
        if not unread.take(name, size):
            return None

        def give_back(_: object) -> None:
            unread.give_back(name, size)

        client.context.add_done_callback(give_back)  # type: ignore[arg-type] # the stubs are wrong
        return reply

    async def _write(self, message: Message, client: Caller) -> None:
        """Write one reply of a stream.

        Raises:
            Refusal: there is no room for it.
        """
        if not await self._is_written(message, client):
            raise _unread_full()

    async def _is_written(self, message: Message, client: Caller) -> bool:
        """Whether there was room for a reply of a stream until gRPC has taken it."""
        with self._budgets.unread.room(client.name, message.ByteSize()) as has_room:
            if has_room:
                await client.context.write(message)
            return has_room

    # --- what all calls share ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _call(
        self, method: str, context: Context, needs: Needs = lambda _: True
    ) -> AsyncIterator[Caller]:
        """Around every call: who calls, what a refusal becomes, and how it ended.

        One that lasts says what it `needs`: it begins for no other client, and ends when its client
        has it no more.
        """
        code = grpc.StatusCode.CANCELLED
        with contextlib.ExitStack() as place:
            try:
                with self.admission.admitted(context, needs) as client:
                    calls = self._budgets.shares.place(client.name, self._budgets.calls)
                    place.enter_context(calls)
                    with self._traced(context):
                        yield client
                code = grpc.StatusCode.OK
            except Refusal as refusal:
                code = refusal.code
                await context.abort(refusal.code, refusal.message, tuple(refusal.trailers))
            except DecisionsError as error:
                told = refusal_of(error)
                code = told.code
                await context.abort(told.code, told.message)
            finally:
                self._metrics.call_ended(method, code.name)

    def _traced(self, context: Context) -> contextlib.AbstractContextManager[None]:
        """Let what the call opens be part of its trace, where there are traces."""
        if self._traces is None:
            return contextlib.nullcontext()
        return self._traces.continued(context.invocation_metadata())


def _reads(may: Permissions) -> bool:
    return bool(may.read)


def _proposes(may: Permissions) -> bool:
    return bool(may.propose)


def _decided(decision: Decision) -> pb.ProposeReply:
    return pb.ProposeReply(decision=decision_to_pb(decision))


def _unread_full() -> Refusal:
    return full("too many replies wait here to be read", RETRY_MS)


def _reply(request_id: int, outcome: Decision | pb.Failure) -> pb.ProposeStreamReply:
    """Write one reply of a stream."""
    if isinstance(outcome, Decision):
        return pb.ProposeStreamReply(id=request_id, decision=decision_to_pb(outcome))
    return pb.ProposeStreamReply(id=request_id, failure=outcome)


def _heights(client: Caller, highest: Mapping[str, int]) -> pb.ListHeightsReply:
    """Write the topics that a client may read."""
    reply = pb.ListHeightsReply()
    for topic, height in highest.items():
        if client.permissions.may_read(topic):
            reply.highest.add(topic=topic, height=height)
    return reply


def _readable(client: Caller, topic: str, height: int) -> InstanceId:
    """Where to read; refused before anything is looked up, so that it tells of nothing."""
    start = _read_topic(topic, height)
    if not client.permissions.may_read(topic):
        raise denied()
    return start


def _read_topic(topic: str, height: int) -> InstanceId:
    try:
        return InstanceId(topic, height)
    except ValueError as error:
        raise invalid(str(error)) from error


def _height(decision: Decision) -> int:
    instance = decision.instance
    return instance.height if isinstance(instance, InstanceId) else 0
