"""The labelled points of sending, for tests with processes that are killed there."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from loopback import Loopback, until

from qbft.core.messages import InstanceId, Message, MessageType
from qbft.transport import BatchHeader, Frame
from qbft_server.peers.faults import FaultyTransport

pytestmark = pytest.mark.real_clock


async def test_the_points_of_sending_are_passed_in_order() -> None:
    """SCENARIOS K2, K3: before any peer has the vote, and when the first one has it."""
    cluster = Loopback(3)
    passed: list[tuple[str, int]] = []

    def fault(label: str, kinds: Collection[str]) -> None:
        assert set(kinds) == {"COMMIT"}
        passed.append((label, sum(c.frames_sent for c in node.transport.counters.values())))

    vote = Message(MessageType.COMMIT, InstanceId("t", 1), 0, 1, bytes(32))
    frame = Frame(votes=(vote,), batch=BatchHeader(bytes(16), 1, bytes(64)))
    async with cluster.node(0) as node, cluster.node(1), cluster.node(2):
        await until(lambda: set(node.fresh) == {1, 2})
        await FaultyTransport(node.transport, fault).send(frame)
        await until(lambda: node.transport.counters[2].frames_sent == 1)
    assert passed == [("before_send", 0), ("after_first_send", 1)]
