"""The same replicas with Ed25519 instead of the simulator's proofs (DESIGN, signatures)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from replica_builders import (
    PREPARE,
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
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import sign_proposal
from qbft.crypto.roster import Roster, cluster_id
from qbft.errors import CertificateError
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.replica.policy import TopicPolicy
from qbft.transport import Frame

KEYS = [VoteKey.generate() for _ in range(4)]
ROSTER = Roster(
    cluster_id("test", 1, [key.public for key in KEYS]), tuple(key.public for key in KEYS)
)
CLIENT = VoteKey.generate()
V = proposal(b"v")


def rigs_of(*indexes: int, guarded: bool = False) -> list[Rig]:
    """Replicas of these validators, with their real keys."""
    policy = TopicPolicy(proposers=frozenset({CLIENT.public}) if guarded else frozenset())
    return [
        Rig(
            index,
            authenticator=Ed25519Authenticator(KEYS[index], ROSTER, index),
            policies=lambda topic: policy,
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
    rigs[2].receive(1, relayed=sent)
    assert rigs[2].rejected == []
    forged = replace(change, justification=(without_proof(change.justification[0]),) * 3)
    rigs[2].receive(1, relayed=(forged,))
    assert rigs[2].rejected == [("bad_vote_signature", 1)]


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
    stranger = sign_proposal(VoteKey.generate(), ROSTER.cluster_id, instance(), b"v")
    other = sign_proposal(CLIENT, ROSTER.cluster_id, instance(7), b"v")
    forged = [V, stranger, replace(signed, value=b"w"), replace(signed, signature=other.signature)]
    (rig,) = rigs_of(0, guarded=True)
    for proposed in forged:
        rig.receive(2, proposals=(proposed,))
    assert rig.rejected == [("unauthorised_proposal", 2)] * 4
    rig.receive(2, proposals=(signed,))
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]
