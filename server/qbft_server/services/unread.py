"""Replies that their clients have not taken: they are kept here, so they are bounded (issue 6).

Each is held up to three times, as a message, as bytes, and by gRPC, and for as long as a client
likes: it may take nothing on a connection that it keeps alive. So all replies together have a
bound, of which each client has its share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qbft_server.bounds import NodeBound
from qbft_server.services.shares import Shared, Shares
from qbft_server.telemetry.load import ClientLoad

UNREAD_BYTES_MAX = 32 << 20
"""Replies of all clients that were not taken yet."""

SMALL_REPLY_BYTES = 1_024
"""Replies below this are bounded by the number of calls alone."""


class Unread:
    """How many bytes wait, by client."""

    def __init__(self, load: ClientLoad, shares: Shares) -> None:
        self._shares = shares
        self._bytes = Shared(
            load.unread_bytes,
            UNREAD_BYTES_MAX,
            "bytes of replies wait to be read",
            NodeBound.UNREAD_BYTES_MAX,
        )

    def take(self, client: str, size: int) -> bool:
        """Whether there was room for a reply of this size; it is taken now."""
        return size < SMALL_REPLY_BYTES or self._shares.take(client, self._bytes, size)

    def give_back(self, client: str, size: int) -> None:
        """Free the room of a reply that was taken, or whose call has ended."""
        if size >= SMALL_REPLY_BYTES:
            self._shares.give_back(client, self._bytes, size)

    @contextmanager
    def room(self, client: str, size: int) -> Iterator[bool]:
        """Whether there is room while the block lasts."""
        has_room = self.take(client, size)
        try:
            yield has_room
        finally:
            if has_room:
                self.give_back(client, size)
