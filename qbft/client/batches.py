"""Decisions of ordered topics in which a client's entries stand, read once for all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from qbft.client.reading import Reading
from qbft.core import InstanceId
from qbft.decision import Decision

BATCHES_KEPT = 8


class Batches:
    """The decisions that were read last: many entries of one client may stand in one."""

    def __init__(self, reading: Reading) -> None:
        self._from = reading
        self._kept: OrderedDict[InstanceId, Decision] = OrderedDict()
        self._reading: dict[int, asyncio.Lock] = {}

    async def get(self, instance: InstanceId, node: int) -> Decision:
        """A decision, of this node if it is not here; read once by all that want it of this node.

        One that does not answer holds up nobody who asks another.

        Raises:
            ClientError: it cannot be had.
        """
        async with self._reading.setdefault(node, asyncio.Lock()):
            decision = self._kept.get(instance)
            if decision is None:
                decision = self._kept[instance] = await self._from.get(instance, node=node)
                if len(self._kept) > BATCHES_KEPT:
                    self._kept.popitem(last=False)
            return decision
