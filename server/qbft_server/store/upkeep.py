"""What an operator does to the store of a node: give instances up."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from qbft.core.messages import InstanceId
from qbft.errors import QbftError
from qbft.replica.protocols import QuarantineRecord
from qbft_server.store.store import NodeStore

ABANDONED = "given up by the operator"


async def abandon_instances(
    directory: Path, cluster_id: bytes, validator: int, instances: Sequence[InstanceId]
) -> None:
    """Never vote in these undecided instances again, so that low-water marks may pass them.

    All of them or none; the node must be stopped.

    Raises:
        QbftError: one of them is decided, or this node has not voted in it; or the store cannot be
            used, or is in use.
    """
    async with contextlib.aclosing(NodeStore.open(directory, cluster_id, validator)) as store:
        undecided = set(store.journal.live.undecided())
        for instance in instances:
            if instance not in undecided:
                raise QbftError(f"{instance}: {_why_not(store, instance)}; nothing was changed")
        await store.commit([QuarantineRecord(i, ABANDONED, abandoned=True) for i in instances])


def _why_not(store: NodeStore, instance: InstanceId) -> str:
    if store.get(instance) is not None:
        return "it is decided"
    if store.is_below_mark(instance):
        mark = store.low_water_mark(instance.topic)
        return f"it is below the topic's low-water mark, which is {mark}"
    if store.journal.live.is_open(instance):
        return "it has been given up before"
    return "this node has no vote in it"
