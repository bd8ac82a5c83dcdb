"""Evidence of misbehaviour: what proves it, and everything that does not (SCENARIOS B16)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest
from by_the_page import is_evidence_valid
from crypto_builders import DIGEST, INSTANCE, VECTORS, roster, sign, vote, with_signature

from qbft.core import InstanceId, Message, MessageType
from qbft.crypto.evidence import (
    Contradiction,
    Evidence,
    contradiction_of,
    verify_evidence,
)
from qbft.crypto.proposal import value_digest
from qbft.errors import EvidenceError, InvariantViolation
from qbft.replica.guard import VoteGuard
from qbft.wire import decode_decision, decode_evidence, encode_evidence, is_evidence

PP, PREPARE = MessageType.PRE_PREPARE, MessageType.PREPARE
COMMIT, RC = MessageType.COMMIT, MessageType.ROUND_CHANGE
OTHER = value_digest(b"other")
TWO_CONTENTS, HIDDEN_COMMIT = Contradiction.TWO_CONTENTS, Contradiction.HIDDEN_COMMIT


def round_change(round_: int, prepared_round: int = 0, prepared: bytes | None = None) -> Message:
    """A ROUND-CHANGE of validator 1, not yet signed."""
    return vote(
        RC, round=round_, value=None, prepared_round=prepared_round, prepared_value=prepared
    )


def signed(first: Message, second: Message) -> Evidence:
    """Evidence of two votes, each signed by its source in a batch of its own."""
    for message in (first, second):
        sign([message], message.source)
    return Evidence(first, second)


CONTRADICTIONS = {
    "two PRE-PREPAREs": (vote(PP), vote(PP, value=OTHER), TWO_CONTENTS),
    "two PREPAREs": (vote(PREPARE), vote(PREPARE, value=OTHER), TWO_CONTENTS),
    "two COMMITs": (vote(COMMIT, round=3), vote(COMMIT, round=3, value=OTHER), TWO_CONTENTS),
    "one ROUND-CHANGE with and without": (
        round_change(3, 2, DIGEST),
        round_change(3),
        TWO_CONTENTS,
    ),
    "two prepared rounds": (round_change(4, 2, DIGEST), round_change(4, 3, DIGEST), TWO_CONTENTS),
    "two prepared values": (round_change(4, 2, DIGEST), round_change(4, 2, OTHER), TWO_CONTENTS),
    "a COMMIT hidden": (vote(COMMIT), round_change(2), HIDDEN_COMMIT),
    "a COMMIT behind an older one": (
        vote(COMMIT, round=2),
        round_change(3, 1, OTHER),
        HIDDEN_COMMIT,
    ),
    "a COMMIT of another value": (vote(COMMIT, round=2), round_change(5, 2, OTHER), HIDDEN_COMMIT),
}
HONEST = {
    "COMMIT, then PREPARE of another value": (vote(COMMIT), vote(PREPARE, value=OTHER)),
    "a leader's own value and another's PREPARE": (vote(PP), vote(PREPARE, value=OTHER)),
    "one value in one round, another in the next": (
        vote(COMMIT),
        vote(COMMIT, round=2, value=OTHER),
    ),
    "a COMMIT after the ROUND-CHANGE": (round_change(2), vote(COMMIT, round=2)),
    "a later COMMIT": (round_change(2), vote(COMMIT, round=3)),
    "a COMMIT that is told of": (vote(COMMIT), round_change(2, 1, DIGEST)),
    "a COMMIT and a later one that is told of": (vote(COMMIT), round_change(5, 3, OTHER)),
    "the same again": (vote(PREPARE), vote(PREPARE)),
    "two validators": (vote(PREPARE), vote(PREPARE, 2, value=OTHER)),
    "two instances": (vote(PREPARE), vote(PREPARE, value=OTHER, instance=InstanceId("b", 7))),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_proven_by_both_votes(name: str) -> None:
    """B16: from bytes and public keys alone, in whatever order the two votes come."""
    first, second, expected = CONTRADICTIONS[name]
    evidence = signed(first, second)
    again = decode_evidence(encode_evidence(evidence))
    for each in (evidence, Evidence(second, first), again):
        assert verify_evidence(each, roster()) is expected
    assert (again, again.source) == (evidence, 1)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_validator_is_not_accused(name: str) -> None:
    """B16: honest COMMIT(v1) + PREPARE(v2) is no evidence (REFERENCE rule 28), nor are these."""
    evidence = signed(*HONEST[name])
    assert evidence.contradiction is None
    with pytest.raises(EvidenceError, match="may sign both"):
        verify_evidence(evidence, roster())


def passes(earlier: Message, later: Message) -> bool:
    """Whether the guard lets both be signed in this order."""
    try:
        VoteGuard([earlier]).admit(later)
    except InvariantViolation:
        return False
    return True


def names_another_value(round_change: Message, commit: Message) -> bool:
    """Whether it says that something else is prepared in the round of the COMMIT."""
    return (round_change.type, commit.type) == (RC, COMMIT) and (
        round_change.prepared_round == commit.round and round_change.prepared_value != commit.value
    )


def test_two_votes_contradict_each_other_where_the_guard_passes_them_in_no_order() -> None:
    """HARDENING W2, W3: all pairs of votes for two values in four rounds; neither more nor less.

    What the guard cannot know follows from REFERENCE rule 28: what is prepared in a round is what
    was COMMITted in it.
    """
    rounds, values = (1, 2, 3), (DIGEST, OTHER)
    votes = [
        vote(kind, round=r, value=v)
        for kind, r, v in product((PP, PREPARE, COMMIT), rounds, values)
    ]
    votes += [round_change(r) for r in (2, 3, 4)]
    votes += [round_change(r, p, v) for r, p, v in product((2, 3, 4), rounds, values) if p < r]
    for one, other in product(votes, votes):
        is_honest = (passes(one, other) or passes(other, one)) and not (
            names_another_value(one, other) or names_another_value(other, one)
        )
        assert (contradiction_of(one, other) is None) is is_honest


def test_forged_evidence() -> None:
    """G10 of evidence: what is not signed by the validator's key proves nothing against it."""
    genuine = signed(vote(PREPARE), vote(PREPARE, value=OTHER))
    first, second = genuine.first, genuine.second
    stranger = signed(vote(PREPARE, 2), vote(PREPARE, 2, value=OTHER))
    forgeries = {
        "may sign both": (first, first),
        "signature of validator 1": (first, replace(second, value=value_digest(b"third"))),
        "signature of validator 1 ": (first, with_signature(second, None)),
        "signature of validator 1 is": (first, replace(first, value=OTHER)),
        "signature of validator 3": tuple(replace(v, source=3) for v in (first, second)),
        "validator 4 is no member": tuple(replace(v, source=4) for v in (first, second)),
        "validator -1 is no member": tuple(replace(v, source=-1) for v in (first, second)),
        "carries more": (first, replace(second, justification=(first,))),
        "no vote of the service": (first, replace(second, type=MessageType.DECIDED)),
        "no vote of the service ": tuple(replace(v, instance="here") for v in (first, second)),
        "no vote of the  service": tuple(replace(v, round=0) for v in (first, second)),
        "no vote  of the service": (first, replace(second, value="text")),
    }
    for said, votes in forgeries.items():
        with pytest.raises(EvidenceError, match=" ".join(said.split())):
            verify_evidence(Evidence(*votes), roster())
    verify_evidence(stranger, roster())
    with pytest.raises(EvidenceError, match="signature"):
        verify_evidence(genuine, roster(name="other"))


def test_changed_bytes_never_accuse_another() -> None:
    """Whatever bit of a file is flipped, it proves the same or nothing."""
    evidence = signed(vote(COMMIT), round_change(2))
    data = encode_evidence(evidence)
    for place, bit in product(range(len(data)), (0, 3, 7)):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        try:
            found = decode_evidence(bytes(changed))
            verify_evidence(found, roster())
        except (EvidenceError, ValueError):
            continue
        assert found == evidence
    for length in range(len(data)):
        with pytest.raises(ValueError, match="not evidence"):
            decode_evidence(data[:length])


def test_a_file_says_which_it_is() -> None:
    """Field numbers of certificate, decision and evidence are apart (docs/PROTOCOL.md)."""
    vector = VECTORS["certificate"]
    data = encode_evidence(signed(vote(PREPARE), vote(PREPARE, value=OTHER)))
    assert is_evidence(data)
    for other in (vector["protobuf"], vector["decision_protobuf"], "", "ff"):
        assert not is_evidence(bytes.fromhex(other))
    with pytest.raises(ValueError, match="not a decision"):
        decode_decision(data)


@pytest.mark.parametrize("vector", VECTORS["evidence"], ids=lambda v: v["contradiction"])
def test_golden_evidence(vector: dict[str, str]) -> None:
    """The bytes of a file are read, written again alike, and valid by the page alone."""
    data = bytes.fromhex(vector["protobuf"])
    evidence = decode_evidence(data)
    assert encode_evidence(evidence) == data
    assert verify_evidence(evidence, roster()).value == vector["contradiction"]
    assert evidence.first.instance == INSTANCE
    assert is_evidence_valid(VECTORS["cluster"], vector)
    for name, changed in (("round", 9), ("digest", "00" * 32), ("height", 8)):
        first = {**vector["first"], name: changed}
        assert not is_evidence_valid(VECTORS["cluster"], {**vector, "first": first})
    assert not is_evidence_valid(VECTORS["cluster"], {**vector, "first": vector["second"]})


def test_verifying_evidence_needs_no_grpc() -> None:
    """Issue 6: checked offline, by whoever has the cluster file and this library's core."""
    program = (
        "import sys, qbft.crypto.evidence; "
        "print([m for m in ('grpc', 'google', 'cryptography') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    assert ran.stdout.strip() == "[]"
