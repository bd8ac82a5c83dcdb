"""What there is of a node for all its clients together, and how each gets its share of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.config import LimitSettings
from qbft_server.ordered.appends import REMEMBERED_TOPICS_MAX
from qbft_server.services.shares import Shared, Shares
from qbft_server.services.turns import Turns
from qbft_server.services.unread import Unread
from qbft_server.services.wasted import Wasted
from qbft_server.telemetry.load import ClientLoad

CALLS_MAX = 6_144
"""Calls of all clients together, from their headers until gRPC is done with them, each some 20 KiB;
beyond them a client may have one."""

WATCHES_MAX = 256
"""Watches of all clients together."""

PROPOSE_STREAMS_MAX = 64
"""Streams of proposals of all clients together: each may occupy a message that has not come yet."""

LATER_MS = 5_000
"""When to come back for a watch or stream, which last."""


class Budgets:
    """Of the clients of one node: messages, bytes, work and open instances.

    `resumed` gives how many instances are open that clients of an earlier life of it opened.
    """

    def __init__(
        self,
        limits: LimitSettings,
        load: ClientLoad,
        bites: Bites,
        resumed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.shares = Shares(limits.client_share_percent_max, bites)
        self.unread = Unread(load, self.shares)
        self.wasted = Wasted(bites)
        self.turns = Turns(limits.openings_at_once_max, bites)
        self.calls = Shared(load.calls, CALLS_MAX, "calls are open")
        self.undecided = Shared(
            load.undecided,
            limits.open_instances_max,
            "undecided instances are open",
            beside=resumed,
        )
        self.watches = Shared(
            load.watches, WATCHES_MAX, "watches are open", NodeBound.WATCHES_MAX, LATER_MS
        )
        self.streams = Shared(
            load.propose_streams,
            PROPOSE_STREAMS_MAX,
            "streams of proposals are open",
            NodeBound.PROPOSE_STREAMS_MAX,
            LATER_MS,
        )
        self._proposals = Shared(
            load.proposals,
            limits.proposals_in_flight_max,
            "proposals are in flight",
            NodeBound.PROPOSALS_IN_FLIGHT_MAX,
        )
        self._proposal_bytes = Shared(
            load.proposal_bytes,
            limits.proposal_bytes_in_flight_max,
            "bytes of values are in flight",
            NodeBound.PROPOSAL_BYTES_IN_FLIGHT_MAX,
        )
        self._append_topics = Shared(
            load.append_topics, REMEMBERED_TOPICS_MAX, "topics are appended to"
        )
        self._appends: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def flight(self, client: str, size: int) -> Iterator[None]:
        """Take a place among the values that wait for a decision.

        Raises:
            Refusal: there is none now for this client.
        """
        with (
            self.shares.place(client, self._proposals),
            self.shares.place(client, self._proposal_bytes, size),
        ):
            yield

    @contextlib.contextmanager
    def appending(self, client: str, topic: str) -> Iterator[None]:
        """Count an ordered topic as one of those that a client appends to.

        Raises:
            Refusal: there are so many of them already.
        """
        key = client, topic
        if key not in self._appends:
            self.shares.demand(client, self._append_topics)
        self._appends[key] += 1
        try:
            yield
        finally:
            self._appends[key] -= 1
            if not self._appends[key]:
                del self._appends[key]
                self.shares.give_back(client, self._append_topics)
