"""The bounded log of received messages, and the tallies kept over it.

The reference walks its log at every message. Here every vote is counted when it enters and
uncounted when it leaves, so that a PREPARE or COMMIT costs the same whether 4 or 100 validators
take part (DESIGN, cost), and the tallies always say what that walk would have found.

A logged message *carries* votes: itself, and each message of its justification as a vote of that
message's own source (REFERENCE rule 15). A vote's *place* is where the walk would meet it: carriers
by ascending source (N2), of one source in order of arrival, the carrier before what it carries.
Several carriers may hold the same vote; it counts until the last of them is evicted (REFERENCE,
section 3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from qbft.core.messages import Message, MessageType, Value

Place = int
"""(carrier's source, number of its arrival, position in the carrier), packed to compare as one."""

_ARRIVAL_SHIFT = 24
_SOURCE_SHIFT = 64

Voters = dict[int, dict[Place, Message]]
"""Who cast a certain vote, by source, and the places at which the log holds it."""

K = TypeVar("K")
_NOBODY: Voters = {}


class MessageLog:
    """The last messages of each sender, and who voted for what among them."""

    def __init__(self, quorum: int, fifo_messages_max: int) -> None:
        self.quorum = quorum
        self._fifo_messages_max = fifo_messages_max
        self._arrivals: dict[int, int] = {}
        self._fifos: dict[int, deque[tuple[Place, Message]]] = {}
        self._prepares: dict[tuple[int, Value | None], Voters] = {}
        self._commits: dict[tuple[int, Value | None], Voters] = {}
        self._round_changes: dict[int, Voters] = {}
        self._null_round_changes: dict[int, Voters] = {}
        self._change_rounds: dict[int, dict[int, int]] = {}
        self._prepare_quorums: dict[tuple[int, Value | None], Voters] = {}

    # --- in and out -------------------------------------------------------------------------------

    def add(self, message: Message) -> None:
        """Append to the sender's FIFO, then evict its oldest if there are too many (rule 14)."""
        source = message.source
        fifo = self._fifos.get(source)
        if fifo is None:
            fifo = self._fifos[source] = deque()
            self._arrivals[source] = source << _SOURCE_SHIFT
        place = self._arrivals[source]
        self._arrivals[source] = place + (1 << _ARRIVAL_SHIFT)
        fifo.append((place, message))
        self._count(place, message)
        if message.justification:
            for position, nested in enumerate(message.justification, place + 1):
                self._count(position, nested)
        if len(fifo) > self._fifo_messages_max:
            self._evict(*fifo.popleft())

    def of(self, source: int) -> tuple[Message, ...]:
        """The messages of a source that are held, the oldest first."""
        return tuple(message for _, message in self._fifos.get(source, ()))

    def _evict(self, place: Place, message: Message) -> None:
        self._uncount(place, message)
        for position, nested in enumerate(message.justification, place + 1):
            self._uncount(position, nested)

    def _count(self, place: Place, vote: Message) -> None:
        voters: Voters | None
        if vote.type is MessageType.PREPARE:
            candidate = (vote.round, vote.value)
            voters = self._prepares.get(candidate)
            if voters is None:
                voters = self._prepares[candidate] = {}
            voters.setdefault(vote.source, {})[place] = vote
            if len(voters) == self.quorum:
                self._prepare_quorums[candidate] = voters
        elif vote.type is MessageType.COMMIT:
            candidate = (vote.round, vote.value)
            voters = self._commits.get(candidate)
            if voters is None:
                voters = self._commits[candidate] = {}
            voters.setdefault(vote.source, {})[place] = vote
        elif vote.type is MessageType.ROUND_CHANGE:
            self._round_changes.setdefault(vote.round, {}).setdefault(vote.source, {})[place] = vote
            if is_null(vote):
                voters = self._null_round_changes.setdefault(vote.round, {})
                voters.setdefault(vote.source, {})[place] = vote
            rounds = self._change_rounds.setdefault(vote.source, {})
            rounds[vote.round] = rounds.get(vote.round, 0) + 1

    def _uncount(self, place: Place, vote: Message) -> None:
        if vote.type is MessageType.PREPARE:
            candidate = (vote.round, vote.value)
            _remove(self._prepares, candidate, place, vote.source)
            if len(self._prepares.get(candidate, _NOBODY)) < self.quorum:
                self._prepare_quorums.pop(candidate, None)
        elif vote.type is MessageType.COMMIT:
            _remove(self._commits, (vote.round, vote.value), place, vote.source)
        elif vote.type is MessageType.ROUND_CHANGE:
            _remove(self._round_changes, vote.round, place, vote.source)
            if is_null(vote):
                _remove(self._null_round_changes, vote.round, place, vote.source)
            rounds = self._change_rounds[vote.source]
            rounds[vote.round] -= 1
            if not rounds[vote.round]:
                del rounds[vote.round]

    # --- PREPAREs and COMMITs ---------------------------------------------------------------------

    def has_prepare_quorum(self, round_: int, value: Value | None) -> bool:
        """Whether a quorum of sources sent PREPARE for this value in this round."""
        return len(self._prepares.get((round_, value), _NOBODY)) >= self.quorum

    def has_commit_quorum(self, round_: int, value: Value | None) -> bool:
        """Whether a quorum of sources sent COMMIT for this value in this round."""
        return len(self._commits.get((round_, value), _NOBODY)) >= self.quorum

    def prepares(self, round_: int, value: Value | None) -> tuple[Message, ...]:
        """Those PREPAREs, the first of each source, all there are at this moment (rule 28)."""
        return in_order(first_of_each(self._prepares.get((round_, value), _NOBODY)))

    def commits(self, round_: int, value: Value | None) -> tuple[Message, ...]:
        """Those COMMITs, the first of each source, all there are at this moment (rule 29)."""
        return in_order(first_of_each(self._commits.get((round_, value), _NOBODY)))

    def prepare_quorums(self) -> list[tuple[int, Value | None]]:
        """(round, value) of every quorum of PREPAREs, the highest round first (N4).

        Two values of one round, which takes more than F liars, stand in the order in which the walk
        meets them.
        """
        if len(self._prepare_quorums) < 2:
            return list(self._prepare_quorums)
        return sorted(self._prepare_quorums, key=lambda c: (-c[0], _first_place(self._prepares[c])))

    # --- ROUND-CHANGEs ----------------------------------------------------------------------------

    def has_round_change_quorum(self, round_: int) -> bool:
        """Whether a quorum of sources sent ROUND-CHANGE for this round, prepared or not."""
        return len(self._round_changes.get(round_, _NOBODY)) >= self.quorum

    def has_null_round_change_quorum(self, round_: int) -> bool:
        """Whether a quorum of sources sent ROUND-CHANGE for this round with nothing prepared."""
        return len(self._null_round_changes.get(round_, _NOBODY)) >= self.quorum

    def null_round_changes(self, round_: int) -> tuple[Message, ...]:
        """Those ROUND-CHANGEs, the first of each source."""
        return in_order(first_of_each(self._null_round_changes.get(round_, _NOBODY)))

    def round_changes_up_to(self, round_: int, prepared_round: int) -> dict[Place, Message]:
        """ROUND-CHANGEs for this round prepared at most there, the first of each source (rule 22).

        The filters come first: of a source that sent several, the first that fits counts.
        """
        chosen = {}
        for held in self._round_changes.get(round_, _NOBODY).values():
            fitting = [p for p, vote in held.items() if vote.prepared_round <= prepared_round]
            if fitting:
                place = fitting[0] if len(fitting) == 1 else min(fitting)
                chosen[place] = held[place]
        return chosen

    def count_ahead(self, round_: int) -> int:
        """How many sources sent a ROUND-CHANGE for a round above this one."""
        return sum(1 for rounds in self._change_rounds.values() if rounds and max(rounds) > round_)

    def walk_ahead(self, round_: int) -> Iterator[Message]:
        """The ROUND-CHANGEs for rounds above this one, by place (rule 26)."""
        ahead = {
            place: vote
            for later, voters in self._round_changes.items()
            if later > round_
            for held in voters.values()
            for place, vote in held.items()
        }
        return (ahead[place] for place in sorted(ahead))


def is_null(round_change: Message) -> bool:
    """Whether a ROUND-CHANGE has nothing prepared: neither round nor value (rule 18)."""
    return round_change.prepared_round == 0 and round_change.prepared_value is None


def first_of_each(voters: Voters) -> dict[Place, Message]:
    """The first vote of each source, by its place (rule 16)."""
    firsts = {}
    for held in voters.values():
        place = next(iter(held)) if len(held) == 1 else min(held)
        firsts[place] = held[place]
    return firsts


def in_order(votes: dict[Place, Message]) -> tuple[Message, ...]:
    """Votes by place, without their justifications, as they are nested in a message (rule 4)."""
    return tuple(votes[place].stripped() for place in sorted(votes))


def _first_place(voters: Voters) -> Place:
    return min(min(held) for held in voters.values())


def _remove(tallies: dict[K, Voters], key: K, place: Place, source: int) -> None:
    voters = tallies[key]
    held = voters[source]
    del held[place]
    if not held:
        del voters[source]
        if not voters:
            del tallies[key]
