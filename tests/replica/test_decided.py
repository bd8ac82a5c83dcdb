"""After a decision (HARDENING U1, U2, W4; SCENARIOS K20)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    own_section,
    proposal,
    round_change,
    sent_to,
    vote,
    votes,
)

from qbft.core import Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.errors import InvariantViolation
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.sim.disk import SimDisk

V, W = proposal(b"v"), proposal(b"w")


def decided_rig(**limits: int) -> Rig:
    """Validator 1, which has decided v in round 1 with the COMMITs of 0, 1 and 2."""
    rig = Rig(1, limits=ReplicaLimits(**limits))
    decide(rig, V)
    return rig


def decide(rig: Rig, what: Proposal) -> None:
    """Let validator 1 decide by the votes of the leader and of one more; 3 stays silent."""
    leader = what.instance.height % 4
    other = 2 if leader == 0 else 0
    votes_of = {
        source: [vote(kind, source, what) for kind in (PP, PREPARE, COMMIT)]
        for source in (leader, other)
    }
    rig.receive(leader, own_section(*votes_of[leader][:2], proposals=(what,)))
    rig.receive(other, own_section(*votes_of[other][1:]))
    rig.receive(leader, own_section(votes_of[leader][2]))
    assert rig.disk.get(what.instance).value == what.value


@pytest.mark.parametrize("kind", [PP, PREPARE, COMMIT])
def test_a_late_vote_for_the_decision_costs_nothing(
    kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U1: recent decided ids stay in memory: no signature is checked, no store is asked."""
    rig = decided_rig()
    forged = replace(vote(kind, 3, V), proof=Proof())
    monkeypatch.setattr(SimDisk, "get", lambda self, which: pytest.fail("the store was asked"))
    for frame in (own_section(forged), own_section(forged, relayed=(forged,))):
        assert rig.receive(3, frame).frames == []
    assert rig.rejected == []


LATE = {
    "round change": round_change(3, 2),
    "another value": vote(PREPARE, 3, W),
    "another round": vote(COMMIT, 3, V, 2),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("recent", [True, False])
def test_anything_else_is_answered_by_the_certificate(name: str, *, recent: bool) -> None:
    """U2: unicast, whether the decision is recent or long ago."""
    rig = decided_rig(**({} if recent else {"recent_decisions_max": 0}))
    for frame in (own_section(LATE[name]), own_section(LATE[name], relayed=(LATE[name],))):
        turn = rig.receive(3, frame)
        assert {c.value for c in sent_to(turn, 3, "certificates")} == {V.digest}
        assert {to for to, _ in turn.frames} == {3}


@pytest.mark.bites("answer_burst_max")
def test_a_peer_is_served_for_ever_but_paced() -> None:
    """SCENARIOS K20, D3: a token bucket by time, never a lifetime cap: 1 per 200 ms, burst 4."""
    rig = decided_rig()
    rig.wait(1_000)
    served = [
        len(sent_to(rig.receive(3, own_section(round_change(3, 2))), 3, "certificates"))
        for _ in range(10)
    ]
    assert served == [1] * 4 + [0] * 6
    for _ in range(50):
        rig.now += 200
        turn = rig.receive(3, own_section(round_change(3, 2)))
        assert len(sent_to(turn, 3, "certificates")) == 1


def test_one_peers_questions_do_not_use_up_anothers_answers() -> None:
    """U2: the bucket is per peer."""
    rig = decided_rig()
    for _ in range(10):
        rig.receive(3, own_section(round_change(3, 2)))
    turn = rig.receive(0, own_section(round_change(0, 2)))
    assert len(sent_to(turn, 0, "certificates")) == 1


def test_a_silent_peer_gets_one_certificate() -> None:
    """U1: a peer whose COMMIT has not come within 100 ms, without value bytes; once."""
    rig = decided_rig()
    assert rig.wait(99) == []
    turns = rig.wait(1)
    assert [c.value for c in sent_to(turns, 3, "certificates")] == [V.digest]
    assert sent_to(turns, 3, "proposals") == []
    assert [to for turn in turns for to, _ in turn.frames] == [3]
    assert not any(turn.frames for turn in rig.wait(10_000))


@pytest.mark.bites("late_burst_max")
def test_certificates_for_silent_peers_are_paced() -> None:
    """U1 under load: where all are late because all are busy, the telling must not add to it.

    What does not fit waits; a COMMIT that comes meanwhile makes it needless.
    """
    rig = Rig(1, limits=ReplicaLimits(late_burst_max=2, late_every_ms=50))
    decided = [proposal(b"%d" % height, height) for height in (0, 2, 4, 6)]
    for what in decided:
        decide(rig, what)
    told = [c.instance.height for c in sent_to(rig.wait(100), 3, "certificates")]
    assert told == [0, 2]
    rig.receive(3, own_section(vote(COMMIT, 3, decided[2])))
    told = [c.instance.height for c in sent_to(rig.wait(1_000), 3, "certificates")]
    assert told == [6]


def test_a_peer_that_is_always_late_does_not_keep_others_waiting() -> None:
    """U1: a liar that never COMMITs is owed a certificate of every decision.

    An honest peer that needs one gets it in its turn, not behind all of these.
    """
    rig = Rig(1, limits=ReplicaLimits(late_burst_max=1, late_every_ms=50))
    for height in range(2, 42, 2):
        decide(rig, proposal(b"v", height))
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V), vote(COMMIT, source, V)))
    turns = rig.wait(250)
    assert [c.instance.height for c in sent_to(turns, 0, "certificates")] == [0]
    assert [c.instance.height for c in sent_to(turns, 3, "certificates")] == [2]
    assert len(sent_to(rig.wait(10_000), 3, "certificates")) == 19


def test_what_waits_for_late_peers_is_bounded() -> None:
    """DESIGN, bounds: a peer's oldest go, and it asks for them itself."""
    rig = Rig(1, limits=ReplicaLimits(recent_decisions_max=6))
    for height in range(0, 12, 2):
        decide(rig, proposal(b"v", height))
    told = sent_to(rig.wait(1_000), 3, "certificates")
    assert [c.instance.height for c in told] == [8, 10]


def test_a_peer_that_commits_in_time_gets_nothing() -> None:
    """U1: on the happy path nothing is pushed; the COMMIT need not even be verified."""
    rig = decided_rig()
    rig.now += 50
    rig.receive(3, own_section(vote(COMMIT, 3, V)))
    assert not any(turn.frames for turn in rig.wait(1_000))


def test_a_commit_beyond_the_quorum_counts_even_before_the_decision_is_durable() -> None:
    """U1: the fourth COMMIT may come in the very frame or turn that completes the quorum.

    It must not be forgotten, or under load most decisions would be followed by a needless
    certificate.
    """
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V)))
    for source in (0, 2, 3):
        rig.replica.receive(source, own_section(vote(COMMIT, source, V)), rig.now)
    rig.turn()
    assert rig.disk.get(instance()) is not None
    assert not any(turn.frames for turn in rig.wait(1_000))


def test_nobody_can_speak_for_a_silent_peer() -> None:
    """A relayed COMMIT does not show that its source is there: here its proof is not checked."""
    rig = decided_rig()
    rig.receive(2, relayed=(replace(vote(COMMIT, 3, V), proof=Proof()),))
    rig.receive(3, relayed=(vote(COMMIT, 2, V),))
    assert [c.value for c in sent_to(rig.wait(100), 3, "certificates")] == [V.digest]


def test_what_was_learnt_is_not_pushed_on() -> None:
    """U1: a node that catches up on a thousand decisions does not tell all peers of each."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 1, 3)),), proposals=(V,))
    rig.receive(2, proposals=(proposal(b"x", 1),))
    rig.receive(3, certificates=(certificate(proposal(b"x", 1), (0, 1, 3)),))
    rig.receive(3, certificates=(certificate(proposal(b"y", 2), (0, 1, 3)),))
    rig.receive(3, proposals=(proposal(b"y", 2),))
    assert rig.disk.end == 3
    assert [c for turn in rig.wait(300) for _, f in turn.frames for c in f.certificates] == []


def test_a_certificate_decides_an_open_instance() -> None:
    """U4: it enters the engine as DECIDED (SCENARIOS C10, M11)."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    rig.receive(3, certificates=(certificate(V, (0, 2, 3), 5),))
    assert rig.disk.get(instance()).certificate.round == 5
    assert rig.replica.status().open_instances == 0


def test_the_bytes_of_a_decided_value_need_no_proposers_signature() -> None:
    """DESIGN, bounds: an honest peer is never scored for what it relays.

    On a prefix with proposers a peer answers with certificate and bytes in one frame; the
    certificate decides, and the bytes are those that it names, whoever signed the proposal.
    """
    rig = Rig(1, policies=lambda _: TopicPolicy(proposers=frozenset({b"k" * 32})))
    rig.receive(2, own_section(round_change(2, 2)))
    rig.receive(3, own_section(round_change(3, 2)))
    assert rig.replica.status().open_instances == 1
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    assert rig.rejected == []
    assert rig.disk.get(instance()) is not None


def bad(**changes: object) -> Certificate:
    """A certificate with something wrong."""
    return replace(certificate(V, (0, 2, 3)), **changes)


@pytest.mark.parametrize(
    "forged",
    [
        bad(commits=votes(COMMIT, (0, 2), V)),
        bad(commits=(*votes(COMMIT, (0, 2), V), vote(COMMIT, 2, V))),
        bad(commits=tuple(replace(c, proof=Proof()) for c in votes(COMMIT, (0, 2, 3), V))),
        bad(commits=votes(COMMIT, (0, 2, 3), W)),
        bad(commits=votes(COMMIT, (0, 2, 3), V, 2)),
        bad(commits=votes(PREPARE, (0, 2, 3), V)),
        bad(commits=votes(COMMIT, (0, 2, 3), proposal(b"v", 7))),
        bad(instance="not of the service"),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_forged_certificate_is_counted_and_does_nothing(
    forged: Certificate, *, is_open: bool
) -> None:
    """SCENARIOS G10, C8: believe nothing but a certificate; a good one later still decides."""
    rig = Rig(1)
    if is_open:
        rig.receive(2, proposals=(V,))
    rig.receive(3, certificates=(forged,), proposals=(V,) if is_open else ())
    assert rig.disk.get(instance()) is None
    assert rig.rejected == [("bad_certificate", 3)]
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    rig.receive(3, proposals=(V,))
    assert rig.disk.get(instance()).value == b"v"


def test_two_decisions_stop_the_node() -> None:
    """W4: another digest, proven, means that agreement is broken: stop and raise the alarm."""
    rig = decided_rig()
    with pytest.raises(InvariantViolation, match="two decisions of t/0"):
        rig.receive(3, certificates=(certificate(W, (0, 2, 3)),))


def test_two_decisions_stop_the_node_before_the_bytes_are_there() -> None:
    """W4, while the first is still on its way to the disk."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    with pytest.raises(InvariantViolation, match="two decisions"):
        rig.receive(2, certificates=(certificate(W, (0, 2, 3)),))


def test_another_certificate_for_the_same_value_is_legitimate() -> None:
    """W4: of another round or other signers; it is dropped, and the first one stays."""
    rig = decided_rig()
    rig.receive(3, certificates=(certificate(V, (0, 2, 3), 4),))
    assert rig.disk.get(instance()).certificate.round == 1
    assert rig.rejected == []


def test_a_forged_contradiction_does_not_stop_the_node() -> None:
    """Only a proven second decision is one."""
    rig = decided_rig()
    forged = replace(certificate(W, (0, 2, 3)), commits=votes(COMMIT, (0, 2), W))
    rig.receive(3, certificates=(forged,))
    assert rig.rejected == [("bad_certificate", 3)]


@pytest.mark.bites("bare_certificates_per_peer_max")
def test_bare_certificates_are_paid_by_whoever_gives_them() -> None:
    """DESIGN, bounds: one peer's certificates without bytes leave room for another's."""
    rig = Rig(1, limits=ReplicaLimits(bare_certificates_per_peer_max=2))
    for height in range(3):
        rig.receive(3, certificates=(certificate(proposal(b"v", height), (0, 2, 3)),))
    assert rig.rejected == [("certificate_budget", 3)]
    rig.receive(2, certificates=(certificate(proposal(b"v", 2), (0, 2, 3)),))
    for height in range(3):
        rig.receive(0, proposals=(proposal(b"v", height),))
    assert rig.disk.end == 3
    rig.receive(3, certificates=(certificate(proposal(b"v", 9), (0, 2, 3)),))
    assert len(rig.rejected) == 1


def test_an_own_decision_needs_no_budget() -> None:
    """What an own engine decided is always kept, bytes or not."""
    rig = Rig(1, limits=ReplicaLimits(bare_certificates_per_peer_max=0))
    rig.receive(2, proposals=(W,))
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, V)))
    rig.receive(2, proposals=(V,))
    assert rig.disk.get(instance()).value == b"v"


def test_the_memory_of_recent_decisions_is_bounded() -> None:
    """DESIGN, bounds."""
    rig = Rig(1, limits=ReplicaLimits(recent_decisions_max=2))
    for height in range(5):
        what = proposal(b"v", height)
        rig.receive(3, certificates=(certificate(what, (0, 2, 3)),), proposals=(what,))
    assert [rig.replica._aftermath.is_recent(instance(h)) for h in range(5)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert rig.disk.end == 5
