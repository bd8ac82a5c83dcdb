"""The clients of a cluster and the judge of what they see; whose cluster it is does not matter.

It knows the nodes by their cluster file alone, so that the same clients and the same judge serve
processes on this machine and containers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from qbft.client import Access, Client, ClientError, NodeStatus
from qbft.client.node import NodeLink
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft_server.chaos.bound import recovery_seconds
from qbft_server.chaos.checker import Checker
from qbft_server.chaos.clock import now
from qbft_server.chaos.history import Conditions, Event, Misbehaved, Replayed, Told
from qbft_server.chaos.load import Load

SETTLE_SECONDS = 120.0
"""In which, at the end, what is open has to be decided, and all nodes and readers to have it."""

STATUS_SECONDS = 2.0
POLL_SECONDS = 0.05


class Witness:
    """Sees what a cluster does; `checker` has the verdict, `conditions` when the faults were."""

    def __init__(self, cluster: Cluster, *, rate: float, seed: int) -> None:
        self.checker = Checker(len(cluster.validators), recovery_seconds)
        self.conditions: list[Conditions] = []
        self.load = Load(cluster, self.see, rate=rate, seed=seed)
        self.lag_max = 0.0
        self._cluster = cluster

    def see(self, event: Event) -> None:
        """Something happened."""
        if isinstance(event, Conditions):
            self.conditions.append(event)
        self.checker.see(event)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[asyncio.Task[None]]:
        """All clients, while the block lasts; gives the task of those that propose."""
        async with (
            background(self._feel_the_pulse()),
            background(self.load.read()),
            background(self.load.run()) as proposing,
        ):
            yield proposing

    async def recovered(self) -> None:
        """Wait until what was open is decided, or should have been."""
        while not self.checker.is_recovered and not self.checker.overdue(now()):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def settled(self, proposing: asyncio.Task[None]) -> bool:
        """Propose nothing new; wait until every node, follower and reader has everything.

        Gives whether that came in time. Of readers that have not the checker is told so then;
        whatever else is missing it finds by itself.
        """
        self.load.stop()
        try:
            async with asyncio.timeout(SETTLE_SECONDS), Client(self._cluster) as client:
                await asyncio.wait((proposing,))
                while not await self._is_settled(client):  # noqa: ASYNC110 - nodes make it true
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self.checker.settle(now())
            return False
        return True

    async def _is_settled(self, client: Client) -> bool:
        accounts = await client.status(STATUS_SECONDS)
        count = len(self.checker.decided)
        return not self.checker.has_readers_behind and all(
            isinstance(account, NodeStatus)
            and account.decisions >= count
            and self.checker.followed(node) >= count
            for node, account in accounts.items()
        )

    async def read_back(self) -> None:
        """Read every node's whole order from its beginning, and verify every certificate.

        And the ordered topic, from its first entry to the last that anybody was told of.
        """
        for node in range(len(self._cluster.validators)):
            await self._read_back(node)
        end = self.checker.log.end
        if end is None:
            return
        try:
            async with asyncio.timeout(SETTLE_SECONDS), Client(self._cluster) as client:
                await self.load.read_log_back(client, end)
        except (ClientError, TimeoutError) as error:
            self.see(Misbehaved(now(), f"reading the ordered topic back: {error!r}"))

    async def _read_back(self, node: int) -> None:
        order: list[InstanceId] = []
        link = NodeLink(node, self._cluster.validators[node], Access())
        try:
            count = (await link.status(STATUS_SECONDS)).decisions
            async for reply in link.watch_all(b""):
                decision = reply.decision
                instance = InstanceId(decision.instance.topic, decision.instance.height)
                flaw = self.load.prover.flaw(decision.SerializeToString())
                is_batch = self.load.is_batch(instance)
                self.see(Told(now(), instance, decision.value, node, flaw, is_batch=is_batch))
                order.append(instance)
                if len(order) >= count:
                    break
        except ClientError as error:
            self.see(Misbehaved(now(), f"reading back from node {node}: {error}"))
        finally:
            await link.close()
        self.see(Replayed(now(), node, tuple(order)))

    async def _feel_the_pulse(self) -> None:
        """How late this process itself is: what the machine does to the nodes as well."""
        while True:
            due = now() + POLL_SECONDS
            await asyncio.sleep(POLL_SECONDS)
            self.lag_max = max(self.lag_max, now() - due)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task in the background of a block; its failure ends the block, whose end ends it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield task
        task.cancel()
