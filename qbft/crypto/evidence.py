"""Evidence of misbehaviour: two votes of one validator that no correct one signs both.

What is honest is told by the guard's rules (HARDENING W2 and W3) and by REFERENCE rule 28: a node
may COMMIT before it PREPAREs, and may COMMIT one value and PREPARE another in the same round. So
votes of different types are never held against each other, but for a ROUND-CHANGE that hides an
earlier COMMIT. Nothing is concluded from the order in which votes came, for anyone can change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qbft.core import InstanceId, Message, MessageType
from qbft.core.messages import ROUND_MAX
from qbft.crypto.roster import Roster
from qbft.crypto.signing import Verifier
from qbft.errors import EvidenceError

_VOTES = frozenset(
    {
        MessageType.PRE_PREPARE,
        MessageType.PREPARE,
        MessageType.COMMIT,
        MessageType.ROUND_CHANGE,
    }
)


class Contradiction(Enum):
    """In which way two votes contradict each other."""

    TWO_CONTENTS = "two_contents"
    """Two votes of one type and round that do not say the same (HARDENING W2, SCENARIOS B16)."""
    HIDDEN_COMMIT = "hidden_commit"
    """A COMMIT, and a ROUND-CHANGE for a later round that knows nothing of it (HARDENING W3)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two contradictory votes of one validator, each with its portable signature.

    Whoever has the cluster's public keys can check it (`verify_evidence`); justifications are no
    part of it, for they are not signed. It proves what the key has signed, not why: a node that ran
    on an old copy of its data directory is caught as a liar is.
    """

    first: Message
    second: Message

    @property
    def source(self) -> int:
        """The index of the validator that it is against."""
        return self.first.source

    @property
    def contradiction(self) -> Contradiction | None:
        """In which way the two contradict each other; None: they do not."""
        return contradiction_of(self.first, self.second)


def contradiction_of(first: Message, second: Message) -> Contradiction | None:
    """Why no correct validator signs both votes, in whatever order; None where it may.

    What a ROUND-CHANGE for round r says is prepared is at least as late as each COMMIT of its
    source below r, and is the value of a COMMIT of that very round: of those before it the guard
    sees to that, and after it the guard lets none pass. A COMMIT of round r or later may come after
    it, and tells nothing.
    """
    if (first.source, first.instance) != (second.source, second.instance):
        return None
    if first.type is second.type:
        is_same_slot = first.round == second.round
        return Contradiction.TWO_CONTENTS if is_same_slot and differ(first, second) else None
    if first.type is MessageType.COMMIT and second.type is MessageType.ROUND_CHANGE:
        return Contradiction.HIDDEN_COMMIT if _hides(second, first) else None
    if first.type is MessageType.ROUND_CHANGE and second.type is MessageType.COMMIT:
        return Contradiction.HIDDEN_COMMIT if _hides(first, second) else None
    return None


def differ(first: Message, second: Message) -> bool:
    """Whether two votes of one validator, type and round say different things."""
    return (
        first.value != second.value
        or first.prepared_round != second.prepared_round
        or first.prepared_value != second.prepared_value
    )


def _hides(round_change: Message, commit: Message) -> bool:
    if commit.round >= round_change.round:
        return False
    if round_change.prepared_round == commit.round:
        return round_change.prepared_value != commit.value
    return round_change.prepared_round < commit.round


def _is_vote(message: Message) -> bool:
    """Whether it is a vote as the service signs them: over `run()` values may be anything."""
    return (
        message.type in _VOTES
        and isinstance(message.instance, InstanceId)
        and 1 <= message.round <= ROUND_MAX
        and 0 <= message.prepared_round <= ROUND_MAX
        and isinstance(message.value, bytes | None)
        and isinstance(message.prepared_value, bytes | None)
    )


def verify_evidence(
    evidence: Evidence, roster: Roster, verifier: Verifier | None = None
) -> Contradiction:
    """Check evidence from the cluster's public keys alone; gives what the validator did.

    Args:
        evidence: what is to be proven.
        roster: the cluster whose validator it is against.
        verifier: one that may have verified some of the signatures already.

    Raises:
        EvidenceError: it proves nothing against anybody.
    """
    verifier = verifier or Verifier(roster)
    contradiction = evidence.contradiction
    for vote in (evidence.first, evidence.second):
        if not _is_vote(vote):
            raise EvidenceError("it holds what is no vote of the service")
        if vote.justification:
            raise EvidenceError("a vote carries more than was signed")
        if not 0 <= vote.source < roster.nodes:
            raise EvidenceError(f"validator {vote.source} is no member of the cluster")
    if contradiction is None:
        raise EvidenceError("a correct validator may sign both votes")
    for vote in (evidence.first, evidence.second):
        if not verifier.verify_vote(vote):
            raise EvidenceError(f"a signature of validator {vote.source} is not valid")
    return contradiction
