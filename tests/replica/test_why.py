"""`qbft why`: what replicas say of an instance, and what is made of it (`qbft.diagnosis`).

Each test makes one standstill among real replicas, whose frames are carried by hand, and asks for
its cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

import pytest
from replica_builders import (
    PP,
    RC,
    Rig,
    certificate,
    instance,
    own_section,
    proposal,
    round_change,
    vote,
    work,
)

from qbft.core import InstanceId, MessageType
from qbft.diagnosis import (
    Cause,
    Diagnosis,
    InstanceAccount,
    InstanceState,
    NodeAccount,
    PeerAccount,
    diagnose,
    waits_for,
)
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.transport import Frame
from qbft.wire.accounts import REASONS_MAX, account_from_pb, account_to_pb
from qbft.wire.v1 import inspection_pb2 as pb

V = proposal(b"v")
Link = tuple[int, int]


class Four:
    """Four replicas; `down` do not run, and `cut` are (from, to) of links that are down."""

    def __init__(
        self, *, down: Collection[int] = (), cut: Collection[Link] = (), **settings: object
    ) -> None:
        self.rigs = [Rig(index, **settings) for index in range(4)]  # type: ignore[arg-type]
        self.down = down
        self.cut = cut

    def propose(self, node: int) -> None:
        """Let a client of one of them propose V; what it says is carried later."""
        self.rigs[node].replica.propose(V, self.rigs[node].now)

    def carry(self, keeps: Callable[[Frame], Frame] = lambda frame: frame) -> None:
        """Carry what there is to be carried at this moment, changed on its way."""
        for _ in range(8):
            turns = [(rig, turn) for rig in self.up for turn in rig.settle()]
            for rig, turn in turns:
                for to, frame in turn.frames:
                    for other in self.up:
                        link = (rig.index, other.index)
                        if other is not rig and to in (None, other.index) and link not in self.cut:
                            other.replica.receive(rig.index, keeps(frame), other.now)

    @property
    def up(self) -> list[Rig]:
        """Those that run."""
        return [rig for rig in self.rigs if rig.index not in self.down]

    def account(self, rig: Rig, which: InstanceId) -> NodeAccount:
        """What one of them says, through the bytes of the wire and back."""
        peers = tuple(
            PeerAccount(
                peer,
                (rig.index, peer) not in self.cut and peer not in self.down,
                rejects=tuple((why, 1) for why, of in rig.rejected if of == peer),
                bounds=tuple(sorted(rig.replica.bites.of_peer(peer).items())),
            )
            for peer in range(4)
            if peer != rig.index
        )
        about = rig.replica.inspect(which, rig.now)
        account = NodeAccount(rig.index, rig.replica.status().voting, about, peers)
        data = account_to_pb(account).SerializeToString()
        read = account_from_pb(pb.InspectInstanceReply.FromString(data), which, rig.index, 4)
        assert read == account
        return read

    def why(self, which: InstanceId | None = None, *, is_proven: bool = False) -> Diagnosis:
        """Ask all that run; `is_proven`: there is a certificate."""
        where = which or instance()
        told: dict[int, NodeAccount | str] = {
            rig.index: self.account(rig, where) for rig in self.up
        }
        told.update({node: f"node {node}: no connection" for node in self.down})
        return diagnose(where, told, 4, is_proven=is_proven)


async def test_two_nodes_down_are_named() -> None:
    """Fewer than a quorum: whoever does not answer is the cause, and the timer is told."""
    four = Four(down=(2, 3))
    four.propose(0)
    four.carry()
    found = four.why()
    assert found.sentence == (
        "t/0 is undecided: nodes 2 and 3 do not answer, which leaves 2 of 4 where 3 must vote; "
        "the next round timer runs out in 1.0 s at node 0, and node 1 leads round 2."
    )
    first = found.findings[0]
    assert (first.cause, first.nodes) == (Cause.NO_QUORUM, (2, 3))
    assert not found.is_decided
    assert found.rows[0].lacks == "PREPARE of 2, 3: does not answer"
    assert found.rows[0].cast == ("PRE-PREPARE", "PREPARE")
    assert found.rows[0].links_down == (2, 3)
    assert found.rows[3].why_silent == "node 3: no connection"


async def test_a_leader_that_is_down_is_named() -> None:
    """The others are a quorum and wait for its PRE-PREPARE; the next leader is told."""
    four = Four(down=(0,))
    four.propose(1)
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.LEADER_DOWN
    assert "node 0, which leads round 1, does not answer; the next round timer" in found.sentence
    assert "node 1 leads round 2" in found.sentence
    assert found.rows[2].lacks == "PRE-PREPARE of 0: does not answer"
    assert found.rows[2].leader == 0


async def test_a_link_that_is_cut_one_way_is_named() -> None:
    """The leader hears all and nobody hears it: its own account tells that its links are down."""
    four = Four(cut=((0, 1), (0, 2), (0, 3)))
    four.propose(0)
    four.propose(1)
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.VOTES_MISSING
    assert "the PRE-PREPARE of node 0, which has cast it, its link is down" in found.sentence
    also = [finding.text for finding in found.findings if finding.cause is Cause.LINK_DOWN]
    assert also == ["the link from node 0 to nodes 1, 2 and 3 is down"]


async def test_links_that_leave_nobody_a_quorum_are_named() -> None:
    """Two halves, each of which hears itself alone."""
    cut = tuple((a, b) for a in range(4) for b in range(4) if (a < 2) != (b < 2))
    four = Four(cut=cut)
    four.propose(0)
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.LINKS_CUT
    assert "nodes 0, 1, 2 and 3 hear no quorum" in found.sentence


async def test_missing_bytes_are_named() -> None:
    """The PRE-PREPARE is there, the bytes of its value are not."""
    four = Four()
    other = proposal(b"other")
    for rig in four.rigs[1:]:
        rig.receive(0, proposals=(other,))
        rig.receive(0, own_section(vote(PP, 0, V)))
    four.propose(0)
    found = four.why()
    assert found.findings[0].cause is Cause.BYTES_MISSING
    assert found.findings[0].nodes == (1, 2, 3)
    assert "lack the bytes of the value that node 0 votes for" in found.sentence
    assert found.rows[1].lacks.startswith("the bytes of the value of 0; PRE-PREPARE of 0")


async def test_a_silent_application_is_named() -> None:
    """PRE-PREPAREs wait for an answer that does not come."""

    class Silent:
        async def check_value(self, which: InstanceId, value: bytes, proposer: int) -> bool:
            """Never answer."""
            return await asyncio.Event().wait()

    four = Four(application=Silent())
    four.propose(0)
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.APPLICATION_SILENT
    assert found.findings[0].nodes == (1, 2, 3)
    assert "wait for their application to check the value" in found.sentence
    assert "its application's answer" in found.rows[1].lacks


async def test_a_value_that_applications_refuse_is_named() -> None:
    """The leader's program would not judge so, or lies: it is not that messages are lost."""

    class Strict:
        async def check_value(self, which: InstanceId, value: bytes, proposer: int) -> bool:
            """Find nothing valid."""
            return False

    four = Four(application=Strict())
    four.propose(0)
    four.carry()
    for rig in four.rigs:
        await work(rig)
    found = four.why()
    assert found.findings[0].cause is Cause.VALUE_INVALID
    assert found.findings[0].nodes == (1, 2, 3)
    assert "finds invalid what node 0, which leads round 1, proposes" in found.sentence
    assert found.rows[1].lacks == "PRE-PREPARE of 0: its value is invalid here"
    assert Cause.VOTES_MISSING not in {finding.cause for finding in found.findings}


@pytest.mark.parametrize("answers", [True, False])
async def test_a_leader_whose_application_keeps_it_from_adopting_is_named(answers: bool) -> None:
    """The leader has been forwarded a value: it waits for its program, or was told that it is bad.

    Not that it "has no proposal", after which one would propose there once more.
    """

    class Strict:
        async def check_value(self, which: InstanceId, value: bytes, proposer: int) -> bool:
            """Find nothing valid, or say nothing."""
            if not answers:
                await asyncio.Event().wait()
            return False

    four = Four(application=Strict())
    four.propose(1)
    four.carry()
    if answers:
        for rig in four.rigs:
            await work(rig)
    found = four.why()
    first = found.findings[0]
    if answers:
        assert (first.cause, first.nodes) == (Cause.VALUE_INVALID, (0,))
        assert "its application finds invalid what came from node 1" in found.sentence
    else:
        assert first.cause is Cause.APPLICATION_SILENT
        assert 0 in first.nodes
        assert found.rows[0].lacks.startswith("its application's answer")
    assert Cause.NO_VALUE not in {finding.cause for finding in found.findings}


async def test_a_node_that_only_the_asker_cannot_reach_is_not_called_dead() -> None:
    """One account shows a link to it that is up: it is there, and its client port is not."""
    four = Four(down=(3,))
    four.propose(0)
    four.carry()
    told: dict[int, NodeAccount | str] = {0: four.account(four.rigs[0], instance())}
    for node in (1, 2, 3):
        told[node] = f"node {node}: no connection"
    found = diagnose(instance(), told, 4)
    assert Cause.NO_QUORUM not in {finding.cause for finding in found.findings}
    untold = next(each for each in found.findings if each.cause is Cause.UNTOLD)
    assert untold.nodes == (1, 2), "node 3 has no link to it, and may well be dead"
    assert found.rows[1].why_silent == "node 1: no connection"


async def test_a_guarded_topic_without_a_signed_proposal_is_named() -> None:
    """Round changes have opened it, and the leader has nothing that the policy allows."""
    guarded = TopicPolicy(proposers=frozenset({b"k" * 32}))
    four = Four(policies=lambda _: guarded)
    for rig in four.rigs:
        for source in range(4):
            if source != rig.index:
                rig.receive(source, own_section(round_change(source, 2)))
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.NO_VALUE
    assert "node 1, which leads round 2, has no signed proposal" in found.sentence
    assert found.rows[1].lacks == "a value to propose"


async def test_an_instance_that_waits_for_its_turn_is_named() -> None:
    """Whoever asks for more than others want waits (docs/adr/019); the limit that bit is told."""
    few = ReplicaLimits(opening_places_free=1, opening_places_min=1, opening_places_max=1)
    four = Four(limits=few, down=(0,))
    flood = tuple(proposal(b"flood", height) for height in (4, 8))
    for rig in four.rigs:
        rig.receive(3 if rig.index != 3 else 2, proposals=flood)
    found = four.why(flood[1].instance)
    first = found.findings[0]
    assert (first.cause, first.nodes) == (Cause.NO_PLACE, (1, 2, 3))
    assert "nodes 1, 2 and 3 have not opened it yet" in found.sentence
    assert found.rows[1].lacks == "a place for the proposal of 3"
    assert found.rows[1].limits == "1 opening_places_min of 3"


async def test_nodes_that_have_not_opened_it_are_named() -> None:
    """The forward reached nobody."""
    four = Four(cut=((1, 0), (1, 2), (1, 3)))
    four.propose(1)
    four.carry()
    found = four.why()
    assert found.findings[0].cause is Cause.PROPOSAL_MISSING
    assert found.findings[0].nodes == (0, 2, 3)
    assert "no proposal for it has reached them" in found.sentence


def test_what_was_never_proposed_is_said_so() -> None:
    """Nothing is known of it anywhere, or only votes are held for it."""
    four = Four()
    assert four.why().findings[0].cause is Cause.NOT_PROPOSED
    four.rigs[2].receive(1, own_section(round_change(1, 5)))
    found = four.why()
    assert found.findings[0].cause is Cause.PROPOSAL_MISSING
    assert found.rows[2].state == "held"


async def test_a_node_without_its_votes_is_named() -> None:
    """W7: it answers and does not vote; the others are a quorum and decide without it."""
    four = Four()
    four.rigs[3].replica.stop_voting()
    four.propose(0)
    four.carry(lambda frame: replace(frame, votes=(), batch=None))
    found = four.why()
    assert [f.nodes for f in found.findings if f.cause is Cause.NODE_OUT] == [(3,)]
    four.down = (2,)
    first = four.why().findings[0]
    assert (first.cause, first.nodes) == (Cause.NO_QUORUM, (2, 3))
    assert "node 2 does not answer and node 3 does not vote" in first.text


async def test_more_than_f_nodes_that_keep_out_are_final() -> None:
    """Issue 4: two of four lost their votes there, one after the other; no timer is of use."""
    four = Four()
    four.propose(0)
    for rig in four.rigs[2:]:
        rig.replica._keep_out(instance())
    four.carry()
    found = four.why()
    assert found.sentence == (
        "t/0 is undecided: nodes 2 and 3 keep out of it, which leaves 2 of 4 where 3 must vote: "
        "no new vote will decide it in this epoch; propose at another height, and abandon this "
        "one at each node."
    )
    assert [(f.cause, f.nodes) for f in found.findings] == [(Cause.KEPT_OUT, (2, 3))]
    four.down = (2,)
    assert four.why().findings[0].cause is Cause.NO_QUORUM, "it may come back and vote"


async def test_votes_that_were_lost_or_refused_are_named() -> None:
    """Who lacks which message from whom, and that something of the sender was refused."""
    four = Four()
    four.propose(0)
    four.propose(1)
    four.carry(lambda frame: replace(frame, votes=(), batch=None, covers=0))
    four.rigs[2].rejected.append(("bad_section_signature", 0))
    found = four.why()
    assert found.findings[0].cause is Cause.VOTES_MISSING
    assert "node 1 lacks the PRE-PREPARE of node 0, which has cast it, it is on" in found.sentence
    assert found.rows[2].lacks == (
        "PRE-PREPARE of 0: has cast it, it is on its way or lost; "
        "messages of it were refused before"
    )
    assert found.rows[2].refused == "1 bad_section_signature of 0"


async def test_nodes_in_different_rounds_are_named() -> None:
    """No quorum in one round; those ahead wait for company."""
    four = Four()
    four.propose(0)
    four.carry(lambda frame: replace(frame, votes=(), batch=None, covers=0))
    for index in (0, 1):
        four.rigs[index].wait(1_001)
    found = four.why()
    assert Cause.ROUNDS_APART in [finding.cause for finding in found.findings]
    row = found.rows[0]
    assert (row.round, row.cast) == (2, ("ROUND-CHANGE",))
    assert "a quorum in its round" in row.lacks


async def test_what_is_decided_is_said_so_and_who_has_not_learnt_it() -> None:
    """The word of F+1 nodes is a fact, and so is a certificate; one's mere word is told as such."""
    four = Four()
    four.rigs[2].receive(1, certificates=(certificate(V),), proposals=(V,))
    found = four.why()
    assert not found.is_decided
    assert found.sentence.startswith("t/0 is undecided: ")
    assert (Cause.SAID_DECIDED, (2,)) in [(each.cause, each.nodes) for each in found.findings]
    proven = four.why(is_proven=True)
    assert proven.is_decided
    assert proven.sentence.startswith("t/0: it is decided, in round 1; nodes 0, 1 and 3 have not")
    four.rigs[1].receive(0, certificates=(certificate(V),))
    found = four.why()
    assert found.sentence == (
        "t/0: it is decided, in round 1; node 1 lacks the bytes of the value; "
        "nodes 0 and 3 have not learnt it yet."
    )
    assert [row.state for row in found.rows][1:3] == ["decided without bytes", "decided"]


def test_an_instance_on_its_way_has_nothing_in_its_way() -> None:
    """All are there and linked, and nobody lacks what another has said."""
    about = InstanceAccount(instance(), InstanceState.OPEN, round=1, has_input=True, timer_ms=20)
    told = {node: NodeAccount(node, voting=True, about=about) for node in range(4)}
    found = diagnose(instance(), told, 4)
    assert [finding.cause for finding in found.findings] == [Cause.NOTHING]
    assert found.sentence == (
        "t/0 is undecided: nothing is in its way, nodes 0, 1, 2 and 3 are in round 1; "
        "the next round timer runs out in 20 ms at node 0, and node 0 leads round 2."
    )


async def test_an_instance_that_is_kept_no_more_is_said_so() -> None:
    """Below the marks of so many that no quorum is left."""
    gone = InstanceAccount(instance(), InstanceState.BELOW_MARK)
    told = {node: NodeAccount(node, voting=True, about=gone) for node in range(2)}
    four = Four(down=(0, 1))
    four.propose(2)
    told.update({rig.index: four.account(rig, instance()) for rig in four.up})
    found = diagnose(instance(), told, 4)
    assert found.findings[0].cause is Cause.DELETED
    assert "nodes 0 and 1 keep it no more" in found.sentence


def test_an_account_is_bounded_and_checked() -> None:
    """A lying node's account: unknown validators are dropped, lists and texts are cut."""
    message = pb.InspectInstanceReply(voting=True)
    message.account.state = 3
    message.account.prepares.extend([7, 1, 1, 2**63])
    peer = message.peers.add(validator=1)
    for _ in range(REASONS_MAX + 9):
        peer.rejects.add(reason="x" * 999, count=2**64 - 1)
        peer.bounds.add(bound="x" * 999, count=2**64 - 1)
    message.peers.add(validator=99)
    read = account_from_pb(message, instance(), 0, 4)
    assert read.about.prepares == (1,)
    assert [peer.validator for peer in read.peers] == [1]
    assert len(read.peers[0].rejects) == REASONS_MAX
    assert len(read.peers[0].rejects[0][0]) == 64
    assert read.peers[0].bounds == read.peers[0].rejects

    message.account.leader = 4
    with pytest.raises(ValueError, match="malformed account"):
        account_from_pb(message, instance(), 0, 4)
    with pytest.raises(ValueError, match="malformed account"):
        account_from_pb(pb.InspectInstanceReply(), instance(), 0, 4)


async def test_nodes_that_do_not_tell_are_no_cause() -> None:
    """Whoever may not ask a node knows nothing of it: neither that it votes, nor that it does not.

    So on the dashboard of a node whose peers ask clients for credentials.
    """
    four = Four()
    four.propose(0)
    four.carry(lambda frame: replace(frame, votes=(), batch=None, covers=0))
    told = {node: four.account(four.rigs[node], instance()) for node in (1, 2)}
    refusals = {node: f"node {node}: UNAUTHENTICATED" for node in (0, 3)}
    found = diagnose(instance(), told, 4, refusals)
    assert [finding.cause for finding in found.findings] == [Cause.NOTHING, Cause.UNTOLD]
    assert "nothing is in its way, nodes 1 and 2 are in round 1" in found.sentence
    assert found.rows[1].lacks == "PRE-PREPARE of 0: did not tell how it stands"
    assert found.rows[3].why_silent == "node 3: UNAUTHENTICATED"
    nothing = diagnose(instance(), {}, 4, dict.fromkeys(range(4), "no"))
    assert "nothing is known of it" in nothing.sentence
    assert waits_for(told[1], 4) == "PRE-PREPARE of 0"
    assert waits_for(four.account(four.rigs[0], instance(9)), 4) == ""


def test_nobody_answers() -> None:
    """Then nothing is known, and that is said."""
    four = Four(down=(0, 1, 2, 3))
    assert four.why().findings[0].cause is Cause.NO_ANSWER


async def test_an_account_names_whose_votes_are_there() -> None:
    """Of the engine's round, by type; of later rounds together."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(MessageType.PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(round_change(2, 4)))
    about = rig.replica.inspect(instance(), rig.now)
    assert about.state is InstanceState.OPEN
    assert (about.pre_prepares, about.prepares, about.commits) == ((0,), (0, 1), ())
    assert about.later == (2,)
    assert (about.leader, about.next_leader, about.timer_ms) == (0, 1, 1_000)
    assert about.has_input
    rig.wait(1_001)
    about = rig.replica.inspect(instance(), rig.now)
    assert (about.round, about.round_changes, about.cast) == (2, (1,), (RC,))
    assert about.waits_for_company
