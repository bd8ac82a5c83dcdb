"""One node as a client sees it: its calls, with statuses turned into failures of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from grpc import aio

from qbft.client.access import Access
from qbft.client.errors import Unavailable
from qbft.client.retrying import failure_of
from qbft.cluster import Validator
from qbft.core import InstanceId
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Metadata = tuple[tuple[str, str], ...]


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

    Every call raises a `ClientError` where gRPC gives a status.
    """

    def __init__(self, node: int, validator: Validator, access: Access) -> None:
        self.node = node
        self.address = validator.client
        self._metadata = access.metadata
        self._channel = access.channel(validator)
        self._stub = DecisionServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """End the channel and all that still runs on it."""
        await self._channel.close(None)

    async def propose(
        self, proposal: messages_pb2.Proposal, seconds: float | None
    ) -> messages_pb2.Decision | None:
        """Have a value decided."""
        method: _Unary[pb.ProposeRequest, pb.ProposeReply] = self._stub.Propose
        reply = await self._call(method, pb.ProposeRequest(proposal=proposal), seconds)
        return reply.decision

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
        try:
            reply = await method(request, timeout=seconds, metadata=self._metadata)
        except aio.AioRpcError as error:
            raise failure_of(self.node, error) from None
        return self._parsed(reply)

    async def _stream(
        self, method: _Streaming[Request, Reply], request: Request
    ) -> AsyncIterator[Reply]:
        call = method(request, metadata=self._metadata)
        try:
            async for reply in call:
                yield self._parsed(reply)
        except aio.AioRpcError as error:
            raise failure_of(self.node, error) from None
        finally:
            call.cancel()

    def _parsed(self, reply: Reply | None) -> Reply:
        """The reply; gRPC gives None for bytes that are no message of that kind."""
        if reply is None:
            raise Unavailable(f"node {self.node}: malformed reply", node=self.node)
        return reply


def instance_to_pb(instance: InstanceId) -> messages_pb2.InstanceId:
    """Write an instance."""
    return messages_pb2.InstanceId(topic=instance.topic, height=instance.height)
