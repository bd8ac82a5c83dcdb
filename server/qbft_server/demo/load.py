"""Several clients at once, feeding rows to a cluster, and what each of them met."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qbft.client import Client
from qbft.cluster import Cluster
from qbft.decision import Decision
from qbft_server.demo.rows import Row

CLIENTS = 4
IN_FLIGHT_PER_CLIENT_MAX = 8
"""Rows that each client of the demo proposes at once."""

PROPOSE_SECONDS_MAX = 30.0
"""For a row of the demo to be decided."""


def in_flight_per_client(rows: int) -> int:
    """How many rows a client has in flight: few of all rows, so that an outage meets later ones."""
    return max(1, min(IN_FLIGHT_PER_CLIENT_MAX, rows // (6 * CLIENTS)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row decided, by the loop's clock in seconds."""

    row: Row
    client: int
    decision: Decision
    began: float
    ended: float


class Load:
    """Feeds every row once; `outcomes` grows as decisions come, in that order."""

    def __init__(
        self, cluster: Cluster, rows: Sequence[Row], on_decided: Callable[[int], None]
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.in_flight = 0
        self._cluster = cluster
        self._rows = rows
        self._on_decided = on_decided
        self._decided = asyncio.Condition()

    async def run(self) -> None:
        """Have all rows decided.

        Raises:
            ClientError: one could not be; the others are given up.
        """
        rows = iter(self._rows)
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(self._client(number, rows))

    async def until(self, count: int) -> None:
        """Wait until so many rows are decided."""
        async with self._decided:
            await self._decided.wait_for(lambda: len(self.outcomes) >= count)

    async def _client(self, number: int, rows: Iterator[Row]) -> None:
        client = Client(self._cluster, timeout=PROPOSE_SECONDS_MAX)
        async with client, asyncio.TaskGroup() as tasks:
            for _ in range(in_flight_per_client(len(self._rows))):
                tasks.create_task(self._feed(number, client, rows))

    async def _feed(self, number: int, client: Client, rows: Iterator[Row]) -> None:
        clock = asyncio.get_running_loop().time
        for row in rows:
            began = clock()
            self.in_flight += 1
            decision = await client.propose(row.instance.topic, row.instance.height, row.value)
            self.in_flight -= 1
            self.outcomes.append(Outcome(row, number, decision, began, clock()))
            self._on_decided(len(self.outcomes))
            async with self._decided:
                self._decided.notify_all()
