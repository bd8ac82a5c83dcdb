"""Following decisions as they come: streams that break, stall or lie are taken up elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from qbft.client.asking import Asking
from qbft.client.errors import Lied, Refused, Unavailable, refused_by
from qbft.client.node import NodeLink
from qbft.client.retrying import until_available
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.decision import Decision
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

Told = TypeVar("Told")
Known = TypeVar("Known")


async def watch(
    asking: Asking, topic: str, from_height: int, *, node: int | None, stall: float
) -> AsyncGenerator[Decision, None]:
    """Follow a topic height by height, without gaps, for ever, at any node or at that one.

    Raises:
        ValueError: topic, height or node is outside what there can be.
        ClientError: see `Client.watch`.
    """
    following = InstanceId(topic, from_height)
    nodes = asking.order(following, node)

    def check(teller: int, told: messages_pb2.Decision) -> Decision:
        return asking.belief.check(teller, told, following)

    place = Watch(
        lambda: asking.believed(nodes),
        lambda link: link.watch(following),
        check,
        refusals_max=asking.roster.faulty if node is None else 0,
        stall=stall,
    )
    try:
        while True:
            yield await place.next()
            if following.height == HEIGHT_MAX:
                return
            following = InstanceId(topic, following.height + 1)
    finally:
        await place.close()


async def watch_all(
    asking: Asking, node: int, cursor: bytes
) -> AsyncGenerator[tuple[Decision, bytes], None]:
    """Follow all decisions in one node's own order, each with the cursor to go on from.

    Raises:
        ValueError: there is no such node.
        ClientError: see `Client.watch_all`.
    """
    nodes = [asking.known(node)]

    def check(teller: int, told: pb.WatchAllReply) -> tuple[Decision, bytes]:
        return asking.belief.check(teller, told.decision), told.cursor

    place = Watch(
        lambda: asking.believed(nodes),
        lambda link: link.watch_all(cursor),
        check,
        refusals_max=0,
        stall=None,
    )
    try:
        while True:
            decision, cursor = await place.next()
            yield decision, cursor
    finally:
        await place.close()


class Watch(Generic[Told, Known]):
    """One reader's place in a stream that any of several nodes can give.

    Args:
        links: gives those that may be asked, the best first; raises when there is none.
        open_: opens a node's stream where the reader stands.
        check: what a message proves; raises `Lied`.
        refusals_max: how many nodes may refuse before the reader is told.
        stall: seconds without a message after which another node is tried.
    """

    def __init__(
        self,
        links: Callable[[], Sequence[NodeLink]],
        open_: Callable[[NodeLink], AsyncIterator[Told]],
        check: Callable[[int, Told], Known],
        *,
        refusals_max: int,
        stall: float | None,
    ) -> None:
        self._links = links
        self._open = open_
        self._check = check
        self._refusals_max = refusals_max
        self._stall = stall
        self._turn = 0
        self._link: NodeLink | None = None
        self._stream: AsyncIterator[Told] | None = None
        self._refused: dict[int, Refused] = {}

    async def next(self) -> Known:
        """Wait for the next message, however often the stream has to be opened again.

        Raises:
            Refused: more nodes than may refuse it do.
            NoNodeLeft: no node is left to ask.
            Closed: the client was closed meanwhile.
        """
        known = await until_available(self._try, lambda _: None, self._rest)
        self._refused.clear()
        return known

    async def _try(self) -> Known:
        """Read from the stream that is open, or from the next node's."""
        links = self._links()
        if self._stream is None or self._link is None:
            self._link = links[self._turn % len(links)]
            self._stream = self._open(self._link)
        node = self._link.node
        try:
            async with asyncio.timeout(self._stall):
                told = await anext(self._stream)
            return self._check(node, told)
        except Refused as refused:
            self._refused[node] = refused
            if len(self._refused) > min(self._refusals_max, len(links) - 1):
                raise refused_by(list(self._refused.values())) from None
            why = str(refused)
        except Lied:
            await self._leave()
            return await self._try()  # there are ever fewer to ask
        except TimeoutError:
            why = f"node {node}: nothing in {self._stall} s"
        except StopAsyncIteration:
            why = f"node {node}: the stream has ended"
        except Unavailable as error:
            why = str(error)
        await self._leave()
        raise Unavailable(why, node=node)

    async def _rest(self, seconds: float) -> None:
        """Wait before the next try, as long as the client is open."""
        if self._link is not None:
            await self._link.rest(seconds)

    async def _leave(self) -> None:
        self._turn += 1
        await self.close()

    async def close(self) -> None:
        """End the stream that is open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()  # type: ignore[attr-defined]
