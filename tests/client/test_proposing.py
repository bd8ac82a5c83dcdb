"""Proposing to nodes that answer, refuse, stay silent or break (SCENARIOS, group G)."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from client_parts import INSTANCE, SECONDS, client_tasks, until
from pretend_cluster import TOPIC, PretendCluster, at_first, gives, is_silent, pretend_cluster, says

from qbft.client import Conflict, DeadlineExceeded, Refused
from qbft.core import InstanceId
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal, is_proposal_genuine
from qbft.wire.v1 import decision_pb2 as pb

pytestmark = pytest.mark.real_clock


async def test_propose_asks_the_leader_and_gives_what_is_proven() -> None:
    """SCENARIOS G1: value and certificate; the leader of round 1 is asked, and nobody else."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        decision = await client.propose(TOPIC, 17, b"64123.50")
        assert (decision.instance, decision.value, decision.own) == (INSTANCE, b"64123.50", True)
        leader, *others = pretend.order(INSTANCE)
        assert leader.calls == [("Propose", INSTANCE)]
        assert not any(node.calls for node in others)
        assert client.liars == {}


async def test_the_leader_is_another_for_another_height() -> None:
    """DESIGN section 4: a hash chooses the leader, and so spreads the load."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        for height in range(16):
            await client.propose(TOPIC, height, b"x")
        for height in range(16):
            asked = pretend.order(InstanceId(TOPIC, height))[0]
            assert ("Propose", InstanceId(TOPIC, height)) in asked.calls


async def test_anothers_value_is_given_and_not_called_own() -> None:
    """SCENARIOS G2: a proposal after the decision gets the decided value, own=false.

    Whatever the node says about own: it is the client that knows what it proposed.
    """
    async with pretend_cluster() as pretend, pretend.client() as client:
        decision = pretend.decision(INSTANCE, b"first")
        decision.own = True
        pretend.order(INSTANCE)[0].proposed = gives(decision)
        told = await client.propose(TOPIC, 17, b"second")
        assert (told.value, told.own) == (b"first", False)


async def test_a_silent_leader_is_hedged_and_its_call_cancelled() -> None:
    """The others are asked after a delay; the first good answer wins (issue 2, the client)."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=30) as client:
        leader, second, *_ = pretend.order(INSTANCE)
        leader.proposed = is_silent
        decision = await client.propose(TOPIC, 17, b"x", timeout=SECONDS)
        assert decision.value == b"x"
        assert second.calls == [("Propose", INSTANCE)]
        await until(lambda: leader.cancelled == 1)
        assert client.liars == {}


async def test_a_dead_leader_costs_no_hedging_delay() -> None:
    """A connection refused is an answer: the next node is asked at once."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        leader, second, *_ = pretend.order(INSTANCE)
        await pretend.stop(leader.index)
        assert (await client.propose(TOPIC, 17, b"x", timeout=SECONDS)).value == b"x"
        assert second.calls


async def test_a_full_node_is_asked_again_no_sooner_than_it_said() -> None:
    """SCENARIOS G15: RESOURCE_EXHAUSTED with retry info is honoured."""
    full = says(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", grpc_retry_pushback_ms="150")
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        node = pretend.nodes[0]
        node.proposed = at_first([full, full])
        assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
        first, second, third = node.times
        assert second - first >= 0.15
        assert third - second >= 0.15


async def test_a_node_that_is_away_is_asked_again() -> None:
    """UNAVAILABLE is transient: stopping nodes come back."""
    away = says(grpc.StatusCode.UNAVAILABLE, "this node is stopping")
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        pretend.nodes[0].proposed = at_first([away, away, away])
        assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
        assert len(pretend.nodes[0].calls) == 4


async def test_one_node_cannot_refuse_for_the_cluster() -> None:
    """A refusal of up to f nodes may be a lie: the next is asked; f+1 hold an honest one."""
    refuses = says(grpc.StatusCode.INVALID_ARGUMENT, "the value is empty")
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        order = pretend.order(INSTANCE)
        order[0].proposed = refuses
        assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
        order[1].proposed = refuses
        with pytest.raises(Refused, match="INVALID_ARGUMENT: the value is empty") as told:
            await client.propose(TOPIC, 17, b"x")
        assert told.value.code == "INVALID_ARGUMENT"
        assert not order[3].calls


async def test_a_conflict_names_the_first_digest() -> None:
    """SCENARIOS G4: ALREADY_EXISTS, naming the value that was proposed first."""
    conflict = says(grpc.StatusCode.ALREADY_EXISTS, "first", qbft_first_digest="ab" * 32)
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        pretend.nodes[0].proposed = conflict
        with pytest.raises(Conflict) as told:
            await client.propose(TOPIC, 17, b"x")
        assert told.value.first_digest == b"\xab" * 32


async def test_a_server_with_all_its_calls_taken_is_asked_again() -> None:
    """SCENARIOS G15: gRPC says no for a full server before the node can say when to come back."""
    pretend = PretendCluster(1)
    pretend.calls_max = 1
    pretend.nodes[0].proposed = is_silent
    await pretend.start()
    try:
        async with pretend.client() as client:
            taking = asyncio.create_task(client.propose(TOPIC, 16, b"x"))
            await until(lambda: pretend.nodes[0].calls)
            with pytest.raises(DeadlineExceeded, match="limit exceeded"):
                await client.get(TOPIC, 17, timeout=0.5)
            taking.cancel()
            assert (await client.get(TOPIC, 17)).value == b"value"
            await asyncio.gather(taking, return_exceptions=True)
    finally:
        await pretend.stop()


async def test_too_large_a_message_is_not_sent_again_and_again() -> None:
    """SCENARIOS G13: gRPC's own RESOURCE_EXHAUSTED names no time to come back, and is final."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        with pytest.raises(Refused, match="RESOURCE_EXHAUSTED"):
            await client.propose(TOPIC, 17, bytes(5 << 20))  # the pretended server takes 4 MiB


@pytest.mark.parametrize("down", [2, 3, 4])
async def test_without_enough_nodes_there_is_no_decision(down: int) -> None:
    """SCENARIOS G12: f+1 nodes down, the others cannot decide: a timeout, never a decision."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=20) as client:
        for node in pretend.nodes:
            node.proposed = is_silent
        await pretend.stop(*range(down))
        with pytest.raises(DeadlineExceeded) as told:
            await client.propose(TOPIC, 17, b"x", timeout=0.4)
        assert set(range(down)) == set(told.value.failures)
        assert "cannot connect" in str(told.value)


async def test_cancelling_a_proposal_leaves_nothing_behind() -> None:
    """SCENARIOS G7, DESIGN async: the nodes see the call cancelled, no task is left."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=20) as client:
        for node in pretend.nodes:
            node.proposed = is_silent
        proposing = asyncio.create_task(client.propose(TOPIC, 17, b"x"))
        await until(lambda: all(node.calls for node in pretend.nodes))
        assert len(client_tasks()) > 4
        proposing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await proposing
        await until(lambda: all(node.cancelled for node in pretend.nodes))
        await until(lambda: not client_tasks())


async def test_a_proposer_signs() -> None:
    """SCENARIOS G16: on a guarded prefix a proposal carries its client's signature."""
    key = VoteKey.generate()
    seen: list[Proposal] = []
    async with pretend_cluster(1) as pretend:
        servicer = pretend.nodes[0]
        answer = servicer.Propose

        async def look(request: pb.ProposeRequest, context: object) -> pb.ProposeReply:
            told = request.proposal
            seen.append(Proposal(INSTANCE, told.value, told.proposer, told.signature))
            return await answer(request, context)

        servicer.Propose = look
        await pretend.stop()
        await pretend.start()
        async with pretend.client(proposer=key) as signing:
            await signing.propose(TOPIC, 17, b"x")
    (proposal,) = seen
    assert proposal.proposer == key.public
    assert is_proposal_genuine(proposal, pretend.roster.cluster_id)
