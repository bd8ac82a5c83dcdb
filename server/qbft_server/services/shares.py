"""What clients share of a node, so that no one of them takes it all (DESIGN, bounds).

A client may hold a part of what it holds and nobody holds: by default, half of it. One client alone
has half of the whole then, and N greedy ones an N+1-th each: there is always something left for the
next one, and who holds nothing yet is let in as long as there is. Nothing is set aside for clients
that do not come. These are the dynamic thresholds by which the ports of a switch share its memory
(Choudhury and Hahne, 1998).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.services.refusal import full
from qbft_server.telemetry.load import Held

RETRY_MS = 100


@dataclass(frozen=True, slots=True)
class Shared:
    """A thing of which there is so much for all clients together.

    `what` is said, after a number, to a client that gets none; `bound` is counted where there is
    none left at all, and None where somebody else sees to that. `beside` gives how much is held
    that is no client's: it leaves less for all of them.
    """

    held: Held
    most: int
    what: str
    bound: NodeBound | None = None
    retry_ms: int = RETRY_MS
    beside: Callable[[], int] = lambda: 0


class Shares:
    """Gives clients what there is room for, and no client more than its share."""

    def __init__(self, percent_max: int, bites: Bites) -> None:
        self._percent_max = percent_max
        self._bites = bites

    def take(self, client: str, shared: Shared, size: int = 1) -> bool:
        """Whether there was room for so much, and in the client's share; it is taken now.

        What is larger than all there is has room where nothing else is held.
        """
        bound = self._in_the_way(client, shared, size)
        if bound is not None:
            self._bites.note(bound)
            return False
        shared.held.add(client, size)
        return True

    def has_room(self, client: str, shared: Shared) -> bool:
        """Whether there is room for one more in the client's share; nothing is taken or counted."""
        return self._in_the_way(client, shared, 1) is None

    def give_back(self, client: str, shared: Shared, size: int = 1) -> None:
        """So much is free again."""
        shared.held.remove(client, size)

    def demand(self, client: str, shared: Shared, size: int = 1) -> None:
        """Take so much.

        Raises:
            Refusal: there is no room for it, or it is more than the client's share.
        """
        bound = self._in_the_way(client, shared, size)
        if bound is None:
            shared.held.add(client, size)
            return
        self._bites.note(bound)
        if bound is NodeBound.CLIENT_SHARE_PERCENT_MAX:
            own = shared.held.by_client[client]
            raise full(f"{own} {shared.what} here, which is this client's share", shared.retry_ms)
        raise full(f"{shared.held.total} {shared.what} here", shared.retry_ms)

    @contextlib.contextmanager
    def place(self, client: str, shared: Shared, size: int = 1) -> Iterator[None]:
        """Hold so much while the block lasts.

        Raises:
            Refusal: there is no room for it, or it is more than the client's share.
        """
        self.demand(client, shared, size)
        try:
            yield
        finally:
            self.give_back(client, shared, size)

    def _in_the_way(self, client: str, shared: Shared, size: int) -> NodeBound | None:
        """What keeps a client from holding so much more, if anything does."""
        own = shared.held.by_client.get(client, 0)
        total = shared.held.total + shared.beside()
        if shared.bound is not None and total and total + size > shared.most:
            return shared.bound
        its_part = self._percent_max * (own + max(shared.most - total, 0))
        if own and 100 * (own + size) > its_part:
            return NodeBound.CLIENT_SHARE_PERCENT_MAX
        return None
