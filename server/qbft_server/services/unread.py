"""Replies that their clients have not taken: they are kept here, so they are bounded (issue 6).

Each is held up to three times, as a message, as bytes, and by gRPC, and for as long as a client
likes: it may take nothing on a connection that it keeps alive. So all replies together have a
bound, of which each client has its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from google.protobuf.message import Message

from qbft_server.bounds import NodeBound
from qbft_server.services.admission import Caller
from qbft_server.services.refusal import Refusal, full
from qbft_server.services.shares import Shared, Shares
from qbft_server.telemetry.load import ClientLoad

UNREAD_BYTES_MAX = 16 << 20
"""Replies of all clients that were not taken yet."""

SMALL_REPLY_BYTES = 1_024
"""Replies below this are bounded by the number of calls alone."""

RETRY_MS = 100

Reply = TypeVar("Reply", bound=Message)

Making = AbstractContextManager[Callable[[int], bool]]
"""Around the making of a reply: gives whether there is room for so many bytes more of it."""


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
    def making(self, client: Caller) -> Iterator[Callable[[int], bool]]:
        """Around the making of a reply, which is most of the work for it: room comes before that.

        What there was room for keeps it until the block ends.
        """
        taken: list[int] = []

        def is_there(size: int) -> bool:
            if not self.take(client.name, size):
                return False
            taken.append(size)
            return True

        try:
            yield is_there
        finally:
            for size in taken:
                self.give_back(client.name, size)

    def hold(self, reply: Reply | None, client: Caller) -> Reply:
        """Account for a reply until its call has ended: whoever does not read has it kept here.

        None is one that was not made, as there was no room for it.

        Who calls this keeps no name for the reply: telling of a refusal takes as long as the client
        likes, and nobody may hold on to it meanwhile.

        Raises:
            Refusal: there is no room for it.
        """
        if reply is None:
            raise unread_full()
        name, size = client.name, reply.ByteSize()
        if not self.take(name, size):
            del reply  # or the refusal keeps it, by its traceback
            raise unread_full()

        def give_back(_: object) -> None:
            self.give_back(name, size)

        client.context.add_done_callback(give_back)  # type: ignore[arg-type] # the stubs are wrong
        return reply

    async def write(self, message: Message, client: Caller) -> None:
        """Write one reply of a stream.

        Raises:
            Refusal: there is no room for it.
        """
        if not await self.is_written(message, client):
            raise unread_full()

    async def is_written(self, message: Message, client: Caller) -> bool:
        """Whether there was room for a reply of a stream until gRPC has taken it."""
        with self.room(client.name, message.ByteSize()) as has_room:
            if has_room:
                await client.context.write(message)
            return has_room

    @contextmanager
    def room(self, client: str, size: int) -> Iterator[bool]:
        """Whether there is room while the block lasts."""
        has_room = self.take(client, size)
        try:
            yield has_room
        finally:
            if has_room:
                self.give_back(client, size)


def unread_full() -> Refusal:
    """Refuse what there is no room to reply to."""
    return full("too many replies wait here to be read", RETRY_MS)
