"""Validity before `step`: PRE-PREPAREs wait for the application's answer (DESIGN, validity).

So does what might be adopted: nodes that had adopted what they refuse could decide nothing else.

One with a quorum of PREPAREs of an earlier round for its own value skips the check: f+1 correct
nodes have passed it, and a locked value that some node now finds invalid could stall the instance
for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from qbft.core import Message, MessageType
from qbft.replica.waiting import WaitingRoom


class ValueChecks:
    """What the application said about the values of one instance, and what waits for it."""

    def __init__(self, room: WaitingRoom, quorum: int) -> None:
        self.enabled = False
        self._room = room
        self._quorum = quorum
        self._answers: dict[bytes, bool] = {}
        self._candidates: dict[bytes, int] = {}
        self._asked: set[bytes] = set()
        self._unanswered: set[bytes] = set()
        self._refused: dict[int, int] = {}

    def admits(self, message: Message) -> bool | None:
        """Whether the message may go on: False, its value is invalid; None, it must `wait`."""
        if not self.enabled or message.type is not MessageType.PRE_PREPARE:
            return True
        value = message.value
        if not isinstance(value, bytes) or _is_prepared(message, self._quorum):
            return True
        answer = self._answers.get(value)
        if answer is False:
            self._refused[message.source] = message.round
        return answer

    def wait(self, sender: int, message: Message) -> bool:
        """Let a PRE-PREPARE wait for its answer; False if something had to be dropped."""
        return isinstance(message.value, bytes) and self._room.hold(message.value, sender, message)

    def may_adopt(self, sender: int, digest: bytes) -> bool:
        """Whether a peer's value may become the input; one that is not known yet is asked about."""
        if not self.enabled:
            return True
        answer = self._answers.get(digest)
        if answer is None:
            self._candidates.setdefault(digest, sender)
        return answer is True

    def is_candidate(self, digest: bytes) -> bool:
        """Whether a value that was found valid is one to adopt."""
        return digest in self._candidates

    @property
    def may_soon_adopt(self) -> bool:
        """Whether the first answer about a value that might be adopted is still to come."""
        return any(
            digest not in self._answers and digest not in self._unanswered
            for digest in self._candidates
        )

    def start(self, may_ask: Callable[[int], bool]) -> list[tuple[bytes, int]]:
        """Give (digest, proposer) of the values to ask about now, each once until it is answered.

        The proposer is the leader, or the peer that sent what might be adopted. `may_ask(proposer)`
        tells whether one more of that validator's may be asked about.
        """
        wanted: list[tuple[bytes, int]] = []
        for digest in self._unasked():
            waiting = self._room.of(digest)
            proposer = waiting[0][1].source if waiting else self._candidates[digest]
            if may_ask(proposer):
                self._asked.add(digest)
                wanted.append((digest, proposer))
        return wanted

    def _unasked(self) -> list[bytes]:
        """The values that are neither answered nor being asked about."""
        unknown = (digest for digest in self._candidates if digest not in self._answers)
        return [d for d in dict.fromkeys((*self._room.digests(), *unknown)) if d not in self._asked]

    def conclude(self, digest: bytes, *, valid: bool | None) -> list[tuple[int, Message]]:
        """Take an answer (None: none came, ask again later); give what may go on."""
        if valid is None:
            self._unanswered.add(digest)
            return []
        self._asked.discard(digest)
        self._unanswered.discard(digest)
        self._answers[digest] = valid
        waiting = self._room.release(digest)
        if valid:
            return waiting
        self._refused.update((message.source, message.round) for _, message in waiting)
        return []

    def ask_again(self) -> None:
        """Let what got no answer be asked about again.

        At the pace of ticks: a program that fails at once would else be asked without end.
        """
        self._asked -= self._unanswered
        self._unanswered.clear()

    def sources(self) -> list[int]:
        """Whose PRE-PREPAREs, or values to adopt, wait for an answer, in ascending order."""
        waiting = {of for digest, of in self._candidates.items() if digest not in self._answers}
        return sorted(waiting.union(self._room.sources()))

    def not_adopted(self) -> list[int]:
        """Whose values were not adopted because they are invalid, in ascending order."""
        return sorted(
            {of for digest, of in self._candidates.items() if not self._answers.get(digest, True)}
        )

    def refused_in(self, round_: int) -> tuple[int, ...]:
        """Whose PRE-PREPARE of this round has a value that was found invalid, in ascending order.

        Of each leader the last one is remembered.
        """
        return tuple(sorted(leader for leader, of in self._refused.items() if of == round_))

    @property
    def pending(self) -> bool:
        """Whether something waits that is not being asked about."""
        if self._unanswered:
            return True
        return bool(self._room or self._candidates) and bool(self._unasked())


def _is_prepared(message: Message, quorum: int) -> bool:
    """Whether a PRE-PREPARE carries a quorum of PREPAREs of one earlier round for its value."""
    rounds: dict[int, set[int]] = {}
    for nested in message.justification:
        if nested.type is MessageType.PREPARE and nested.value == message.value:
            rounds.setdefault(nested.round, set()).add(nested.source)
    return any(
        round_ < message.round and len(sources) >= quorum for round_, sources in rounds.items()
    )
