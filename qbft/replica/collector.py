"""The late-commit collector (HARDENING D1).

The engine counts COMMITs of its own round only. Beside it, every verified COMMIT is kept here, and
a quorum of them for any other round becomes a DECIDED, which an asynchronous network could have
delivered too.
"""

from __future__ import annotations

from collections.abc import Set

from qbft.core import Message, Value
from qbft.replica.bounds import Bites, Bound

COMMITS_PER_SOURCE_MAX = 16
"""COMMITs kept of each validator in an instance; an honest one sends one a round."""

Candidate = tuple[int, Value | None]


class CommitCollector:
    """One instance's COMMITs, by (round, value) and source."""

    def __init__(self, quorum: int, bites: Bites | None = None) -> None:
        self._quorum = quorum
        self._bites = bites or Bites()
        self._commits: dict[Candidate, dict[int, Message]] = {}
        self._kept: dict[int, list[Candidate]] = {}
        self._complete: dict[Candidate, None] = {}

    def add(self, commit: Message) -> None:
        """Keep a verified COMMIT; of one source the lowest round goes when there are too many.

        So an old COMMIT that is replayed does not push out a fresh one (HARDENING D11).
        """
        candidate = (commit.round, commit.value)
        kept = self._kept.setdefault(commit.source, [])
        if candidate in kept:
            return
        kept.append(candidate)
        voters = self._commits.setdefault(candidate, {})
        voters[commit.source] = commit
        if len(voters) >= self._quorum:
            self._complete[candidate] = None
        if len(kept) > COMMITS_PER_SOURCE_MAX:
            self._forget(min(kept, key=lambda known: known[0]), commit.source)
            self._bites.note(Bound.COMMITS_PER_SOURCE_MAX, commit.source)

    def has(self, commit: Message) -> bool:
        """Whether a COMMIT of this content is kept."""
        return commit.source in self.voters(commit.round, commit.value)

    def commits(self) -> list[Message]:
        """All that are kept."""
        return [commit for voters in self._commits.values() for commit in voters.values()]

    def quorum_outside(self, round_: int) -> tuple[Message, ...]:
        """A quorum of COMMITs of one value and a round other than this, by source, or nothing."""
        for candidate in self._complete:
            if candidate[0] != round_:
                voters = self._commits[candidate]
                return tuple(voters[source] for source in sorted(voters))
        return ()

    def voters(self, round_: int, value: Value | None) -> Set[int]:
        """Whose COMMITs of a round and value are kept."""
        return self._commits.get((round_, value), {}).keys()

    def _forget(self, candidate: Candidate, source: int) -> None:
        self._kept[source].remove(candidate)
        voters = self._commits[candidate]
        del voters[source]
        if len(voters) < self._quorum:
            self._complete.pop(candidate, None)
        if not voters:
            del self._commits[candidate]
