"""Places for the values that clients want decided, proposed or appended, while they wait for it."""

from __future__ import annotations

import contextlib

import grpc

from qbft.replica.replica import Replica
from qbft_server.services.admission import Caller
from qbft_server.services.budgets import Budgets
from qbft_server.services.refusal import Refusal


class Flights:
    """Lets values in, as long as this node is `accepting` any and votes."""

    def __init__(self, replica: Replica, budgets: Budgets) -> None:
        self.accepting = True
        self._replica = replica
        self._budgets = budgets

    def place(self, client: Caller, size: int) -> contextlib.AbstractContextManager[None]:
        """Hold a place for a value of so many bytes while the block lasts.

        Raises:
            Refusal: there is none now, or this node takes no values.
        """
        if not self.accepting:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "this node is stopping; ask another")
        if not self._replica.is_voting:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE, "this node does not vote now; ask another node"
            )
        return self._budgets.flight(client.name, size)
