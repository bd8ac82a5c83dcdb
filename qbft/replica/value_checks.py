"""Validity before `step`: PRE-PREPAREs wait for the application's answer (DESIGN, validity).

One with PREPAREs of an earlier round for its own value skips the check: f+1 correct nodes have
passed it, and a locked value that some node now finds invalid could stall the instance for ever.
"""

from __future__ import annotations

from qbft.core import Message, MessageType

WAITING_MAX = 64
"""PRE-PREPAREs of one instance that wait for an answer."""


class ValueChecks:
    """What the application said about the values of one instance, and what waits for it."""

    def __init__(self) -> None:
        self.enabled = False
        self._answers: dict[bytes, bool] = {}
        self._waiting: dict[bytes, list[Message]] = {}
        self._asked: set[bytes] = set()

    def admit(self, message: Message) -> bool:
        """Whether the message may go on now; otherwise it waits, or its value is invalid."""
        if not self.enabled or message.type is not MessageType.PRE_PREPARE:
            return True
        value = message.value
        if not isinstance(value, bytes) or _is_prepared(message):
            return True
        answer = self._answers.get(value)
        if answer is None and sum(map(len, self._waiting.values())) < WAITING_MAX:
            waiting = self._waiting.setdefault(value, [])
            if message not in waiting:
                waiting.append(message)
        return answer is True

    def drain_wanted(self) -> list[tuple[bytes, int]]:
        """(digest, proposer) of values to ask about now; each is asked once until answered."""
        wanted = [
            (digest, waiting[0].source)
            for digest, waiting in self._waiting.items()
            if digest not in self._asked
        ]
        self._asked.update(digest for digest, _ in wanted)
        return wanted

    def conclude(self, digest: bytes, *, valid: bool | None) -> list[Message]:
        """Take an answer (None: none came, ask again); give what may go on."""
        self._asked.discard(digest)
        if valid is None:
            return []
        self._answers[digest] = valid
        waiting = self._waiting.pop(digest, [])
        return waiting if valid else []


def _is_prepared(message: Message) -> bool:
    """Whether a PRE-PREPARE carries PREPAREs for its value, a quorum by its shape (U6)."""
    return any(
        nested.type is MessageType.PREPARE and nested.value == message.value
        for nested in message.justification
    )
