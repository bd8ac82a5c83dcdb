"""Many proposals in flight over one stream to each node (`ProposeStream`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import grpc

from qbft.client.errors import ClientError, Unavailable
from qbft.client.node import NodeLink
from qbft.client.retrying import failure
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


class ProposalStream:
    """The stream of proposals to one node: opened at first use, and again after it broke."""

    def __init__(self, link: NodeLink) -> None:
        self._link = link
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[pb.ProposeStreamReply]] = {}
        self._requests: asyncio.Queue[pb.ProposeStreamRequest] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def propose(self, proposal: messages_pb2.Proposal) -> messages_pb2.Decision:
        """Have a value decided, as the unary call does.

        Raises:
            ClientError: the node says no, or the stream broke.
        """
        if self._running is None:
            self._requests = asyncio.Queue()
            self._running = asyncio.create_task(self._run(self._requests))
        identity = next(self._ids)
        replied: asyncio.Future[pb.ProposeStreamReply] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = replied
        self._requests.put_nowait(pb.ProposeStreamRequest(id=identity, proposal=proposal))
        try:
            reply = await replied
        finally:
            del self._waiting[identity]
        if reply.HasField("failure"):
            raise self._failure(reply.failure)
        return reply.decision

    def _failure(self, told: pb.Failure) -> ClientError:
        return failure(
            self._link.node,
            _STATUS.get(told.code, grpc.StatusCode.UNKNOWN),
            told.message,
            retry_ms=told.retry_ms,
            first_digest=told.first_digest,
        )

    async def _run(self, requests: asyncio.Queue[pb.ProposeStreamRequest]) -> None:
        """Hand over replies until the stream ends; then nobody waits on it any more."""
        node = self._link.node
        failed: ClientError = Unavailable(f"node {node}: the stream has ended", node=node)
        try:
            async for reply in self._link.propose_stream(_until_cancelled(requests)):
                replied = self._waiting.get(reply.id)
                if replied is not None and not replied.done():
                    replied.set_result(reply)
        except ClientError as error:
            failed = error
        finally:
            self._running = None
            for replied in self._waiting.values():
                if not replied.done():
                    replied.set_exception(failed)

    async def close(self) -> None:
        """End the stream; what is still waited for fails as unavailable."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


async def _until_cancelled(
    requests: asyncio.Queue[pb.ProposeStreamRequest],
) -> AsyncIterator[pb.ProposeStreamRequest]:
    """Whatever is queued; gRPC cancels it with the call."""
    while True:
        yield await requests.get()
