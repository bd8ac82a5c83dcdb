"""Ordered topics on real nodes: appended at all of them at once, read alike (issue 7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from e2e.service_clients import QUIET, SECONDS

from qbft.client import Client, Refused
from qbft.ordered import Appended, LogEntry, Position
from qbft.verify import verify_entry
from qbft.wire import encode_decision
from qbft_server.identity import read_vote_key
from qbft_server.initialise import PROPOSER_KEY_FILE
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

TOPIC, APPENDS = "log/a", 60


async def read(client: Client, count: int, node: int, after: Position | None) -> list[LogEntry]:
    """The first entries that a reader at one node sees."""
    found: list[LogEntry] = []
    reading = client.watch_entries(TOPIC, after, node=node)
    async for entry in reading:
        found.append(entry)
        if len(found) == count:
            break
    await reading.aclose()
    return found


async def test_what_is_appended_stands_once_and_in_the_same_place_for_all(tmp_path: Path) -> None:
    """Issue 7: guarded appends at four nodes, one of them killed; each stands once, and proven."""
    made = LocalCluster.create(
        tmp_path / "cluster", environment=QUIET, guarded="log/", ordered="log/"
    )
    async with made as cluster, asyncio.timeout(SECONDS):
        await cluster.start()
        await cluster.wait_until_ready()
        key = read_vote_key(cluster.directory / PROPOSER_KEY_FILE)
        async with (
            Client(cluster.cluster, proposer=key, hedge_ms=0) as eager,
            Client(cluster.cluster, proposer=key) as calm,
        ):

            async def append(number: int) -> Appended:
                client = eager if number % 2 else calm
                return await client.append(TOPIC, b"v%d" % number, b"%d" % number)

            half = [asyncio.create_task(append(number)) for number in range(APPENDS // 2)]
            await asyncio.wait(half, return_when=asyncio.FIRST_COMPLETED)
            await cluster.kill(1)
            rest = [asyncio.create_task(append(number)) for number in range(APPENDS // 2, APPENDS)]
            told = await asyncio.gather(*half, *rest)

            logs = await asyncio.gather(*(read(calm, APPENDS, node, None) for node in (0, 2, 3)))
            assert all([e.position for e in log] == [e.position for e in logs[0]] for log in logs)
            assert sorted(int(each.request_id) for each in logs[0]) == list(range(APPENDS))
            places = {each.request_id: each.position for each in logs[0]}
            assert all(places[each.request_id] == each.position for each in told)
            tail = await read(calm, 5, 2, logs[0][-6].position)
            assert [each.position for each in tail] == [each.position for each in logs[0][-5:]]

            again = await calm.append(TOPIC, b"v7", b"7")
            assert again.position == told[7].position
            data = encode_decision(again.decision)
            _, entry = verify_entry(data, cluster.cluster, again.position.index)
            assert (entry.value, entry.author) == (b"v7", key.public)
            with pytest.raises(Refused, match="use Append"):
                await calm.propose(TOPIC, 10_000, b"v")
            async with Client(cluster.cluster) as stranger:
                with pytest.raises(Refused, match="PERMISSION_DENIED"):
                    await stranger.append(TOPIC, b"v")
