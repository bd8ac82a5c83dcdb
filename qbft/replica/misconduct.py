"""Validators that contradict themselves: found, and kept as evidence (SCENARIOS B16).

Looked at is every vote whose signature was verified and whose instance is open here, whoever sent
it, and what it nests. That costs a look-up in a dictionary. What is kept is bounded for each
validator, so that no liar takes the place of evidence against another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qbft.core import Message, MessageType
from qbft.crypto.evidence import Evidence, contradiction_of, differ
from qbft.records import EvidenceRecord, Record
from qbft.replica.bounds import Bites, Bound

FIRST_VOTES_PER_SOURCE_MAX = 8
"""Votes of one validator that an instance remembers, the latest of them: more than an honest one
sends in two rounds. A liar that says much in between goes unnoticed, and gains nothing by it."""

_COMMIT = MessageType.COMMIT
_ROUND_CHANGE = MessageType.ROUND_CHANGE


class FirstVotes:
    """What each validator was first heard to say in one instance, by type and round."""

    def __init__(self, bites: Bites | None = None) -> None:
        self._bites = bites or Bites()
        self._of: dict[int, dict[int, Message]] = {}
        self._changed_round: set[int] = set()
        self.caught: set[int] = set()
        """Who contradicted itself here: once is enough."""

    def note(self, vote: Message) -> Message | None:
        """Remember a verified vote; gives an earlier one that it contradicts."""
        votes = self._of.get(vote.source)
        if votes is None:
            votes = self._of[vote.source] = {}
        slot = vote.round << 3 | vote.type
        first = votes.get(slot)
        if first is not None:
            return first if first is not vote and differ(first, vote) else None
        votes[slot] = vote.stripped()
        if len(votes) > FIRST_VOTES_PER_SOURCE_MAX:
            del votes[next(iter(votes))]
            self._bites.note(Bound.FIRST_VOTES_PER_SOURCE_MAX, vote.source)
        if vote.type is _ROUND_CHANGE:
            self._changed_round.add(vote.source)
            return _contradicted(votes, vote)
        if vote.type is _COMMIT and vote.source in self._changed_round:
            return _contradicted(votes, vote)
        return None


def _contradicted(votes: dict[int, Message], vote: Message) -> Message | None:
    """The first of a validator's votes that its new one contradicts."""
    return next((known for known in votes.values() if contradiction_of(known, vote)), None)


class Misconduct:
    """The evidence that this node has: at most so many records against each validator.

    `record` has a record journaled with this turn, so that evidence outlives the process.
    """

    def __init__(
        self,
        nodes: int,
        per_validator_max: int,
        record: Callable[[Record], None],
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self.found = dict.fromkeys(range(nodes), 0)
        """How often each validator was caught, at most once an instance; kept or not."""
        self._per_validator_max = per_validator_max
        self._record = record
        self._kept: dict[int, list[Evidence]] = {}

    def recover(self, kept: Iterable[Evidence]) -> None:
        """Take up what an earlier life has found."""
        for evidence in kept:
            self._kept.setdefault(evidence.source, []).append(evidence)
            self.found[evidence.source] += 1

    def look(self, firsts: FirstVotes, vote: Message) -> None:
        """Hold a verified vote, and what it nests, against what their sources said before."""
        contradicted = firsts.note(vote)
        if contradicted is not None and vote.source not in firsts.caught:
            firsts.caught.add(vote.source)
            self._keep(Evidence(contradicted, vote.stripped()))
        for nested in vote.justification:
            self.look(firsts, nested)

    def _keep(self, evidence: Evidence) -> None:
        """Keep it, unless there is enough against its validator, or some of this instance."""
        kept = self._kept.setdefault(evidence.source, [])
        if any(known.first.instance == evidence.first.instance for known in kept):
            return
        self.found[evidence.source] += 1
        if len(kept) < self._per_validator_max:
            kept.append(evidence)
            self._record(EvidenceRecord(evidence))
        else:
            self._bites.note(Bound.EVIDENCE_PER_VALIDATOR_MAX, evidence.source)

    @property
    def evidence(self) -> list[Evidence]:
        """All that is kept, by validator, the oldest first."""
        return [evidence for source in sorted(self._kept) for evidence in self._kept[source]]
