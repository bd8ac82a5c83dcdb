"""Appending to ordered topics (docs/ORDERED.md)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from qbft.client.asking import Asking, seconds_until
from qbft.client.batches import Batches
from qbft.client.belief import Belief
from qbft.client.errors import Refused
from qbft.client.hedging import Patience
from qbft.client.node import NodeLink
from qbft.client.reading import Reading
from qbft.client.signing import Signing, is_signed_for_other_heights
from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.entries import REQUEST_ID_BYTES_MAX, Entry, entries_of
from qbft.crypto.keys import VoteKey
from qbft.decision import Decision
from qbft.ordered import Appended, Position
from qbft.wire.entries import entry_to_pb
from qbft.wire.v1 import decision_pb2 as pb

REQUEST_ID_BYTES = 16
"""Of those that a client makes up."""
SIGNINGS_MAX = 3
"""Times that an entry is signed anew because the topic has left what it was signed for."""


class Appending:
    """Appends, with the `key` that signs entries where there is one."""

    def __init__(
        self, asking: Asking, reading: Reading, key: VoteKey | None, patience: Patience
    ) -> None:
        self._asking = asking
        self._patience = patience
        self._preference = _Preference()
        self._batches = Batches(reading)
        cluster_id = asking.roster.cluster_id
        self._signing = None if key is None else Signing(key, cluster_id, reading.next_height)

    async def append(
        self, topic: str, value: bytes, request_id: bytes | None, seconds: float | None
    ) -> Appended:
        """Put a value at the next free position of a topic; gives where it stands.

        Raises:
            ValueError: the topic or the request id is none.
            ClientError: see `Client.append`.
        """
        where = InstanceId(topic, 0)
        if request_id is None:
            request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        if not 1 <= len(request_id) <= REQUEST_ID_BYTES_MAX:
            raise ValueError(f"a request id has 1 to {REQUEST_ID_BYTES_MAX} bytes")
        if seconds is None:
            seconds = self._asking.timeout
        if self._signing is None:
            return await self._append(where, Entry(request_id, value), seconds)
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds
        signings = 0
        while True:
            signings += 1
            entry = await self._signing.sign(topic, request_id, value, seconds_until(when))
            try:
                appended = await self._append(where, entry, seconds_until(when))
            except Refused as refusal:
                if signings == SIGNINGS_MAX or not is_signed_for_other_heights(refusal):
                    raise
                self._signing.forget(topic)
            else:
                self._signing.note(topic, appended.position.height)
                return appended

    async def _append(self, where: InstanceId, entry: Entry, seconds: float | None) -> Appended:
        asking, topic, message = self._asking, where.topic, entry_to_pb(entry)
        usual = asking.order(where)

        async def ask(link: NodeLink, seconds: float | None) -> Appended:
            reply = await link.append(topic, message, seconds)
            position = _position_in(asking.belief, link.node, reply)
            instance = InstanceId(topic, position.height)
            if reply.HasField("decision"):
                decision = asking.belief.check(link.node, reply.decision, instance)
            else:
                decision = await self._batches.get(instance, link.node)
            appended = _appended_at(asking.belief, link.node, position, entry, decision)
            self._preference.answered(link, usual)
            return appended

        return await asking.ask(
            f"appending to {topic}",
            self._preference.order(usual),
            ask,
            seconds,
            patience=self._patience,
            learns=True,
        )


class _Preference:
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


def _position_in(belief: Belief, node: int, reply: pb.AppendReply) -> Position:
    """Where a node says that an entry stands.

    Raises:
        Lied: nothing can stand there.
    """
    if reply.height > HEIGHT_MAX:
        raise belief.caught(node, f"it gives an entry the height {reply.height}")
    return Position(reply.height, reply.index)


def _appended_at(
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
