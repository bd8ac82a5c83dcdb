"""Appending to ordered topics, and reading them in order (docs/ORDERED.md)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from qbft.client.belief import Belief
from qbft.client.errors import ClientError, Refused
from qbft.client.node import NodeLink
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.entries import WINDOW_HEIGHTS, Entry, entries_of, sign_entry
from qbft.crypto.keys import VoteKey
from qbft.decision import Decision
from qbft.ordered import Appended, LogEntry, Position, Window
from qbft.wire.v1 import decision_pb2 as pb

REQUEST_ID_BYTES = 16
"""Of those that a client makes up."""
SIGNINGS_MAX = 3
"""Times that an entry is signed anew because the topic has left what it was signed for."""

BATCHES_KEPT = 8
TOPICS_KEPT_MAX = 1_024


class MoreWanted(ClientError):  # noqa: N818 - never leaves the client
    """One answer is not enough."""


def position_in(belief: Belief, node: int, reply: pb.AppendReply) -> Position:
    """Where a node says that an entry stands.

    Raises:
        Lied: nothing can stand there.
    """
    if reply.height > HEIGHT_MAX:
        raise belief.caught(node, f"it gives an entry the height {reply.height}")
    return Position(reply.height, reply.index)


def appended_at(
    belief: Belief, node: int, position: Position, entry: Entry, decision: Decision
) -> Appended:
    """An entry with its proof; one of the same author, request id and value is the same.

    Raises:
        Lied: it does not stand where this node said.
    """
    entries = entries_of(decision.value)
    if position.index < len(entries):
        found = entries[position.index]
        if found.key == entry.key and found.value == entry.value:
            return Appended(position, found, decision)
    raise belief.caught(node, f"the entry does not stand at {position}")


@dataclass(slots=True)
class Signing:
    """Signs entries for the heights that are next.

    `heights` gives what nodes say of a topic, its next height, in so many seconds.
    """

    key: VoteKey
    cluster_id: bytes
    heights: Callable[[str, float | None], Awaitable[int]]
    _known: OrderedDict[str, int] = field(default_factory=OrderedDict)

    async def sign(
        self, topic: str, request_id: bytes, value: bytes, seconds: float | None
    ) -> Entry:
        """Sign an entry that may stand from now on, as long as any may.

        Raises:
            ClientError: it cannot be learnt in time how far the topic has come.
        """
        height = self._known.get(topic)
        if height is None:
            height = await self.heights(topic, seconds)
            self.note(topic, height)
        until = height + WINDOW_HEIGHTS
        return sign_entry(self.key, self.cluster_id, topic, request_id, value, until=until)

    def note(self, topic: str, height: int) -> None:
        """Take a height that the topic has reached."""
        self._known[topic] = max(height, self._known.get(topic, 0))
        self._known.move_to_end(topic)
        if len(self._known) > TOPICS_KEPT_MAX:
            self._known.popitem(last=False)

    def forget(self, topic: str) -> None:
        """Ask again how far it has come."""
        self._known.pop(topic, None)


class Batches:
    """The decisions that were read last: many entries of one client may stand in one."""

    def __init__(self, read: Callable[[InstanceId, int], Awaitable[Decision]]) -> None:
        self._read = read
        self._kept: OrderedDict[InstanceId, Decision] = OrderedDict()
        self._reading: dict[int, asyncio.Lock] = {}

    async def get(self, instance: InstanceId, node: int) -> Decision:
        """A decision, of this node if it is not here; read once by all that want it of this node.

        One that does not answer holds up nobody who asks another.

        Raises:
            ClientError: it cannot be had.
        """
        async with self._reading.setdefault(node, asyncio.Lock()):
            decision = self._kept.get(instance)
            if decision is None:
                decision = self._kept[instance] = await self._read(instance, node)
                if len(self._kept) > BATCHES_KEPT:
                    self._kept.popitem(last=False)
            return decision


class Preference:
    """Which node to append at: one for all clients of a topic, so that few batches compete.

    The node that answered when another was slow is asked first from then on.
    """

    def __init__(self) -> None:
        self._node: int | None = None

    def order(self, usual: Sequence[int]) -> list[int]:
        """The nodes, the one to ask first at the beginning."""
        if self._node is None:
            return list(usual)
        return [self._node, *(node for node in usual if node != self._node)]

    def answered(self, link: NodeLink, usual: Sequence[int]) -> None:
        """Note who answered first."""
        self._node = None if link.node == usual[0] else link.node


def enough_told(told: list[int], height: int, faulty: int) -> int:
    """One more answer to how far a topic has come; gives what can be relied on.

    Of 2f+1 answers at most f are false. So the highest of the lowest f+1 is no higher than some
    honest answer, and no lower than another.

    Raises:
        MoreWanted: there are fewer.
    """
    told.append(height)
    if len(told) <= 2 * faulty:
        raise MoreWanted("more answers are wanted")
    return sorted(told)[faulty]


def is_signed_for_other_heights(refusal: Refused) -> bool:
    """Whether signing anew may help."""
    return refusal.code == "OUT_OF_RANGE"


async def log_entries(
    decisions: AsyncIterable[Decision], begin: int, after: Position | None, *, void: bool
) -> AsyncGenerator[LogEntry, None]:
    """Read a topic's decisions, height by height from `begin` on, as entries in order.

    Those up to `after` are left out, and void ones unless they are asked for.
    """
    window = Window(begin)
    async for decision in decisions:
        height, entries = window.next_height, entries_of(decision.value)
        for index, is_void in enumerate(window.take(entries)):
            position = Position(height, index)
            if (after is None or position > after) and (void or not is_void):
                yield LogEntry(position, entries[index], decision, is_void)
