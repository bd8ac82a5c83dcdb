"""The late-commit collector (HARDENING D1).

The engine counts COMMITs of its own round only. Beside it, every verified COMMIT is kept here, and
a quorum of them for any other round becomes a DECIDED, which an asynchronous network could have
delivered too.
"""

from __future__ import annotations

from collections import OrderedDict

from qbft.core import Message, Value

COMMITS_PER_SOURCE_MAX = 16
"""COMMITs kept of each validator in an instance; an honest one sends one a round."""


class CommitCollector:
    """One instance's COMMITs, by (round, value) and source."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._commits: dict[tuple[int, Value | None], dict[int, Message]] = {}
        self._kept: dict[int, OrderedDict[tuple[int, Value | None], None]] = {}

    def add(self, commit: Message) -> None:
        """Keep a verified COMMIT; of one source the oldest goes when there are too many."""
        candidate = (commit.round, commit.value)
        kept = self._kept.setdefault(commit.source, OrderedDict())
        if candidate in kept:
            return
        kept[candidate] = None
        self._commits.setdefault(candidate, {})[commit.source] = commit
        if len(kept) > COMMITS_PER_SOURCE_MAX:
            oldest, _ = kept.popitem(last=False)
            voters = self._commits[oldest]
            del voters[commit.source]
            if not voters:
                del self._commits[oldest]

    def quorum_outside(self, round_: int | None) -> tuple[Message, ...]:
        """A quorum of COMMITs of one value and a round other than this, by source, or nothing."""
        for (commit_round, _), voters in self._commits.items():
            if commit_round != round_ and len(voters) >= self._quorum:
                return tuple(voters[source] for source in sorted(voters))
        return ()
