"""Validators that contradict themselves are found, and honest ones never (SCENARIOS B16)."""

from __future__ import annotations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    own_section,
    proposal,
    round_change,
    signed,
    vote,
)

from qbft.core import Message
from qbft.crypto.evidence import Contradiction
from qbft.crypto.proposal import Proposal
from qbft.records import EvidenceRecord
from qbft.replica.limits import ReplicaLimits
from qbft.replica.misconduct import FIRST_VOTES_PER_SOURCE_MAX, FirstVotes

V, W = proposal(b"v"), proposal(b"w")


def open_rig(*values: Proposal, index: int = 1, limits: ReplicaLimits | None = None) -> Rig:
    """A replica that a forward opened the instance of each value for."""
    rig = Rig(index, limits=limits)
    for value in values or (V,):
        rig.receive(2 if index != 2 else 3, proposals=(value,))
    return rig


def accused(rig: Rig) -> list[tuple[int, str, str]]:
    """(validator, type, type) of all that is kept."""
    return [
        (found.source, found.first.type.name, found.second.type.name)
        for found in rig.replica.misconduct.evidence
    ]


def journaled(rig: Rig) -> list[EvidenceRecord]:
    """What was journaled."""
    return [r for turn in rig.turns for r in turn.records if isinstance(r, EvidenceRecord)]


def hear(rig: Rig, peer: int, *said: Message) -> None:
    """Hear a peer's own votes."""
    rig.receive(peer, own_section(*said))


def test_an_equivocating_leader_leaves_evidence() -> None:
    """B16: two conflicting signed PRE-PREPAREs, whoever brings the second: a record with both."""
    rig = open_rig(V)
    first, second = vote(PP, 0, V), vote(PP, 0, W, sequence=2)
    hear(rig, 0, first)
    assert accused(rig) == []
    rig.receive(3, relayed=(second,))
    (found,) = rig.replica.misconduct.evidence
    assert (found.first, found.second) == (first, second)
    assert found.contradiction is Contradiction.TWO_CONTENTS
    assert (found.first.proof, found.second.proof) == (first.proof, second.proof)
    assert [record.evidence for record in journaled(rig)] == [found]
    assert rig.replica.misconduct.found == {0: 1, 1: 0, 2: 0, 3: 0}


def test_commit_of_one_value_and_prepare_of_another_is_honest() -> None:
    """B16: what rule 28 of the REFERENCE allows, in both orders, and the same votes again."""
    rig = open_rig(V)
    for peer, said in ((2, [vote(COMMIT, 2, V), vote(PREPARE, 2, W)]), (3, [vote(PREPARE, 3, W)])):
        hear(rig, peer, *said)
        rig.receive(0, relayed=tuple(said))
    hear(rig, 3, vote(COMMIT, 3, V))
    assert accused(rig) == []
    assert journaled(rig) == []


def test_a_hidden_commit_is_found_in_either_order() -> None:
    """HARDENING W3: the ROUND-CHANGE that does not know of the COMMIT may come before it."""
    rig = open_rig(V)
    hear(rig, 2, vote(COMMIT, 2, V), round_change(2, 3))
    hear(rig, 3, round_change(3, 3), vote(COMMIT, 3, V))
    assert accused(rig) == [(2, "COMMIT", "ROUND_CHANGE"), (3, "ROUND_CHANGE", "COMMIT")]


def test_a_commit_at_or_after_the_round_change_is_honest() -> None:
    """A node that moved to round 2 with nothing prepared commits there, or later."""
    rig = open_rig(V)
    hear(rig, 2, round_change(2, 2), vote(COMMIT, 2, V, 2), vote(COMMIT, 2, V, 3))
    hear(rig, 3, vote(COMMIT, 3, V), round_change(3, 2, prepared=V, prepares=(0, 2, 3)))
    assert accused(rig) == []


def test_what_is_nested_counts_and_is_kept_without_what_it_nests() -> None:
    """A PREPARE of validator 3 in another's ROUND-CHANGE contradicts the one that 3 sent here."""
    rig = open_rig(V, index=1)
    hear(rig, 3, vote(PREPARE, 3, W))
    hear(rig, 2, round_change(2, 2, prepared=V, prepares=(0, 2, 3)))
    assert accused(rig) == [(3, "PREPARE", "PREPARE")]
    hear(rig, 0, round_change(0, 2))
    rig.receive(3, relayed=(round_change(0, 2, prepared=V, prepares=(0, 2, 3)),))
    assert accused(rig) == [(0, "ROUND_CHANGE", "ROUND_CHANGE"), (3, "PREPARE", "PREPARE")]
    for found in rig.replica.misconduct.evidence:
        assert found.first.justification == found.second.justification == ()


def test_a_copy_without_its_justification_is_nobodys_fault() -> None:
    """C21: the justification is not signed, so that anyone may have stripped or swapped it."""
    rig = open_rig(V)
    change = round_change(2, 2, prepared=V, prepares=(0, 2, 3))
    other = round_change(2, 2, prepared=V, prepares=(0, 1, 2))
    hear(rig, 2, change)
    rig.receive(3, relayed=(other, signed(change.stripped())))
    assert accused(rig) == []


def test_what_was_held_before_the_instance_opened_counts() -> None:
    """Votes wait for a proposal; the first and the second may both have come before it."""
    rig = Rig(1)
    hear(rig, 2, vote(PREPARE, 2, V))
    rig.receive(3, relayed=(vote(PREPARE, 2, W),))
    assert accused(rig) == []
    rig.receive(3, proposals=(V,))
    assert accused(rig) == [(2, "PREPARE", "PREPARE")]


def test_a_commit_in_a_certificate_counts() -> None:
    """A validator that COMMITted another value here than where it was decided."""
    rig = open_rig(V)
    hear(rig, 2, vote(COMMIT, 2, W))
    rig.receive(0, certificates=(certificate(V, (0, 2, 3)),))
    assert accused(rig) == [(2, "COMMIT", "COMMIT")]


def test_only_what_is_signed_counts() -> None:
    """A forged second vote accuses nobody but costs its sender (reason and budget as ever)."""
    rig = open_rig(V)
    hear(rig, 2, vote(PREPARE, 2, V))
    forged = vote(PREPARE, 3, W)
    stolen = Message(PREPARE, W.instance, 2, 1, W.digest, proof=forged.proof)
    rig.receive(3, relayed=(stolen,))
    assert accused(rig) == []
    assert rig.rejected == [("bad_vote_signature", 3)]


def test_evidence_outlives_the_process() -> None:
    """Journaled with its turn, read again, not found twice, and of the metric from the start."""
    rig = open_rig(V)
    hear(rig, 2, vote(PREPARE, 2, V), vote(PREPARE, 2, W))
    found = rig.replica.misconduct.evidence
    again = rig.restart()
    assert again.replica.misconduct.evidence == found
    assert again.replica.misconduct.found[2] == 1
    again.receive(3, proposals=(V,))
    hear(again, 2, vote(PREPARE, 2, V), vote(PREPARE, 2, W))
    assert again.replica.misconduct.evidence == found
    assert journaled(again) == []


def test_a_peer_that_restarted_is_not_accused() -> None:
    """Another life, the same journal: its votes of before, sent again, and new ones beside them."""
    rig = open_rig(V)
    before = (vote(PREPARE, 2, V), vote(COMMIT, 2, V))
    hear(rig, 2, *before)
    rig.replica.link_up(2, rig.now)
    rig.receive(2, relayed=before)
    hear(rig, 2, round_change(2, 2, prepared=V, prepares=(0, 2, 3)))
    hear(rig, 2, vote(COMMIT, 2, V, 2))
    assert accused(rig) == []


@pytest.mark.bites("evidence_per_validator_max")
def test_each_validator_has_its_own_places() -> None:
    """A liar that contradicts itself everywhere takes no place of another's evidence."""
    limits = ReplicaLimits(evidence_per_validator_max=2)
    values = [proposal(b"v", height) for height in range(5)]
    rig = open_rig(*values, limits=limits)
    for height, value in enumerate(values):
        other = proposal(b"w", height)
        hear(rig, 2, vote(PREPARE, 2, value), vote(PREPARE, 2, other))
        hear(rig, 2, vote(COMMIT, 2, value), vote(COMMIT, 2, other))
    hear(rig, 3, vote(PREPARE, 3, values[4]), vote(PREPARE, 3, proposal(b"w", 4)))
    found = rig.replica.misconduct.evidence
    assert [(each.source, each.first.instance.height) for each in found] == [(2, 0), (2, 1), (3, 4)]
    assert len(journaled(rig)) == 3
    assert rig.replica.misconduct.found == {0: 0, 1: 0, 2: 5, 3: 1}


@pytest.mark.bites("first_votes_per_source_max")
def test_what_an_instance_remembers_is_bounded_and_without_justification() -> None:
    """The latest few votes of each validator, which are enough for two rounds of an honest one."""
    firsts = FirstVotes()
    last = 49
    for round_ in range(2, last + 1):
        assert firsts.note(round_change(2, round_, prepared=V)) is None
    forgotten = last - FIRST_VOTES_PER_SOURCE_MAX
    known = firsts.note(round_change(2, forgotten + 1))
    assert known == round_change(2, forgotten + 1, prepared=V).stripped()
    assert firsts.note(round_change(2, forgotten)) is None
    assert firsts.note(round_change(3, last)) is None
