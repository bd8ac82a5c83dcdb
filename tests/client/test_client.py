"""The client against nodes that answer, lie, refuse, stay silent or break (SCENARIOS, group G)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from pretend_cluster import (
    TOPIC,
    PretendCluster,
    PretendNode,
    Say,
    at_first,
    decides,
    gives,
    has_none,
    is_silent,
    pretend_cluster,
    says,
)

from qbft.client import (
    Access,
    BelowMark,
    Client,
    ClientError,
    Conflict,
    DeadlineExceeded,
    Lied,
    NoDecision,
    NodeStatus,
    NoNodeLeft,
    Refused,
    Unavailable,
    Undecided,
    Unknown,
)
from qbft.client.belief import Belief
from qbft.core import InstanceId, MessageType
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal, is_proposal_genuine
from qbft.crypto.roster import Roster, cluster_id
from qbft.errors import ClusterError
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft_server.identity import create_tls_identity

pytestmark = pytest.mark.real_clock

INSTANCE = InstanceId(TOPIC, 17)
SECONDS = 10.0
"""What must happen within it happens much sooner."""

DECIDED = pb.DECISION_STATE_DECIDED
UNDECIDED = pb.DECISION_STATE_UNDECIDED
UNKNOWN = pb.DECISION_STATE_UNKNOWN
BELOW = pb.DECISION_STATE_BELOW_MARK


# --- proposing ------------------------------------------------------------------------------------


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
        await _until(lambda: leader.cancelled == 1)
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
        await _until(lambda: all(node.calls for node in pretend.nodes))
        assert len(_client_tasks()) > 4
        proposing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await proposing
        await _until(lambda: all(node.cancelled for node in pretend.nodes))
        await _until(lambda: not _client_tasks())


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


# --- lies -----------------------------------------------------------------------------------------


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


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "told"), [(UNDECIDED, Undecided), (UNKNOWN, Unknown), (BELOW, BelowMark)]
)
async def test_what_there_is_instead_of_a_decision(
    state: pb.DecisionState, told: type[NoDecision]
) -> None:
    """SCENARIOS G8, G9: undecided here, never heard of, deleted: three different answers."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        for node in pretend.nodes:
            node.read = has_none(state)
        with pytest.raises(told) as answer:
            await client.get(TOPIC, 17)
        assert answer.value.instance == INSTANCE
        assert sum(len(node.calls) for node in pretend.nodes) == 1


async def test_an_unknown_state_is_a_lie() -> None:
    """A state that the schema does not have cannot be an honest node's."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(INSTANCE)[0]
        first.read = has_none(pb.DECISION_STATE_UNSPECIFIED)
        assert (await client.get(TOPIC, 17)).value == b"value"
        assert list(client.liars) == [first.index]


async def test_a_quorum_read_asks_f_plus_one() -> None:
    """Issue 2: quorum=True asks f+1; a decision wins, however late it comes among them."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        first, second, *_ = pretend.order(INSTANCE)
        first.read = has_none(UNKNOWN)
        assert (await client.get(TOPIC, 17, quorum=True)).value == b"value"
        assert second.calls
        second.read = has_none(UNKNOWN)
        with pytest.raises(Unknown):
            await client.get(TOPIC, 17, quorum=True)
        second.read = has_none(UNDECIDED)
        with pytest.raises(Undecided):
            await client.get(TOPIC, 17, quorum=True)


async def test_a_quorum_read_replaces_who_does_not_answer() -> None:
    """A node that lies or is away is no answer: another is asked in its place."""
    async with pretend_cluster() as pretend, pretend.client(hedge_ms=60_000) as client:
        first, second, third, fourth = pretend.order(INSTANCE)
        first.read = gives(pretend.decision(INSTANCE, b"x", sources=[0]))
        await pretend.stop(second.index)
        third.read = has_none(UNKNOWN)
        fourth.read = has_none(UNKNOWN)
        with pytest.raises(Unknown):
            await client.get(TOPIC, 17, quorum=True)
        assert list(client.liars) == [first.index]
        fourth.read = is_silent
        with pytest.raises(DeadlineExceeded):
            await client.get(TOPIC, 17, quorum=True, timeout=0.3)


async def test_pages_of_a_topic() -> None:
    """Decisions upwards, page after page, each verified; gaps are allowed."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        at = [pretend.decision(InstanceId(TOPIC, height), b"x") for height in (3, 4, 9)]
        pretend.nodes[0].pages = [
            pb.ListDecisionsReply(decisions=at[:2], next_height=9),
            pb.ListDecisionsReply(decisions=at[2:]),
        ]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC, 2)]
        assert heights == [3, 4, 9]
        asked = [instance.height for _, instance in pretend.nodes[0].calls]
        assert asked == [2, 9]


async def test_pages_end_at_the_last_height_there_can_be() -> None:
    """DESIGN section 4: heights go to 2^63-1; nothing comes after that one."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:
        last = pretend.decision(InstanceId(TOPIC, HEIGHT_MAX), b"x")
        first = pretend.decision(InstanceId(TOPIC, 5), b"x")
        pretend.nodes[0].pages = [
            pb.ListDecisionsReply(decisions=[first], next_height=HEIGHT_MAX),
            pb.ListDecisionsReply(decisions=[last]),
        ]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC, 5)]
        assert heights == [5, HEIGHT_MAX]
        assert client.liars == {}


PAGE_LIES = (
    "backwards",
    "another topic",
    "stands still",
    "empty page",
    "beyond the last height",
    "after the last height",
)


@pytest.mark.parametrize("lie", PAGE_LIES)
async def test_pages_that_cannot_be_are_lies(lie: str) -> None:
    """A liar could otherwise repeat itself for ever; the next node gives the page."""
    async with pretend_cluster() as pretend, pretend.client() as client:

        def told(*heights: int, topic: str = TOPIC) -> list[messages_pb2.Decision]:
            return [pretend.decision(InstanceId(topic, height), b"x") for height in heights]

        pages = {
            "backwards": pb.ListDecisionsReply(decisions=told(5, 4)),
            "another topic": pb.ListDecisionsReply(decisions=told(5, topic="other")),
            "stands still": pb.ListDecisionsReply(decisions=told(5), next_height=5),
            "empty page": pb.ListDecisionsReply(next_height=8),
            "beyond the last height": pb.ListDecisionsReply(
                decisions=told(5), next_height=HEIGHT_MAX + 1
            ),
            "after the last height": pb.ListDecisionsReply(
                decisions=told(HEIGHT_MAX), next_height=HEIGHT_MAX
            ),
        }
        first, second, *_ = pretend.order(InstanceId(TOPIC, 0))
        first.pages = [pages[lie]]
        second.pages = [pb.ListDecisionsReply(decisions=told(1))]
        heights = [d.instance.height async for d in client.list_decisions(TOPIC)]
        assert heights == [1]
        assert list(client.liars) == [first.index]


# --- watching -------------------------------------------------------------------------------------


async def _heights(client: Client, count: int, **settings: float) -> list[int]:
    """The first heights of a watch."""
    heights = []
    watching = client.watch(TOPIC, 0, **settings)
    async with asyncio.timeout(SECONDS):
        async for decision in watching:
            heights.append(decision.instance.height)
            if len(heights) == count:
                break
    await watching.aclose()
    return heights


def _until_height(node: PretendNode, last: int, then: Say | None) -> None:
    """Let a node's watches end after a height: with a status, or with silence."""
    honest = node.watched

    async def watched(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        async for decision in honest(start):
            if decision.instance.height > last:
                if then is not None:
                    raise then
                await asyncio.Event().wait()
            yield decision

    node.watched = watched


async def test_a_watch_goes_on_elsewhere_without_a_gap() -> None:
    """SCENARIOS G14: across a stream that breaks, every decision once, in order."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(InstanceId(TOPIC, 0))[0]
        _until_height(first, 3, Say(grpc.StatusCode.UNAVAILABLE, "stopping"))
        assert await _heights(client, 10) == list(range(10))
        assert first.calls == [("Watch", InstanceId(TOPIC, 0))]
        resumed = [call for node in pretend.nodes for call in node.calls if node is not first]
        assert resumed == [("Watch", InstanceId(TOPIC, 4))]


async def test_a_watch_leaves_a_node_that_falls_silent() -> None:
    """A node that withholds decisions cannot hold a watch for ever."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        first = pretend.order(InstanceId(TOPIC, 0))[0]
        _until_height(first, 2, None)
        assert await _heights(client, 8, stall=0.1) == list(range(8))
        assert client.liars == {}


async def test_a_watch_leaves_a_node_that_skips_or_forges() -> None:
    """SCENARIOS G11, G14: a gap is a lie as much as a forged certificate is."""
    async with pretend_cluster(7) as pretend, pretend.client() as client:
        order = pretend.order(InstanceId(TOPIC, 0))

        async def skips(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
            yield pretend.decision(start, b"v")
            yield pretend.decision(InstanceId(TOPIC, start.height + 2), b"v")

        async def forges(start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
            yield pretend.decision(start, b"v", sources=[0])

        for node in order:
            node.watched = forges
        order[0].watched = skips
        order[-1].watched = order[-1]._forever
        assert await _heights(client, 6) == list(range(6))
        assert len(client.liars) >= 1
        assert order[-1].index not in client.liars


async def test_a_watch_ends_when_enough_refuse() -> None:
    """Below the mark: f+1 nodes say OUT_OF_RANGE, so an honest one does."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        for node in pretend.nodes:
            _until_height(node, -1, Say(grpc.StatusCode.OUT_OF_RANGE, "kept from height 7 on"))
        with pytest.raises(Refused, match="kept from height 7 on"):
            await _heights(client, 1)
        assert sum(len(node.calls) for node in pretend.nodes) == 2


async def test_watching_all_goes_on_from_the_cursor() -> None:
    """DESIGN section 4: one node's own order, its cursor opaque; a break loses nothing."""
    async with pretend_cluster(1) as pretend, pretend.client() as client:

        async def all_(cursor: bytes) -> AsyncIterator[pb.WatchAllReply]:
            for number in range(len(cursor), len(cursor) + 2):
                decision = pretend.decision(InstanceId(TOPIC, 100 - number), b"x")
                yield pb.WatchAllReply(decision=decision, cursor=b"c" * (number + 1))
            raise Say(grpc.StatusCode.UNAVAILABLE, "stopping")

        pretend.nodes[0].all = all_
        seen = []
        watching = client.watch_all(0)
        async for decision, cursor in watching:
            seen.append((decision.instance.height, len(cursor)))
            if len(seen) == 5:
                break
        await watching.aclose()
        assert seen == [(100, 1), (99, 2), (98, 3), (97, 4), (96, 5)]


# --- many at once ---------------------------------------------------------------------------------


async def test_many_proposals_over_streams() -> None:
    """Each goes to its leader's stream; all come back, verified."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        proposals = [(TOPIC, height, b"%d" % height) for height in range(100)]
        decided = [d async for d in client.propose_many(proposals, in_flight=8)]
        assert sorted(d.value for d in decided) == sorted(value for *_, value in proposals)
        assert all(d.own for d in decided)
        for node in pretend.nodes:
            assert {name for name, _ in node.calls} <= {"ProposeStream"}


async def test_many_proposals_survive_breaks_lies_and_full_nodes() -> None:
    """What a stream does not bring is asked for again, there or elsewhere."""

    async def source() -> AsyncIterator[tuple[str, int, bytes]]:
        for height in range(60):
            yield TOPIC, height, b"%d" % height

    async with pretend_cluster() as pretend, pretend.client(hedge_ms=50) as client:
        breaks = says(grpc.StatusCode.ABORTED, "broken")
        full = says(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        pretend.nodes[0].proposed = at_first([decides, decides, breaks, decides, breaks])
        pretend.nodes[1].proposed = at_first([full, full, decides, full])
        pretend.nodes[2].proposed = gives(pretend.decision(INSTANCE, b"x", sources=[1]))
        decided = {d.value async for d in client.propose_many(source(), in_flight=8)}
        assert decided == {b"%d" % height for height in range(60)}
        assert list(client.liars) == [2]


async def test_leaving_many_proposals_leaves_nothing_behind() -> None:
    """DESIGN, async: breaking off ends streams and tasks."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        proposing = client.propose_many((TOPIC, height, b"x") for height in range(1_000))
        async for _ in proposing:
            break
        await proposing.aclose()
        await _until(lambda: not _client_tasks())


# --- access ---------------------------------------------------------------------------------------


async def test_only_the_pinned_key_is_believed() -> None:
    """DESIGN section 4: a node is known by its key in the cluster file, not by a name."""
    pretend = PretendCluster(1, tls=True)
    other = create_tls_identity("node 0", [])
    for identity, reaches in ((pretend.identities[0], True), (other, False)):
        await pretend.start([identity])
        try:
            async with pretend.client() as client:
                if reaches:
                    assert (await client.propose(TOPIC, 17, b"x")).value == b"x"
                else:
                    with pytest.raises(DeadlineExceeded, match="UNAVAILABLE"):
                        await client.propose(TOPIC, 17, b"x", timeout=0.5)
        finally:
            await pretend.stop()


async def test_a_token_goes_with_every_call() -> None:
    """Issue 2: a token where the operator asks for it."""
    access = Access(token="a token of the operator", insecure_plaintext=True)  # noqa: S106
    assert "a token" not in repr(access)
    async with pretend_cluster(1) as pretend, pretend.client(access=access) as client:
        await client.get(TOPIC, 17)
        assert pretend.nodes[0].metadata["authorization"] == "Bearer a token of the operator"


async def test_status_tells_of_every_node() -> None:
    """A node that is away is told as such, beside the others' accounts."""
    async with pretend_cluster() as pretend, pretend.client() as client:
        await pretend.stop(3)
        accounts = await client.status()
        first = accounts[0]
        assert isinstance(first, NodeStatus)
        assert [peer.last_heard_ms for peer in first.peers] == [3, None]
        assert isinstance(accounts[3], Unavailable)


async def test_what_cannot_be_asked() -> None:
    """Mistakes of the caller are errors of the caller, before any node is asked."""
    async with pretend_cluster(1) as pretend:
        client = pretend.client()
        with pytest.raises(ClientError, match="async with"):
            await client.propose(TOPIC, 1, b"x")
        async with client:
            with pytest.raises(ValueError, match="topic"):
                await client.propose("Not A Topic", 1, b"x")
        assert pretend.nodes[0].calls == []
    with pytest.raises(ClusterError, match="cannot read the cluster file"):
        Client(Path("/nowhere/cluster.toml"))


def _client_tasks() -> list[asyncio.Task[object]]:
    """The tasks that run code of the client; the pretended servers have their own."""
    codes = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
    return [task for task, code in codes.items() if code and "qbft/client" in code.co_filename]


async def _until(condition: Callable[[], object]) -> None:
    """Wait for a condition of the real world, with a deadline."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - other ends of sockets set no event
            await asyncio.sleep(0.005)
