"""Value bytes: held until there, fetched, never decided unseen (SCENARIOS B15; DESIGN, values)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    RC,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    records_of,
    round_change,
    sent_to,
    signed_by,
    vote,
)

from qbft.crypto.proposal import Proposal
from qbft.replica.limits import ReplicaLimits
from qbft.replica.protocols import DecisionRecord, ProposalRecord, VoteRecord

V, W = proposal(b"v"), proposal(b"w")


def test_a_pre_prepare_waits_for_its_bytes() -> None:
    """SCENARIOS B15: bytes withheld, no PREPARE; the bytes are asked for and come."""
    rig = Rig(1)
    rig.receive(2, proposals=(W,))
    turn = rig.receive(0, own_section(vote(PP, 0, V)))
    assert kinds(rig.turns) == []
    assert sent_to(turn, 0, "wanted_values") == [(instance(), V.digest)]
    assert kinds(rig.receive(0, proposals=(V,))) == [("PREPARE", 1)]


def test_bytes_that_do_not_come_are_asked_for_of_others_in_turn() -> None:
    """B15: the leader alone cannot withhold what PREPARE signers have."""
    rig = Rig(3)
    rig.receive(0, proposals=(W,))
    change = round_change(2, 2, prepared=V, prepares=(0, 1, 2))
    rig.receive(2, own_section(change))
    asked = {
        to
        for turn in rig.wait(2_500)
        for to, frame in turn.frames
        if (instance(), V.digest) in frame.wanted_values
    }
    assert asked == {0, 1, 2}


def test_a_large_value_is_asked_for_of_one_peer_at_a_time() -> None:
    """DESIGN, values: above 64 KiB it is fetched; not from everybody that names it at once."""
    rig = Rig(3)
    rig.receive(0, proposals=(W,))
    large = proposal(bytes(1 << 20))
    change = round_change(2, 2, prepared=large, prepares=(0, 1, 2))
    turns = [rig.receive(0, own_section(vote(PP, 0, large)))]
    turns += [rig.receive(s, own_section(vote(PREPARE, s, large))) for s in (0, 1, 2)]
    turns += [rig.receive(2, own_section(change))]
    assert [to for turn in turns for to, frame in turn.frames if frame.wanted_values] == [0]


def test_a_round_change_with_a_prepared_value_waits_too() -> None:
    """DESIGN, values: a leader must not be led to propose what it could not give."""
    rig = Rig(1)
    rig.receive(0, proposals=(W,))
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 2, prepared=V, prepares=(0, 2, 3))))
    assert kinds(rig.turns) == []
    rig.receive(3, proposals=(V,))
    assert ("ROUND_CHANGE", 2) in kinds(rig.turns)


def test_own_votes_never_wait() -> None:
    """A node may COMMIT a value that it has not seen, and take part on (REFERENCE rule 28)."""
    rig = Rig(1)
    rig.receive(2, proposals=(W,))
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V)))
    assert kinds(rig.turns) == [("COMMIT", 1)]
    (change,) = signed_by(rig.wait(1_000))
    assert (change.type, change.prepared_value) == (RC, V.digest)


def test_no_decision_on_unknown_bytes() -> None:
    """B15: decided by its COMMITs, but reported only when bytes and certificate are durable."""
    rig = Rig(1)
    rig.receive(2, proposals=(W,))
    for source in (0, 2, 3):
        turn = rig.receive(source, own_section(vote(COMMIT, source, V)))
    assert rig.disk.get(instance()) is None
    assert rig.replica.is_open(instance())
    wanted = [f.wanted_values for to, f in turn.frames if to in (0, 2, 3) and f.wanted_values]
    assert wanted == [((instance(), V.digest),)]
    rig.receive(3, proposals=(V,))
    assert rig.disk.get(instance()).value == b"v"


def test_the_bytes_of_a_decision_are_asked_for_of_every_peer_in_turn() -> None:
    """A COMMIT signer need not have them, but some honest peer does."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    asked = [
        to
        for turn in rig.wait(2_000)
        for to, frame in turn.frames
        if (instance(), V.digest) in frame.wanted_values
    ]
    assert set(asked) == {0, 2, 3}


def test_other_bytes_do_not_complete_a_decision() -> None:
    """SCENARIOS F11: what does not match the digest is not the value."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    rig.receive(3, proposals=(W,))
    assert rig.disk.get(instance()) is None


def test_bytes_are_journaled_once_with_the_first_vote_for_them() -> None:
    """W1: value bytes with the first own vote for which they are present; an input as well."""
    rig = Rig(1)
    rig.receive(2, proposals=(W,))
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    kept = records_of(rig.turns, lambda record: isinstance(record, ProposalRecord))
    assert kept == [ProposalRecord(W, is_input=True), ProposalRecord(V, is_input=False)]


def test_commits_are_journaled_with_their_prepares() -> None:
    """W1: with COMMIT also the Q PREPAREs, or a restarted node could not prove its next RC."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    commits = records_of(rig.turns, lambda r: isinstance(r, VoteRecord) and r.vote.type is COMMIT)
    assert [{p.source for p in record.prepares} for record in commits] == [{0, 1, 2}]


def test_a_decision_is_journaled_with_the_commit_that_made_it() -> None:
    """W4: certificate and value durable in the turn's commit, then told."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(vote(PREPARE, 2, V), vote(COMMIT, 2, V)))
    turn = rig.receive(0, own_section(vote(COMMIT, 0, V)))
    (record,) = records_of(turn, lambda r: isinstance(r, DecisionRecord))
    assert record.decision.value == b"v"
    assert [c.source for c in record.decision.certificate.commits] == [0, 1, 2]


def test_large_values_are_left_out_of_the_pre_prepare() -> None:
    """Above 64 KiB: fetched by digest. The forward has brought them to all anyway."""
    rig = Rig(0, limits=ReplicaLimits(proposal_bytes_per_frame_max=10))
    large = Proposal(instance(), bytes(11))
    turn = rig.receive(2, proposals=(large,))
    assert [frame.proposals for _, frame in turn.frames] == [()]
    turn = rig.receive(3, wanted_values=((instance(), large.digest),))
    assert sent_to(turn, 3, "proposals") == [large]


def test_a_wanted_value_of_a_decided_instance_comes_with_its_certificate() -> None:
    """So that one who still votes learns at once that it is over."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    turn = rig.receive(2, wanted_values=((instance(), V.digest),))
    assert [p.value for p in sent_to(turn, 2, "proposals")] == [b"v"]
    assert [c.value for c in sent_to(turn, 2, "certificates")] == [V.digest]


def test_an_unknown_value_is_not_answered() -> None:
    """Neither for an open nor for an unknown instance."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    turn = rig.receive(2, wanted_values=((instance(), W.digest), (instance(5), W.digest)))
    assert turn.frames == []


@pytest.mark.bites("pull_bytes_burst_max")
def test_what_a_peer_pulls_is_paced_in_bytes() -> None:
    """A frame of a few hundred ids must not make this node send hundreds of megabytes."""
    rig = Rig(1, limits=ReplicaLimits(pull_bytes_burst_max=300_000, pull_bytes_per_ms=100))
    for height in range(5):
        what = Proposal(instance(height), bytes(100_000))
        rig.receive(3, certificates=(certificate(what, (0, 2, 3)),), proposals=(what,))
    wanted = tuple(instance(height) for height in range(5))
    assert len(sent_to(rig.receive(2, wanted_decisions=wanted), 2, "certificates")) == 2
    assert sent_to(rig.receive(2, wanted_decisions=wanted), 2, "certificates") == []
    assert len(sent_to(rig.receive(0, wanted_decisions=wanted), 0, "certificates")) == 2
    rig.now += 1_100
    assert len(sent_to(rig.receive(2, wanted_decisions=wanted), 2, "certificates")) == 1


@pytest.mark.bites("wanted_per_frame_max")
def test_of_one_frame_so_much_is_answered() -> None:
    """DESIGN, bounds: who asks for more asks again; what a frame costs here is bounded."""
    rig = Rig(1, limits=ReplicaLimits(wanted_per_frame_max=2))
    wanted = []
    for height in range(3):
        what = Proposal(instance(height), b"v")
        rig.receive(3, certificates=(certificate(what, (0, 2, 3)),), proposals=(what,))
        wanted.append(what.instance)
    turn = rig.receive(2, wanted_decisions=tuple(wanted))
    assert [c.instance for c in sent_to(turn, 2, "certificates")] == wanted[:2]


@pytest.mark.bites("asked_values_max")
def test_whom_it_has_just_asked_is_remembered_of_so_many_values() -> None:
    """DESIGN, bounds: beyond them a value may be asked for twice, and costs whoever names it."""
    rig = Rig(1, limits=ReplicaLimits(asked_values_max=1))
    first, second = (vote(PP, 0, proposal(b"v", height)) for height in (0, 4))
    asked = [
        len(sent_to(rig.receive(0, own_section(each)), 0, "wanted_values"))
        for each in (first, first, second, first)
    ]
    assert asked == [1, 0, 1, 1]
