"""The records of a vote journal: all that a node must not forget (HARDENING W1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qbft.core import InstanceId, Message
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """An own vote with its portable signature; with a COMMIT also the PREPAREs that led to it."""

    vote: Message
    prepares: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """A value's bytes with its proposal.

    `is_input`: the engine was given it as its input; `is_own`: an own client proposed it, so that
    no other value is taken from own clients, after a restart either (SCENARIOS G4).
    """

    proposal: Proposal
    is_input: bool
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision with its certificate and value (write-once, HARDENING W4)."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """An instance that is never voted in again: its engine met a bug (DESIGN, errors).

    `abandoned`: or the operator has given it up by name, or too many peers keep it no more, so that
    the mark may pass it (retention).
    """

    instance: InstanceId
    reason: str
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class MarkRecord:
    """A topic's low-water mark: below this height nothing is kept, or voted on again (DESIGN)."""

    topic: str
    height: int


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """A validator has contradicted itself; kept for ever, of each only so many (SCENARIOS B16)."""

    evidence: Evidence


class Standing(Enum):
    """Whether a journal holds every vote that its key has cast (HARDENING W7)."""

    COMPLETE = "complete"
    UNVOTED = "unvoted"
    """It has no vote, and its validator is not known to have had another journal."""
    LOST = "lost"
    """Votes are missing, or may be: made by `init --replace`, or proven by a vote of its own."""
    SHARED = "shared"
    """Another process votes with its key: from here on it casts none, in no life of its node."""


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """From here on votes are `lost`, or, with the quarantines before it, all that matters is known.

    `shared`: another process votes with the key, so that this journal gets no vote any more.

    `replaced` are the (store id, highest sequence) of lost votes that are known: hearing of them
    again proves nothing new. Votes are numbered from `next_sequence` on at least. Below `floors`,
    (topic, height), lost votes may be in what the peers keep no more: nothing is voted on there.
    """

    lost: bool
    replaced: tuple[tuple[bytes, int], ...] = ()
    next_sequence: int = 1
    floors: tuple[tuple[str, int], ...] = ()
    shared: bool = False


Record = (
    VoteRecord
    | ProposalRecord
    | DecisionRecord
    | QuarantineRecord
    | StandingRecord
    | MarkRecord
    | EvidenceRecord
)
