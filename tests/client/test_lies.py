"""What a client believes: nothing but a certificate, and no liar twice (SCENARIOS, group G)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from client_parts import INSTANCE
from pretend_cluster import TOPIC, PretendCluster, decides, gives, pretend_cluster

from qbft.client import ClientError, Lied, NoNodeLeft, Unavailable
from qbft.client.belief import Belief
from qbft.core import InstanceId, MessageType
from qbft.crypto.roster import Roster, cluster_id
from qbft.wire.v1 import messages_pb2

pytestmark = pytest.mark.real_clock


def _forgeries() -> dict[str, Callable[[PretendCluster], messages_pb2.Decision]]:
    """SCENARIOS G10, each made by somebody who holds up to f keys, or replays what is genuine."""

    def without_value(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.ClearField("value")
        return decision

    def other_value(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.value = b"y"
        return decision

    def duplicate(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.certificate.commits[2].CopyFrom(decision.certificate.commits[1])
        return decision

    def mixed(pretend: PretendCluster, donor: messages_pb2.Decision) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.certificate.commits[2].CopyFrom(donor.certificate.commits[2])
        return decision

    def other_cluster(pretend: PretendCluster) -> messages_pb2.Decision:
        keys = tuple(key.public for key in pretend.keys)
        foreign = Roster(cluster_id("another", 0, keys), keys)
        return pretend.decision(INSTANCE, b"x", roster=foreign)

    def renamed(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(InstanceId(TOPIC, 18), b"x")
        decision.instance.height = decision.certificate.instance.height = 17
        return decision

    def renumbered(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.round = decision.certificate.round = 2
        return decision

    def broken(pretend: PretendCluster) -> messages_pb2.Decision:
        decision = pretend.decision(INSTANCE, b"x")
        decision.certificate.commits[0].signature.signature = bytes(64)
        return decision

    return {
        "Q-1 signers": lambda p: p.decision(INSTANCE, b"x", sources=[0, 1]),
        "no signers": lambda p: p.decision(INSTANCE, b"x", sources=[]),
        "a duplicate signer": duplicate,
        "a non-member": lambda p: p.decision(INSTANCE, b"x", sources=[0, 1, 4]),
        "one key for all": lambda p: p.decision(INSTANCE, b"x", signer=3),
        "mixed rounds": lambda p: mixed(p, p.decision(INSTANCE, b"x", round=2)),
        "mixed values": lambda p: mixed(p, p.decision(INSTANCE, b"y")),
        "another cluster": other_cluster,
        "PREPAREs as COMMITs": lambda p: p.decision(INSTANCE, b"x", type=MessageType.PREPARE),
        "the value does not match": other_value,
        "no value": without_value,
        "another instance": lambda p: p.decision(InstanceId(TOPIC, 18), b"x"),
        "another instance, renamed": renamed,
        "another round": renumbered,
        "a signature of zeros": broken,
        "nothing at all": lambda p: messages_pb2.Decision(),
    }


async def test_every_forged_certificate_is_rejected() -> None:
    """SCENARIOS G10: each forgery by itself, in reads and in proposals; the genuine one passes."""
    async with pretend_cluster() as pretend:
        node = pretend.order(INSTANCE)[0]
        for name, forge in _forgeries().items():
            node.read = node.proposed = gives(forge(pretend))
            async with pretend.client() as client:
                with pytest.raises(ClientError):
                    await client.get(TOPIC, 17, node=node.index)
                assert list(client.liars) == [node.index], name
            async with pretend.client() as client:
                decision = await client.propose(TOPIC, 17, b"z")
                assert decision.value == b"z", name
                assert list(client.liars) == [node.index], name
        node.read = decides
        async with pretend.client() as client:
            assert (await client.get(TOPIC, 17, node=node.index)).value == b"value"


async def test_a_node_that_lies_is_asked_no_more() -> None:
    """SCENARIOS G11: verification fails, the client asks the next node, and remembers."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        liar, second, *_ = pretend.order(INSTANCE)
        lie = gives(pretend.decision(INSTANCE, b"x", sources=[liar.index]))
        liar.proposed = liar.read = lie
        assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
        assert second.calls == [("Propose", INSTANCE)]
        assert "no quorum" in client.liars[liar.index]
        for height in range(20):
            await client.propose(TOPIC, height, b"x")
            await client.get(TOPIC, height)
        assert len(liar.calls) == 1
        with pytest.raises(NoNodeLeft, match="no quorum"):
            await client.get(TOPIC, 17, node=liar.index)


async def test_when_all_lie_nothing_is_believed() -> None:
    """SCENARIOS G11, taken further than f: there is no decision, however many say so."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        for node in pretend.nodes:
            node.proposed = gives(pretend.decision(INSTANCE, b"x", sources=[0, 1]))
        with pytest.raises(Unavailable, match="not to be believed"):
            await client.propose(TOPIC, 17, b"x")
        with pytest.raises(NoNodeLeft):
            await client.propose(TOPIC, 17, b"x")
        assert len(client.liars) == 4


def test_belief_remembers_the_first_lie() -> None:
    """What a node was caught at is told once, as it was first."""
    belief = Belief(PretendCluster(4).roster)
    with pytest.raises(Lied, match="malformed"):
        belief.check(2, None)
    belief.caught(2, "again")
    assert belief.liars == {2: "malformed message"}
    assert belief.believes(1)
    assert not belief.believes(2)
