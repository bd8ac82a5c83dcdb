"""How the witness waits, at the end, until everybody has everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qbft.client import NodeStatus
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.ordered import Position
from qbft_server.chaos import witness as module
from qbft_server.chaos.checker import Promise
from qbft_server.chaos.history import (
    Acknowledged,
    Appending,
    Entered,
    Event,
    Followed,
    Proposed,
    Reading,
    Told,
    Watched,
    Watching,
)
from qbft_server.chaos.witness import Witness
from qbft_server.initialise import init_cluster

HERE = InstanceId("t", 0)


class Whole:
    """A client of nodes each of which has the one decision that there is."""

    async def status(self, _seconds: float) -> dict[int, NodeStatus]:
        """What they say."""
        return {
            node: NodeStatus("", node, b"", 4, 1, "", True, True, 0, 1, b"", ())
            for node in range(4)
        }


@asynccontextmanager
async def whole(cluster: Cluster) -> AsyncIterator[Whole]:
    """In the place of a client."""
    yield Whole()


@pytest.mark.parametrize("lacks", [None, Watched, Entered, Followed])
async def test_all_readers_have_to_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: type[Event] | None
) -> None:
    """G14: followers, readers by height and of the ordered topic; who does not is told of."""
    monkeypatch.setattr(module, "Client", whole)
    witness = Witness(init_cluster(tmp_path / "cluster"), rate=1.0, seed=1)
    for event in (
        Watching(1.0, "by height", "t"),
        Reading(1.0, "of entries"),
        Proposed(1.0, HERE, b"v"),
        Told(2.0, HERE, b"v"),
        Appending(1.0, b"a", b"A"),
        Acknowledged(2.0, b"a", Position(0, 0)),
        Watched(3.0, "by height", HERE),
        Entered(3.0, "of entries", Position(0, 0), b"a", b"A"),
        *(Followed(3.0, node, HERE) for node in range(4)),
    ):
        if type(event) is not lacks:
            witness.see(event)
    proposing = asyncio.create_task(asyncio.sleep(0))
    assert await witness.settled(proposing) is (lacks is None)
    broken = [violation.promise for violation in witness.checker.violations]
    assert broken == {Watched: [Promise.WATCH], Entered: [Promise.LOG]}.get(lacks, [])
