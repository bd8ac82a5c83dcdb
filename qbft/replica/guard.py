"""The vote guard: what a node must never sign (HARDENING W2 and W3).

It knows one instance's own votes, those from before a restart too, and is asked before each
signature. An engine never meets it; one that does has a bug, or its journal is not its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import Message, MessageType, Value
from qbft.errors import InvariantViolation

Content = tuple[Value | None, int, Value | None]


class VoteGuard:
    """One instance's memory of what this node has signed."""

    def __init__(self, votes: Iterable[Message] = ()) -> None:
        self._signed: dict[tuple[int, int], Content] = {}
        self._round_change_max = 0
        self._commit_max = 0
        for vote in votes:
            self.admit(vote)

    def admit(self, vote: Message) -> bool:
        """Remember a vote that is about to be signed; False if this very content was signed before.

        COMMIT may come before PREPARE in a round (REFERENCE rule 28), so the order of types is no
        criterion.

        Raises:
            InvariantViolation: it contradicts an earlier vote.
        """
        slot, content = _slot_and_content(vote)
        signed = self._signed.get(slot)
        if signed is not None:
            if signed != content:
                raise InvariantViolation(f"two contents of {_name(vote)}")
            return False
        if vote.type is MessageType.ROUND_CHANGE:
            if vote.prepared_round < self._commit_max:
                raise InvariantViolation(
                    f"{_name(vote)} prepared in {vote.prepared_round}, "
                    f"but COMMIT {self._commit_max} was signed"
                )
            self._round_change_max = max(self._round_change_max, vote.round)
        elif vote.round < self._round_change_max:
            raise InvariantViolation(f"{_name(vote)} after ROUND-CHANGE {self._round_change_max}")
        if vote.type is MessageType.COMMIT:
            self._commit_max = max(self._commit_max, vote.round)
        self._signed[slot] = content
        return True

    def has_signed(self, vote: Message) -> bool:
        """Whether this very content was signed before."""
        slot, content = _slot_and_content(vote)
        return self._signed.get(slot) == content


def _slot_and_content(vote: Message) -> tuple[tuple[int, int], Content]:
    return (int(vote.type), vote.round), (vote.value, vote.prepared_round, vote.prepared_value)


def _name(vote: Message) -> str:
    return f"{vote.type.name} of {vote.instance} round {vote.round}"
