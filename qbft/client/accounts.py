"""What nodes tell of themselves and of others: how they are, how far they came, what they hold.

Every node is asked beside the others, and that one does not answer is told beside the others'
answers. Of evidence each piece proves itself; of all the rest nothing is proven: a faulty node may
say what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from qbft.client.asking import Asking
from qbft.client.errors import ClientError, Lied, Unavailable
from qbft.client.node import NodeLink
from qbft.client.status import NodeStatus, status_from_pb
from qbft.core import InstanceId
from qbft.crypto.evidence import Evidence
from qbft.errors import QbftError
from qbft.replay.capture import own_record
from qbft.replay.record import InstanceRecord

T = TypeVar("T")

EVIDENCE_MAX = 4_096
"""Records of evidence that are read of one node: twice what the largest cluster's nodes keep."""
HEIGHTS_TOPICS_MAX = 1 << 20
"""Topics that are taken from one node, which may be a liar and go on for ever."""


async def statuses(asking: Asking, seconds: float) -> dict[int, NodeStatus | ClientError]:
    """How every node is, or why it does not say."""
    now = asyncio.get_running_loop().time

    async def ask(link: NodeLink) -> NodeStatus | ClientError:
        asked_s = now()
        try:
            return status_from_pb(await link.status(seconds), asked_s, now())
        except ClientError as failure:
            return failure

    told = await asyncio.gather(*map(ask, asking.links))
    return dict(enumerate(told))


async def records(
    asking: Asking, instance: InstanceId, seconds: float, node: int | None
) -> dict[int, InstanceRecord | QbftError | None]:
    """What every node, or that one, recorded of an instance; None: it has nothing.

    Raises:
        ValueError: there is no such node.
    """

    async def ask(link: NodeLink) -> InstanceRecord | QbftError | None:
        try:
            reply = await link.capture(instance, seconds)
            if not reply.HasField("record"):
                return None
            return own_record(reply.record, instance, link.node, asking.roster.nodes)
        except QbftError as failure:
            return failure

    links = asking.links if node is None else [asking.links[asking.known(node)]]
    told = await asyncio.gather(*map(ask, links))
    return {link.node: answer for link, answer in zip(links, told, strict=True)}


async def heights(asking: Asking, seconds: float) -> dict[int, dict[str, int] | ClientError]:
    """How far each topic has come at every node, or why it does not say."""

    async def ask(node: int) -> dict[str, int]:
        highest: dict[str, int] = {}
        async with aclosing(asking.links[node].heights()) as pages:
            async for page in pages:
                highest.update((each.topic, each.height) for each in page.highest)
                if len(highest) > HEIGHTS_TOPICS_MAX:
                    raise Lied(node, "it names more topics than there can be")
        return highest

    return await _in_time(ask, range(len(asking.links)), seconds)


async def evidence(
    asking: Asking, seconds: float, node: int | None
) -> dict[int, list[Evidence] | ClientError]:
    """What every node, or that one, has proven against validators, or why it has told nothing.

    Raises:
        ValueError: there is no such node.
    """
    nodes = range(asking.roster.nodes) if node is None else [asking.known(node)]

    async def ask(node: int) -> list[Evidence]:
        """Read all pages, whatever it says, up to a bound."""
        (link,) = asking.believed([node])
        found: list[Evidence] = []
        while len(found) < EVIDENCE_MAX:
            reply = await link.evidence_page(len(found), None)
            found += [asking.belief.check_evidence(node, each) for each in reply.evidence]
            if not reply.HasField("next") or not reply.evidence:
                break
        return found

    return await _in_time(ask, nodes, seconds)


async def _in_time(
    ask: Callable[[int], Awaitable[T]], nodes: Sequence[int], seconds: float
) -> dict[int, T | ClientError]:
    """What each of these nodes answers, or why it does not."""

    async def answer(node: int) -> T | ClientError:
        try:
            async with asyncio.timeout(seconds):
                return await ask(node)
        except TimeoutError:
            return Unavailable(f"node {node}: no answer in {seconds:g} s", node=node)
        except ClientError as failure:
            return failure

    return dict(zip(nodes, await asyncio.gather(*map(answer, nodes)), strict=True))
