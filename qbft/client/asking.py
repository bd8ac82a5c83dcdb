"""Whom a client asks, in which order and for how long: every call goes this way.

Which node is asked next is said in `qbft.client.hedging`, whether one is asked again in
`qbft.client.retrying`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from qbft.client.access import Access
from qbft.client.belief import Belief
from qbft.client.errors import (
    ClientError,
    DeadlineExceeded,
    NoNodeLeft,
    Refused,
    Unavailable,
    refused_by,
)
from qbft.client.hedging import Ask, Judge, Patience, first_good
from qbft.client.node import NodeLink
from qbft.client.retrying import until_available
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader

T = TypeVar("T")


class Asking:
    """The nodes of a cluster, as one client asks them.

    `timeout` is that of a call that is given none of its own, in seconds; where it is None too, it
    waits for ever.
    """

    def __init__(self, cluster: Cluster, access: Access, timeout: float | None) -> None:
        self._access = access
        self.cluster = cluster
        self.timeout = timeout
        self.roster = cluster.roster
        self.belief = Belief(self.roster)
        self._leader = service_leader(self.roster)
        self.links: list[NodeLink] = []
        """By node, as long as the client is open."""

    def begin(self) -> None:
        """Prepare a channel to every node."""
        self.links = [
            NodeLink(node, validator, self._access)
            for node, validator in enumerate(self.cluster.validators)
        ]

    async def close(self) -> None:
        """Close the channels; calls that still run fail, as `Closed`."""
        links, self.links = self.links, []
        for link in links:
            await link.close()

    async def ask(
        self,
        what: str,
        nodes: Sequence[int],
        call: Callable[[NodeLink, float | None], Awaitable[T]],
        seconds: float | None,
        *,
        patience: Patience,
        judge: Judge | None = None,
        learns: bool = False,
        width: int = 1,
    ) -> T:
        """Ask these nodes, hedged and retried, until the deadline.

        Args:
            what: what is done, as the caller is told when no answer comes in time.
            nodes: whom to ask, the best first; those that have lied are left out.
            call: asks one, in so many seconds, and believes nothing that is not proven.
            seconds: how long all of it may take; None is the client's own `timeout`.
            patience: how long a node may be silent before another one is asked.
            judge: ends it early, see `first_good`; `refused` where there is none.
            learns: for askings that are like most. What the caller's node takes, or a page, is not
                what answers usually take; nor is the time for which a node was away.
            width: how many are asked from the start.

        Raises:
            ClientError: see `first_good`; `DeadlineExceeded` and `NoNodeLeft` among them.
        """
        if seconds is None:
            seconds = self.timeout
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
                    answer = await call(link, seconds_until(deadline.when()))
                    if learns:
                        patience.answered(now() - began)
                    return answer

                return await until_available(try_once, stumbled, link.rest)

            return ask

        links = self.believed(nodes)
        delay = patience.delay
        if seconds is not None:
            delay = min(delay, seconds / (self.roster.faulty + 2))
        try:
            async with asyncio.timeout(seconds) as deadline:
                asks = [asking(link) for link in links]
                return await first_good(asks, delay=delay, width=width, judge=judge or self.refused)
        except TimeoutError:
            raise DeadlineExceeded(what, seconds or 0.0, failures) from None

    def order(self, instance: InstanceId, node: int | None = None) -> list[int]:
        """All nodes, from the leader of round 1 on, in the order in which they lead; or that one.

        Raises:
            ValueError: there is no such node.
        """
        if node is not None:
            return [self.known(node)]
        nodes = self.roster.nodes
        return [self._leader(instance, round_) for round_ in range(1, nodes + 1)]

    def known(self, node: int) -> int:
        """That node.

        Raises:
            ValueError: there is no such node.
        """
        nodes = self.roster.nodes
        if not 0 <= node < nodes:
            raise ValueError(f"node = {node}: allowed is 0 to {nodes - 1}")
        return node

    def believed(self, nodes: Sequence[int]) -> list[NodeLink]:
        """The links to those nodes that have not lied.

        Raises:
            NoNodeLeft: none is left.
            ClientError: the client is not open.
        """
        if not self.links:
            raise ClientError("the client is not open: use it in `async with`")
        links = [self.links[node] for node in nodes if self.belief.believes(node)]
        if not links:
            liars = self.belief.liars
            reasons = "; ".join(f"node {node}: {liars[node]}" for node in nodes)
            raise NoNodeLeft(f"no node is left that did not lie ({reasons})")
        return links

    def refused(self, failures: Sequence[ClientError]) -> None:
        """Judge failures: where more nodes refuse than can be faulty, an honest one does.

        Raises:
            Refused: they do.
        """
        refusals = [failure for failure in failures if isinstance(failure, Refused)]
        if len(refusals) > self.roster.faulty:
            raise refused_by(refusals)


def seconds_until(when: float | None) -> float | None:
    """How long it is until a time of the loop's clock, at least 0; None stays None."""
    return None if when is None else max(0.0, when - asyncio.get_running_loop().time())
