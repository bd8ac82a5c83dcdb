"""Entries that are signed by their author, for the heights at which they may stand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from qbft.client.errors import Refused
from qbft.crypto.entries import WINDOW_HEIGHTS, Entry, sign_entry
from qbft.crypto.keys import VoteKey

TOPICS_KEPT_MAX = 1_024
"""Ordered topics of which a client remembers for which heights it signs."""


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


def is_signed_for_other_heights(refusal: Refused) -> bool:
    """Whether signing anew may help."""
    return refusal.code == "OUT_OF_RANGE"
