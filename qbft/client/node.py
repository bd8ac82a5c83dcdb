"""One node as a client sees it: its calls, with statuses turned into failures of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from grpc import aio

from qbft.client.access import Access
from qbft.client.errors import Closed, Unavailable
from qbft.client.retrying import failure_of
from qbft.client.tracing import Metadata, trace_metadata
from qbft.cluster import Validator
from qbft.core import InstanceId
from qbft.wire.v1 import capture_pb2, inspection_pb2, messages_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class _Unary(Protocol[Request, Reply]):
    def __call__(
        self, request: Request, *, timeout: float | None, metadata: Metadata
    ) -> aio.UnaryUnaryCall[Request, Reply]: ...


class _Streaming(Protocol[Request, Reply]):
    def __call__(
        self, request: Request, /, *, metadata: Metadata
    ) -> aio.UnaryStreamCall[Request, Reply]: ...


class NodeLink:
    """The channel to one node. Nothing that it gives is verified yet.

    Every call raises a `ClientError` where gRPC gives a status, and `Closed` when the link is
    closed, before it or while it runs.
    """

    def __init__(self, node: int, validator: Validator, access: Access) -> None:
        self.node = node
        self.address = validator.client
        self._metadata = access.metadata
        self._closed = asyncio.Event()
        self._channel = access.channel(validator)
        self._stub = DecisionServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """End the channel and all that still runs on it."""
        self._closed.set()
        await self._channel.close(None)

    async def rest(self, seconds: float) -> None:
        """Wait before the node is asked again; not for a link that is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def propose(
        self, proposal: messages_pb2.Proposal, seconds: float | None
    ) -> messages_pb2.Decision | None:
        """Have a value decided."""
        method: _Unary[pb.ProposeRequest, pb.ProposeReply] = self._stub.Propose
        reply = await self._call(method, pb.ProposeRequest(proposal=proposal), seconds)
        return reply.decision

    async def append(self, topic: str, entry: pb.Entry, seconds: float | None) -> pb.AppendReply:
        """Have an entry stand in an ordered topic."""
        method: _Unary[pb.AppendRequest, pb.AppendReply] = self._stub.Append
        return await self._call(method, pb.AppendRequest(topic=topic, entry=entry), seconds)

    async def next_height(self, topic: str, seconds: float | None) -> int:
        """Ask how far an ordered topic has come."""
        method: _Unary[pb.GetNextHeightRequest, pb.GetNextHeightReply] = self._stub.GetNextHeight
        reply = await self._call(method, pb.GetNextHeightRequest(topic=topic), seconds)
        return reply.height

    async def get(self, instance: InstanceId, seconds: float | None) -> pb.GetDecisionReply:
        """Read one instance."""
        method: _Unary[pb.GetDecisionRequest, pb.GetDecisionReply] = self._stub.GetDecision
        request = pb.GetDecisionRequest(instance=instance_to_pb(instance))
        return await self._call(method, request, seconds)

    async def list_page(
        self, start: InstanceId, limit: int, seconds: float | None
    ) -> pb.ListDecisionsReply:
        """Read a page of a topic, from a height on."""
        method: _Unary[pb.ListDecisionsRequest, pb.ListDecisionsReply] = self._stub.ListDecisions
        request = pb.ListDecisionsRequest(topic=start.topic, from_height=start.height, limit=limit)
        return await self._call(method, request, seconds)

    async def status(self, seconds: float | None) -> pb.GetStatusReply:
        """Ask how it is."""
        method: _Unary[pb.GetStatusRequest, pb.GetStatusReply] = self._stub.GetStatus
        return await self._call(method, pb.GetStatusRequest(), seconds)

    async def inspect(
        self, instance: InstanceId, seconds: float | None
    ) -> inspection_pb2.InspectInstanceReply:
        """Ask how it stands in one instance."""
        method: _Unary[
            inspection_pb2.InspectInstanceRequest, inspection_pb2.InspectInstanceReply
        ] = self._stub.InspectInstance
        request = inspection_pb2.InspectInstanceRequest(instance=instance_to_pb(instance))
        return await self._call(method, request, seconds)

    async def evidence_page(self, after: int, seconds: float | None) -> pb.ListEvidenceReply:
        """Read a page of what it holds against validators."""
        method: _Unary[pb.ListEvidenceRequest, pb.ListEvidenceReply] = self._stub.ListEvidence
        return await self._call(method, pb.ListEvidenceRequest(after=after), seconds)

    async def capture(
        self, instance: InstanceId, seconds: float | None
    ) -> capture_pb2.CaptureInstanceReply:
        """Ask what it recorded of one instance."""
        method: _Unary[capture_pb2.CaptureInstanceRequest, capture_pb2.CaptureInstanceReply] = (
            self._stub.CaptureInstance
        )
        request = capture_pb2.CaptureInstanceRequest(instance=instance_to_pb(instance))
        return await self._call(method, request, seconds)

    def heights(self) -> AsyncGenerator[pb.ListHeightsReply, None]:
        """Ask how far each topic has come there."""
        method: _Streaming[pb.ListHeightsRequest, pb.ListHeightsReply] = self._stub.ListHeights
        return self._stream(method, pb.ListHeightsRequest())

    def watch(self, start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        """Follow a topic from a height on."""
        method: _Streaming[pb.WatchRequest, messages_pb2.Decision] = self._stub.Watch
        return self._stream(method, pb.WatchRequest(topic=start.topic, from_height=start.height))

    def watch_all(self, cursor: bytes) -> AsyncIterator[pb.WatchAllReply]:
        """Follow the node's own order."""
        method: _Streaming[pb.WatchAllRequest, pb.WatchAllReply] = self._stub.WatchAll
        return self._stream(method, pb.WatchAllRequest(cursor=cursor))

    def propose_stream(
        self, requests: AsyncIterator[pb.ProposeStreamRequest]
    ) -> AsyncIterator[pb.ProposeStreamReply]:
        """Have many values decided; replies name their requests."""
        method: _Streaming[AsyncIterator[pb.ProposeStreamRequest], pb.ProposeStreamReply]
        method = self._stub.ProposeStream
        return self._stream(method, requests)

    async def _call(
        self, method: _Unary[Request, Reply], request: Request, seconds: float | None
    ) -> Reply:
        with self._failures():
            reply = await method(request, timeout=seconds, metadata=self._told)
        return self._parsed(reply)

    async def _stream(
        self, method: _Streaming[Request, Reply], request: Request
    ) -> AsyncGenerator[Reply, None]:
        with self._failures():
            call = method(request, metadata=self._told)
            try:
                async for reply in call:
                    yield self._parsed(reply)
            finally:
                call.cancel()

    @property
    def _told(self) -> Metadata:
        """What goes with a call: credentials, and the trace that it is part of."""
        return self._metadata + trace_metadata()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Say in the client's words what gRPC raises.

        When a channel is closed gRPC cancels its calls as if their callers had: who was not
        cancelled is told what has happened.
        """
        try:
            yield
        except aio.AioRpcError as error:
            if self._closed.is_set():
                raise Closed from None
            raise failure_of(self.node, error) from None
        except aio.UsageError:
            if self._closed.is_set():
                raise Closed from None
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed.is_set() and task is not None and not task.cancelling():
                raise Closed from None
            raise

    def _parsed(self, reply: Reply | None) -> Reply:
        """The reply; gRPC gives None for bytes that are no message of that kind."""
        if reply is None:
            raise Unavailable(f"node {self.node}: malformed reply", node=self.node)
        return reply


def instance_to_pb(instance: InstanceId) -> messages_pb2.InstanceId:
    """Write an instance."""
    return messages_pb2.InstanceId(topic=instance.topic, height=instance.height)
