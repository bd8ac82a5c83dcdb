"""What opens an instance, and what only waits (DESIGN, opening an instance)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    sent_to,
    vote,
    votes,
)

from qbft.decision import Decision
from qbft.errors import Busy, UnauthorisedProposal
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy

V, W = proposal(b"v"), proposal(b"w")


def is_open(rig: Rig) -> bool:
    """Whether the replica knows the instance to be undecided."""
    return rig.replica.is_open(instance())


@pytest.mark.parametrize("kind", [PREPARE, COMMIT])
def test_a_vote_alone_opens_nothing(kind: object) -> None:
    """Other votes wait in their sender's buffer: no engine, no timer, no journal."""
    rig = Rig(1)
    turn = rig.receive(2, own_section(vote(kind, 2, V)))
    assert not is_open(rig)
    assert turn.records == []
    assert rig.replica.next_due_ms is None
    assert rig.replica.status().held_votes == 1


def test_a_forward_opens() -> None:
    """An authorised forward opens, and an adopting node takes it as its input."""
    rig = Rig(0)
    rig.receive(2, proposals=(V,))
    assert is_open(rig)
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]


def test_a_pre_prepare_opens_once_its_bytes_are_there() -> None:
    """An authorised PRE-PREPARE opens; without its proposal its sender is asked for it."""
    rig = Rig(1)
    turn = rig.receive(0, own_section(vote(PP, 0, V)))
    assert not is_open(rig)
    assert sent_to(turn, 0, "wanted_values") == [(instance(), V.digest)]
    rig.receive(0, proposals=(V,))
    assert kinds(rig.turns) == [("PREPARE", 1)]


def test_round_changes_of_f_plus_1_sources_open() -> None:
    """One of them is honest, so somebody honest is in the instance (M8, U3)."""
    rig = Rig(1)
    rig.receive(2, own_section(round_change(2, 2)))
    rig.receive(2, relayed=(round_change(2, 3),))
    assert not is_open(rig)
    rig.receive(3, own_section(round_change(3, 2)))
    assert is_open(rig)
    assert ("ROUND_CHANGE", 2) in kinds(rig.turns)


def test_one_validator_cannot_be_f_plus_1() -> None:
    """Copies of one source's votes, from several senders, count once."""
    rig = Rig(1)
    for sender in (0, 2, 3):
        rig.receive(sender, relayed=(round_change(2, 2),))
    assert not is_open(rig)


def test_a_commit_quorum_of_an_unopened_instance_is_a_decision() -> None:
    """Where no engine is open the quorum is stored as the decision, and none is opened."""
    rig = Rig(1)
    for source in (0, 2):
        rig.receive(source, own_section(vote(COMMIT, source, V)))
    turn = rig.receive(3, own_section(vote(COMMIT, 3, V)))
    assert sent_to(turn, 3, "wanted_values") == [(instance(), V.digest)]
    assert rig.replica.status().open_instances == 0
    rig.receive(3, proposals=(V,))
    assert rig.disk.get(instance()).value == b"v"
    assert kinds(rig.turns) == []


def test_commits_of_two_values_or_rounds_do_not_add_up() -> None:
    """A quorum is of one round and value (C1, C3)."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(COMMIT, 0, V)))
    rig.receive(2, own_section(vote(COMMIT, 2, W), vote(COMMIT, 2, V, 2)))
    turn = rig.receive(3, own_section(vote(COMMIT, 3, V)))
    assert sent_to(turn, 3, "wanted_values") == []


def test_held_votes_are_given_to_the_engine_when_it_opens() -> None:
    """Nothing that came too early is lost (D5)."""
    rig = Rig(1)
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V)))
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    assert kinds(rig.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    assert rig.replica.status().held_votes == 0


def test_no_height_waits_for_another() -> None:
    """Instances are independent (DESIGN, opening)."""
    rig = Rig(1)
    for height in (7, 3, 11):
        rig.receive(2, proposals=(proposal(b"v", height),))
    assert rig.replica.status().open_instances == 3


def test_an_unauthorised_forward_opens_nothing() -> None:
    """SCENARIOS G16: on a guarded prefix a proposal needs the signature of one of its proposers."""
    guarded = TopicPolicy(proposers=frozenset({b"k" * 32}))
    rig = Rig(0, policies=lambda topic: guarded)
    rig.receive(2, proposals=(V,))
    assert not is_open(rig)
    assert rig.rejected == [("unauthorised_proposal", 2)]


async def test_an_unauthorised_client_is_told_so() -> None:
    """SCENARIOS G16, at the node that is asked."""
    rig = Rig(0, policies=lambda topic: TopicPolicy(proposers=frozenset({b"k" * 32})))
    with pytest.raises(UnauthorisedProposal):
        rig.replica.propose(V, 0)


async def test_an_unauthorised_client_learns_nothing() -> None:
    """SCENARIOS G16: the same answer whether or not there is a decision, an instance or a vote."""
    rig = Rig(1, policies=lambda topic: TopicPolicy(proposers=frozenset({b"k" * 32})))
    answers = []
    for state in ("unknown", "decided", "not voting"):
        if state == "decided":
            rig.disk.add([Decision(V.value, certificate(V))])
        elif state == "not voting":
            rig.replica.stop_voting()
        with pytest.raises(UnauthorisedProposal) as told:
            rig.replica.propose(V, 0)
        answers.append(str(told.value))
    assert len(set(answers)) == 1


def test_an_own_policy_takes_no_input_from_others() -> None:
    """DESIGN, who may propose: under `own` a node proposes only what its own clients gave it."""
    rig = Rig(0, policies=lambda topic: TopicPolicy(adopts=False))
    rig.receive(2, proposals=(V,))
    assert is_open(rig)
    assert kinds(rig.turns) == []


async def test_a_proposal_is_forwarded_to_all_nodes() -> None:
    """Forwards go to all nodes, so that any later leader has the bytes."""
    rig = Rig(1)
    turn = rig.propose(V)
    assert [(to, frame.proposals) for to, frame in turn.frames] == [(None, (V,))]


async def test_the_leader_sends_the_proposal_with_its_pre_prepare() -> None:
    """Two instances with the same value in one turn: each value goes with its own."""
    rig = Rig(0)
    same = proposal(b"v", 4)
    rig.replica.propose(V, 0)
    rig.replica.propose(same, 0)
    turn = rig.turn()
    (frame,) = [frame for to, frame in turn.frames if to is None]
    assert set(frame.proposals) == {V, same}
    assert len(frame.votes) == 4


def test_a_peer_opens_only_so_many() -> None:
    """Opens are budgeted per peer; what finds no place waits for one."""
    rig = Rig(1, limits=ReplicaLimits(open_instances_per_peer_max=2))
    for height in range(3):
        rig.receive(2, proposals=(proposal(b"v", height),))
    assert rig.replica.status().open_instances == 2
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, V)))
    rig.wait(0)
    assert rig.replica.is_open(instance(2))
    assert rig.rejected == []


def test_whoever_opens_what_takes_long_has_less_open_then() -> None:
    """docs/adr/021: as many as to begin with, until they end; then as few as each may always."""
    limits = ReplicaLimits(open_instances_per_peer_first=8, open_instances_per_peer_min=2)
    rig = Rig(1, limits=limits)
    for height in range(20):
        rig.receive(2, proposals=(proposal(b"v", height),))
    rig.wait(1_500)
    assert rig.replica._openings.count_of(2) == 8
    for height in range(8):
        what = proposal(b"v", height)
        for source in (0, 2, 3):
            rig.receive(source, own_section(vote(COMMIT, source, what)))
    rig.wait(0)
    assert rig.replica._openings.count_of(2) == 2


@pytest.mark.bites("open_instances_max", "open_instances_per_peer_max")
async def test_peers_leave_own_clients_and_each_other_their_places() -> None:
    """A flood of all peers together takes no place of an own client (DESIGN, bounds)."""
    rig = Rig(1, limits=ReplicaLimits(open_instances_max=2, open_instances_per_peer_max=2))
    for peer in (0, 2):
        for height in range(5):
            rig.receive(peer, proposals=(proposal(b"v", 10 * peer + height),))
    assert rig.replica.status().open_instances == 4
    rig.receive(3, proposals=(proposal(b"v", 100),))
    for height in (200, 201):
        rig.propose(proposal(b"v", height))
    assert rig.replica.status().open_instances == 7
    with pytest.raises(Busy):
        rig.replica.propose(proposal(b"v", 202), rig.now)


@pytest.mark.bites("open_instances_max")
async def test_what_clients_opened_before_a_restart_has_its_place_still() -> None:
    """With a quorum away each restart gave them all places anew, and resumed what they had."""
    limits = ReplicaLimits(open_instances_max=2)
    rig = Rig(1, limits=limits)
    rig.receive(0, proposals=(proposal(b"v", 100),))
    rig.propose(proposal(b"v", 200))
    rig = rig.restart(limits=limits)
    assert (rig.replica.status().open_instances, rig.replica.resumed_of_clients) == (2, 1)
    rig.propose(proposal(b"v", 201))
    with pytest.raises(Busy):
        rig.replica.propose(proposal(b"v", 202), rig.now)
    rig.propose(proposal(b"v", 200))  # whoever comes again for it needs no place
    decided = proposal(b"v", 200)
    rig.receive(0, certificates=(certificate(decided, (0, 2, 3)),), proposals=(decided,))
    assert rig.replica.resumed_of_clients == 0
    rig.propose(proposal(b"v", 202))


def test_round_changes_cannot_open_beyond_the_budget() -> None:
    """F+1 ROUND-CHANGEs need a place too, which is no peer's: a liar fills no honest one's."""
    rig = Rig(1, limits=ReplicaLimits(open_instances_of_peers_max=3))
    rig.receive(3, proposals=(proposal(b"v", 9),))
    for height in range(4):
        for source in (2, 3):
            rig.receive(source, own_section(round_change(source, 2, instance(height))))
    assert [rig.replica.is_open(instance(height)) for height in range(4)] == [True] * 3 + [False]
    assert ("open_budget", 3) in rig.rejected
    assert rig.replica._openings.count_of(3) == 1


def test_a_quorum_decides_even_where_votes_came_from_other_senders() -> None:
    """Relayed COMMITs count by their own signature, whoever sends them (U9)."""
    rig = Rig(1)
    rig.receive(0, relayed=votes(COMMIT, (0, 2, 3), V))
    rig.receive(0, proposals=(V,))
    assert rig.disk.get(instance()).value == b"v"
