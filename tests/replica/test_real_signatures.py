"""The same replicas with Ed25519 instead of the simulator's proofs (DESIGN, signatures)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from replica_builders import (
    FIRST_ROUND_MS,
    PREPARE,
    RC,
    Rig,
    carry_until_decided,
    instance,
    kinds,
    link_all,
    proposal,
    sent_to,
    signed_by,
)

from qbft.core import Message, Proof
from qbft.crypto import signing
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.keys import VoteKey, is_signature_valid
from qbft.crypto.proposal import Proposal, sign_proposal
from qbft.crypto.roster import Roster, cluster_id
from qbft.errors import CertificateError
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.transport import Frame

KEYS = [VoteKey.generate() for _ in range(4)]
ROSTER = Roster(
    cluster_id("test", 1, [key.public for key in KEYS]), tuple(key.public for key in KEYS)
)
CLIENT = VoteKey.generate()
STRANGER = VoteKey.generate()
V = proposal(b"v")


def rigs_of(*indexes: int, guarded: bool = False, limits: ReplicaLimits | None = None) -> list[Rig]:
    """Replicas of these validators, with their real keys."""
    policy = TopicPolicy(proposers=frozenset({CLIENT.public}) if guarded else frozenset())
    return [
        Rig(
            index,
            authenticator=Ed25519Authenticator(KEYS[index], ROSTER, index),
            policies=lambda topic: policy,
            limits=limits,
        )
        for index in indexes
    ]


def test_a_decision_verifies_offline() -> None:
    """SCENARIOS G1: value plus certificate, checked with the cluster's public keys alone."""
    rigs = rigs_of(0, 1, 2, 3)
    link_all(rigs)
    rigs[2].receive(3, proposals=(V,))
    carry_until_decided(rigs)
    for rig in rigs:
        decision = rig.disk.get(instance())
        verify_certificate(decision.certificate, ROSTER, decision.value)
        with pytest.raises(CertificateError):
            verify_certificate(decision.certificate, ROSTER, b"another")
        assert rig.rejected == []


def test_a_prepared_value_survives_a_restart_with_its_proofs() -> None:
    """SCENARIOS K4 to K6: what is re-sent and nested after a restart still proves itself."""
    rigs = rigs_of(0, 1, 2)
    rigs[0].receive(3, proposals=(V,))
    (opening,) = [frame for _, frame in rigs[0].turns[0].frames]
    others = [rig.receive(0, opening) for rig in rigs[1:]]
    answer = next(frame for to, frame in others[1].frames if to is None)
    rigs[1].receive(2, answer)
    assert kinds(rigs[1].turns) == [("PREPARE", 1), ("COMMIT", 1)]
    again = rigs[1].restart(authenticator=Ed25519Authenticator(KEYS[1], ROSTER, 1))
    (change,) = signed_by(again.wait(1_000))
    assert change.prepared_round == 1
    again.replica.link_up(2, again.now)
    sent = tuple(sent_to(again.turn(), 2, "relayed"))
    forged = replace(change, justification=(without_proof(change.justification[0]),) * 3)
    rigs[2].receive(1, relayed=(forged,))
    assert rigs[2].rejected == [("bad_vote_signature", 1)]
    rigs[2].receive(1, relayed=(*sent, forged))
    assert len(rigs[2].rejected) == 1, "a copy of what was taken is not even verified"


def test_verification_stops_at_the_turns_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """F17: of a thousand false signatures a turn checks so many, and a due timer is not late.

    What is left is checked in later turns, at the pace at which a peer may waste this node's time.
    """
    limits = ReplicaLimits(turn_work_max=40, waste_work_max=200, waste_work_per_ms=1.0)
    (rig,) = rigs_of(0, limits=limits)
    rig.receive(2, proposals=(V,))
    rig.wait(FIRST_ROUND_MS - 1)
    checked: list[bytes] = []

    def check(public: bytes, data: bytes, signature: bytes) -> bool:
        checked.append(data)
        return is_signature_valid(public, data, signature)

    monkeypatch.setattr(signing, "is_signature_valid", check)
    rig.replica.receive(3, Frame(relayed=forged(3, 1_000)), rig.now)
    assert 0 < len(checked) <= limits.turn_work_max
    rig.now += 1
    assert kinds(rig.turn()) == [("ROUND_CHANGE", 2)]
    rig.settle()
    wasted_at_once = len(checked)
    assert wasted_at_once <= limits.waste_work_max
    rig.wait(100)
    assert wasted_at_once < len(checked) <= wasted_at_once + 100
    assert set(rig.rejected) == {("bad_vote_signature", 3)}


def forged(source: int, count: int) -> tuple[Message, ...]:
    """Votes for so many values, each with a signature that is none."""
    return tuple(
        Message(
            PREPARE, instance(), source, 1, proposal(b"%d" % index).digest, proof=Proof(portable())
        )
        for index in range(count)
    )


def portable() -> signing.VoteSignature:
    """A signature of the right shape."""
    return signing.VoteSignature(signing.BatchHeader(bytes(16), 1, bytes(64)), 1, 0, ())


def test_a_justification_from_another_cluster() -> None:
    """F10: PREPAREs of the same validators, signed for another cluster, prove nothing here."""
    (rig,) = rigs_of(0)
    rig.receive(2, proposals=(V,))
    for name, refused in (("another", [("bad_vote_signature", 1)]), ("test", [])):
        keys = [key.public for key in KEYS]
        roster = Roster(cluster_id(name, 1, keys), tuple(keys))
        prepares = [
            Message(PREPARE, V.instance, source, 1, V.digest, proof=Proof()) for source in (1, 2, 3)
        ]
        for prepare in prepares:
            signer = signing.BatchSigner(KEYS[prepare.source], roster, prepare.source)
            signer.sign([prepare], bytes(16), 1)
        change = Message(RC, V.instance, 1, 2, None, 1, V.digest, tuple(prepares), Proof())
        signing.BatchSigner(KEYS[1], ROSTER, 1).sign([change], bytes(16), 2)
        before = len(rig.rejected)
        rig.receive(1, relayed=(change,))
        assert rig.rejected[before:] == refused


def without_proof(vote: Message) -> Message:
    """The vote with an empty slot where its signature was."""
    return replace(vote, proof=Proof())


def test_a_section_must_be_the_senders_and_whole() -> None:
    """SCENARIOS F15, F18: another's section, or one with a vote left out, is refused."""
    rigs = rigs_of(0, 1)
    rigs[0].receive(3, proposals=(V,))
    (frame,) = [frame for _, frame in rigs[0].turns[0].frames]
    assert [vote.type for vote in frame.votes][-1] is PREPARE
    rigs[1].receive(2, frame)
    rigs[1].receive(0, Frame(votes=frame.votes[:1], batch=frame.batch))
    assert rigs[1].rejected == [("bad_section_signature", 2), ("bad_section_signature", 0)]
    rigs[1].receive(0, frame)
    assert kinds(rigs[1].turns) == [("PREPARE", 1)]


def test_a_guarded_prefix_takes_only_what_its_client_signed() -> None:
    """SCENARIOS G16: without, with a wrong, or with another value's signature: never voted for."""
    signed = sign_proposal(CLIENT, ROSTER.cluster_id, instance(), b"v")
    stranger = sign_proposal(STRANGER, ROSTER.cluster_id, instance(), b"v")
    other = sign_proposal(CLIENT, ROSTER.cluster_id, instance(7), b"v")
    forged = [V, stranger, replace(signed, value=b"w"), replace(signed, signature=other.signature)]
    (rig,) = rigs_of(0, guarded=True)
    for proposed in forged:
        rig.receive(2, proposals=(proposed,))
    assert rig.rejected == [("unauthorised_proposal", 2)] * 4
    rig.receive(2, proposals=(signed,))
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]


def lying_leader(proposed: Proposal) -> Frame:
    """What validator 0, whose policy guards nothing, sends as the leader of round 1."""
    (leader,) = rigs_of(0)
    leader.receive(3, proposals=(proposed,))
    (frame,) = [frame for _, frame in leader.turns[0].frames]
    assert kinds(leader.turns)[0] == ("PRE_PREPARE", 1)
    return frame


def forged_proposals() -> list[Proposal]:
    """For one value: unsigned, by a stranger, and by the client for another instance."""
    other = sign_proposal(CLIENT, ROSTER.cluster_id, instance(7), b"v")
    return [
        V,
        sign_proposal(STRANGER, ROSTER.cluster_id, instance(), b"v"),
        replace(V, proposer=other.proposer, signature=other.signature),
    ]


@pytest.mark.parametrize("forged", forged_proposals())
def test_a_lying_leader_gets_no_vote_for_what_no_client_signed(forged: Proposal) -> None:
    """SCENARIOS G16: proposed by a lying leader; also where the engine is open already.

    Once the client's own proposal of that value is there, the same PRE-PREPARE is voted for.
    """
    frame = lying_leader(forged)
    signed = sign_proposal(CLIENT, ROSTER.cluster_id, instance(), b"v")
    wanted = sign_proposal(CLIENT, ROSTER.cluster_id, instance(), b"w")
    closed, opened = rigs_of(1, guarded=True)[0], rigs_of(1, guarded=True)[0]
    opened.receive(2, proposals=(wanted,))
    for rig in (closed, opened):
        rig.receive(0, frame)
        assert kinds(rig.turns) == []
        assert rig.rejected == [("unauthorised_proposal", 0)]
        assert (instance(), V.digest) in sent_to(rig.turns, 0, "wanted_values")
    assert not closed.replica.is_open(instance())
    for rig in (closed, opened):
        rig.receive(2, proposals=(signed,))
        assert kinds(rig.turns) == [("PREPARE", 1)]


@pytest.mark.parametrize("forged", forged_proposals())
def test_bytes_that_were_asked_for_need_the_clients_signature_too(forged: Proposal) -> None:
    """SCENARIOS G16: fetched by digest, from the lying leader or whoever helps it."""
    frame = replace(lying_leader(forged), proposals=())
    (rig,) = rigs_of(1, guarded=True)
    rig.receive(0, frame)
    for peer in (0, 2, 3):
        rig.receive(peer, proposals=(forged,))
    assert kinds(rig.turns) == []
    assert rig.rejected == [("unauthorised_proposal", peer) for peer in (0, 2, 3)]
    assert not rig.replica.is_open(instance())


def test_what_a_later_leader_proposes_anew_needs_the_clients_signature() -> None:
    """SCENARIOS G16: a PRE-PREPARE of round 2, justified by ROUND-CHANGEs of nothing prepared."""
    free = rigs_of(1, 2, 3)
    for rig in free:
        rig.receive(0, proposals=(V,))
        rig.wait(1_000)
    changes = [frame for rig in free for _, frame in rig.turns[-1].frames if frame.votes]
    leader = free[0]
    for peer, frame in zip((2, 3), changes[1:], strict=True):
        leader.receive(peer, frame)
    assert kinds(leader.turns)[-2:] == [("PRE_PREPARE", 2), ("PREPARE", 2)]
    (proposed,) = [frame for _, frame in leader.turns[-1].frames if frame.votes]
    (rig,) = rigs_of(3, guarded=True)
    for peer, frame in ((1, changes[0]), (2, changes[1]), (1, proposed)):
        rig.receive(peer, frame)
        rig.receive(peer, proposals=(V,))
    assert ("ROUND_CHANGE", 2) in kinds(rig.turns)
    assert "PREPARE" not in [kind for kind, _ in kinds(rig.turns)]


def guarded_again(rig: Rig) -> Rig:
    """Start it again from its journal, with a cluster file that guards its topics by now."""
    index = rig.index
    guard = TopicPolicy(proposers=frozenset({CLIENT.public}))
    return rig.restart(
        authenticator=Ed25519Authenticator(KEYS[index], ROSTER, index),
        policies=lambda topic: guard,
    )


def test_a_journaled_input_that_nobody_signed_is_none_after_a_restart() -> None:
    """SCENARIOS G16, K2: the topic is guarded by now; what was adopted before is not proposed."""
    (rig,) = rigs_of(1)
    rig.receive(2, proposals=(V,))
    again = guarded_again(rig)
    assert not again.replica.is_open(instance())
    signed = sign_proposal(CLIENT, ROSTER.cluster_id, instance(), b"w")
    again.receive(2, proposals=(signed,))
    again.receive(0, lying_leader(V))
    assert kinds(again.turns) == []
    again.receive(0, lying_leader(signed))
    assert kinds(again.turns) == [("PREPARE", 1)]


def test_what_was_voted_for_keeps_its_bytes_when_its_topic_is_guarded() -> None:
    """SCENARIOS G16, K4: its votes stand, and a value that is locked must not be stuck without."""
    (rig,) = rigs_of(1)
    rig.receive(0, lying_leader(V))
    assert kinds(rig.turns) == [("PREPARE", 1)]
    again = guarded_again(rig)
    turn = again.receive(2, wanted_values=((instance(), V.digest),))
    assert sent_to(turn, 2, "proposals") == [V]
