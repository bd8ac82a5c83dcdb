"""What `qbft why` believes: one node's word is a word (docs/OPERATIONS.md, why is it stuck)."""

from __future__ import annotations

import pytest
from client_parts import INSTANCE
from pretend_cluster import NoneHere, PretendCluster, Tell, decides, pretend_cluster

from qbft.core import InstanceId
from qbft.diagnosis import Cause, InstanceState
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

pytestmark = pytest.mark.real_clock


async def has_nothing(node: object, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
    """Has no decision after all."""
    raise NoneHere(pb.DECISION_STATE_UNKNOWN)


async def of_another(node: object, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
    """A genuine decision, of another height."""
    pretend: PretendCluster = node.pretend  # type: ignore[attr-defined]
    return pretend.decision(InstanceId(instance.topic, instance.height + 1), value)


@pytest.mark.parametrize("shown", [has_nothing, of_another])
async def test_one_node_cannot_hide_who_is_away(shown: Tell) -> None:
    """Two of four away, one that says it is decided: no certificate, so the quorum is missing."""
    async with pretend_cluster() as pretend:
        pretend.nodes[1].state, pretend.nodes[1].read = InstanceState.DECIDED, shown
        await pretend.stop(2)
        await pretend.stop(3)
        async with pretend.client() as client:
            found = await client.diagnose(INSTANCE, 2.0)
    assert not found.is_decided
    assert (found.findings[0].cause, found.findings[0].nodes) == (Cause.NO_QUORUM, (2, 3))
    assert (Cause.SAID_DECIDED, (1,)) in [(each.cause, each.nodes) for each in found.findings]


async def test_a_certificate_is_believed_of_one_node() -> None:
    """The same one, honest: it shows the decision, and no more than that is asked."""
    async with pretend_cluster() as pretend:
        pretend.nodes[1].state, pretend.nodes[1].read = InstanceState.DECIDED, decides
        async with pretend.client() as client:
            found = await client.diagnose(INSTANCE, 2.0)
        assert found.is_decided
        assert pretend.nodes[1].calls == [("GetDecision", INSTANCE)]
        for node in pretend.nodes[:2]:
            node.state = InstanceState.DECIDED
        async with pretend.client() as client:
            assert (await client.diagnose(INSTANCE, 2.0)).is_decided
        assert len(pretend.nodes[1].calls) == 1, "f+1 say so"
