"""Many proposals in flight over one stream to each node (`ProposeStream`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
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
    """The stream of proposals to one node: opened at first use, and again after it broke.

    What a node does not read waits here, one entry for each proposal that somebody still waits
    for: a node that reads nothing costs no more than the caller's own number in flight.
    """

    def __init__(self, link: NodeLink) -> None:
        self._link = link
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[pb.ProposeStreamReply]] = {}
        self._unsent = _Unsent()
        self._running: asyncio.Task[None] | None = None

    @property
    def unsent(self) -> int:
        """How many proposals the node has not taken yet."""
        return len(self._unsent)

    async def propose(self, proposal: messages_pb2.Proposal) -> messages_pb2.Decision:
        """Have a value decided, as the unary call does.

        Raises:
            ClientError: the node says no, or the stream broke.
        """
        if self._running is None:
            self._unsent = _Unsent()
            self._running = asyncio.create_task(self._run(self._unsent))
        unsent = self._unsent
        identity = next(self._ids)
        replied: asyncio.Future[pb.ProposeStreamReply] = asyncio.get_running_loop().create_future()
        self._waiting[identity] = replied
        unsent.put(identity, proposal)
        try:
            reply = await replied
        finally:
            del self._waiting[identity]
            unsent.drop(identity)
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

    async def _run(self, unsent: _Unsent) -> None:
        """Hand over replies until the stream ends; then nobody waits on it any more."""
        node = self._link.node
        failed: ClientError = Unavailable(f"node {node}: the stream has ended", node=node)
        try:
            async for reply in self._link.propose_stream(unsent.requests()):
                replied = self._waiting.get(reply.id)
                if replied is not None and not replied.done():
                    replied.set_result(reply)
        except ClientError as error:
            failed = error
        finally:
            self._running = None
            unsent.end()
            for replied in self._waiting.values():
                if not replied.done():
                    replied.set_exception(failed)

    async def close(self) -> None:
        """End the stream; what is still waited for fails as unavailable."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


class _Unsent:
    """The proposals that one stream has still to carry, the oldest first."""

    def __init__(self) -> None:
        self._proposals: OrderedDict[int, messages_pb2.Proposal] = OrderedDict()
        self._some = asyncio.Event()
        self._has_ended = False

    def put(self, identity: int, proposal: messages_pb2.Proposal) -> None:
        """Let a proposal wait until the node reads."""
        self._proposals[identity] = proposal
        self._some.set()

    def end(self) -> None:
        """Let `requests` end: the stream is over, and gRPC waits for no more of them."""
        self._has_ended = True
        self._some.set()

    def drop(self, identity: int) -> None:
        """Forget a proposal for which nobody waits any more, if it is still here."""
        self._proposals.pop(identity, None)

    async def requests(self) -> AsyncIterator[pb.ProposeStreamRequest]:
        """Whatever waits, one at a time as gRPC takes it, until the stream is over."""
        while not self._has_ended:
            if not self._proposals:
                self._some.clear()
                await self._some.wait()
                continue
            identity, proposal = self._proposals.popitem(last=False)
            yield pb.ProposeStreamRequest(id=identity, proposal=proposal)

    def __len__(self) -> int:
        return len(self._proposals)
