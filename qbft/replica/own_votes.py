"""One instance's own votes, as far as anyone may still need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qbft.core import MessageType, OwnVote


@dataclass(slots=True, eq=False)
class CastVote:
    """An own vote with its place in the journal's numbering; 0 until it is signed."""

    own: OwnVote
    cast_ms: int
    sequence: int = 0


class OwnVotes:
    """The votes cast in this turn, and the current ones (DESIGN, reliable links).

    Current are those of the highest round, the highest ROUND-CHANGE and the highest COMMIT: what a
    peer that lost everything needs of this node. The others are the journal's.
    """

    def __init__(self, votes: Iterable[CastVote] = ()) -> None:
        self.current: list[CastVote] = list(votes)
        self._fresh: list[CastVote] = []
        self._prune()

    def add(self, cast: CastVote) -> None:
        """Take a vote that the guard has let pass."""
        self.current.append(cast)
        self._fresh.append(cast)

    def drain(self) -> list[CastVote]:
        """Give the votes cast since the last time, and let go of those that are not current."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._prune()
        return fresh

    def _prune(self) -> None:
        top = max((cast.own.vote.round for cast in self.current), default=0)
        best: dict[MessageType, CastVote] = {}
        for cast in self.current:
            vote = cast.own.vote
            if vote.type is MessageType.ROUND_CHANGE or vote.type is MessageType.COMMIT:
                known = best.get(vote.type)
                if known is None or vote.round >= known.own.vote.round:
                    best[vote.type] = cast
        chosen = set(map(id, best.values()))
        self.current = [
            cast for cast in self.current if cast.own.vote.round == top or id(cast) in chosen
        ]
