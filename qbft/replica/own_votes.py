"""One instance's own votes, as far as anyone may still need them (docs/adr/012)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qbft.core import Message, MessageType, OwnVote


class VoteRounds:
    """Which of an instance's own votes are current; three numbers, however many rounds there were.

    Current are those of the highest round, the highest ROUND-CHANGE and the highest COMMIT: what a
    peer that lost everything needs of this node (DESIGN, reliable links), all that
    `Instance.resume` reads, and all that the guard has to compare with (HARDENING W2, W3, W5).
    """

    __slots__ = ("commit", "round_change", "top")

    def __init__(self, votes: Iterable[Message] = ()) -> None:
        self.top = 0
        """The highest round voted in; 0 for none, as for the other two."""
        self.round_change = 0
        self.commit = 0
        for vote in votes:
            self.note(vote)

    def note(self, vote: Message) -> bool:
        """Take a vote that was cast; whether an earlier one may be current no more."""
        round_, outdates = vote.round, False
        if round_ > self.top:
            outdates = self.top > 0
            self.top = round_
        if vote.type is MessageType.ROUND_CHANGE:
            outdates |= 0 < self.round_change < round_
            self.round_change = max(self.round_change, round_)
        elif vote.type is MessageType.COMMIT:
            outdates |= 0 < self.commit < round_
            self.commit = max(self.commit, round_)
        return outdates

    def is_current(self, type_: MessageType, round_: int) -> bool:
        """Whether anyone may still need the vote of that type and round."""
        if type_ is MessageType.ROUND_CHANGE and round_ == self.round_change:
            return True
        if type_ is MessageType.COMMIT and round_ == self.commit:
            return True
        return round_ == self.top


@dataclass(slots=True, eq=False)
class CastVote:
    """An own vote with its place in the journal's numbering; 0 until it is signed."""

    own: OwnVote
    cast_ms: int
    sequence: int = 0


class OwnVotes:
    """The votes cast in this turn, and the current ones, which are sent again."""

    def __init__(self, votes: Iterable[CastVote] = ()) -> None:
        self.current: list[CastVote] = list(votes)
        self._fresh: list[CastVote] = []
        self._rounds = VoteRounds(cast.own.vote for cast in self.current)
        self._prune()

    def add(self, cast: CastVote) -> None:
        """Take a vote that the guard has let pass, and let go of those that it outdates."""
        self.current.append(cast)
        self._fresh.append(cast)
        if self._rounds.note(cast.own.vote):
            self._prune()

    def drain(self) -> list[CastVote]:
        """Give the votes cast since the last time, whether they are still current or not."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _prune(self) -> None:
        rounds = self._rounds
        self.current = [
            cast
            for cast in self.current
            if rounds.is_current(cast.own.vote.type, cast.own.vote.round)
        ]
