"""Replies that their clients have not taken: they are kept here, so they are bounded (issue 6).

Each is held up to three times, as a message, as bytes, and by gRPC, and for as long as a client
likes: it may take nothing on a connection that it keeps alive. So all replies together have a
bound, and those of one connection a smaller one, that nobody can keep the others from theirs by one
alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.telemetry.load import ClientLoad

UNREAD_BYTES_MAX = 32 << 20
"""Replies that were not taken yet, of all clients together ..."""

UNREAD_BYTES_PER_CLIENT_MAX = 8 << 20
"""... and of one connection."""

SMALL_REPLY_BYTES = 1_024
"""Replies below this are bounded by the number of calls alone."""


class Unread:
    """How many bytes wait, by connection."""

    def __init__(self, load: ClientLoad, bites: Bites) -> None:
        self._load = load
        self._bites = bites
        self._by_client: Counter[str] = Counter()

    def take(self, client: str, size: int) -> bool:
        """Whether there was room for a reply of this size; it is taken now."""
        if size < SMALL_REPLY_BYTES:
            return True
        if self._load.unread_bytes + size > UNREAD_BYTES_MAX:
            self._bites.note(NodeBound.UNREAD_BYTES_MAX)
            return False
        if self._by_client[client] + size > UNREAD_BYTES_PER_CLIENT_MAX:
            self._bites.note(NodeBound.UNREAD_BYTES_PER_CLIENT_MAX)
            return False
        self._load.unread_bytes += size
        self._by_client[client] += size
        return True

    def give_back(self, client: str, size: int) -> None:
        """Free the room of a reply that was taken, or whose call has ended."""
        if size < SMALL_REPLY_BYTES:
            return
        self._load.unread_bytes -= size
        self._by_client[client] -= size
        if not self._by_client[client]:
            del self._by_client[client]

    @contextmanager
    def room(self, client: str, size: int) -> Iterator[bool]:
        """Whether there is room while the block lasts."""
        has_room = self.take(client, size)
        try:
            yield has_room
        finally:
            if has_room:
                self.give_back(client, size)
