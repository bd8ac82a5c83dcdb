"""The vote guard: what a node must never sign (HARDENING W2 and W3).

It knows one instance's own votes, those from before a restart too, and is asked before each
signature. An engine never meets it; one that does has a bug, or its journal is not its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import Message, MessageType, Value
from qbft.errors import InvariantViolation
from qbft.replica.own_votes import VoteRounds

Slot = tuple[MessageType, int]
Content = tuple[Value | None, int, Value | None]


class VoteGuard:
    """One instance's memory of what this node has signed: the current votes (docs/adr/012).

    The others are of rounds in which nothing is signed any more, whatever it says.
    """

    def __init__(self, votes: Iterable[Message] = ()) -> None:
        self._contents: dict[Slot, Content] = {}
        self._rounds = VoteRounds()
        for vote in votes:
            self.admit(vote)

    def __len__(self) -> int:
        return len(self._contents)

    @property
    def round(self) -> int:
        """The highest round that this node has voted in; 0 for none."""
        return self._rounds.top

    def admit(self, vote: Message) -> bool:
        """Remember a vote that is about to be signed; False if this very content was signed before.

        COMMIT may come before PREPARE in a round (REFERENCE rule 28), so the order of types is no
        criterion. Rounds only rise until an instance is decided (REFERENCE rules 23 to 27), and
        then nothing is signed in it any more.

        Raises:
            InvariantViolation: it contradicts an earlier vote, or is of a round that was left.
        """
        slot, content = _slot_and_content(vote)
        signed = self._contents.get(slot)
        if signed is not None:
            if signed != content:
                raise InvariantViolation(f"two contents of {_name(vote)}")
            return False
        rounds = self._rounds
        if vote.round < rounds.top:
            raise InvariantViolation(f"{_name(vote)} after a vote in round {rounds.top}")
        if vote.type is MessageType.ROUND_CHANGE and vote.prepared_round < rounds.commit:
            raise InvariantViolation(
                f"{_name(vote)} prepared in {vote.prepared_round}, "
                f"but COMMIT {rounds.commit} was signed"
            )
        if rounds.note(vote):
            self._contents = {
                known: said for known, said in self._contents.items() if rounds.is_current(*known)
            }
        self._contents[slot] = content
        return True

    def has_signed(self, vote: Message) -> bool:
        """Whether this very content was signed, and is remembered."""
        slot, content = _slot_and_content(vote)
        return self._contents.get(slot) == content


def _slot_and_content(vote: Message) -> tuple[Slot, Content]:
    return (vote.type, vote.round), (vote.value, vote.prepared_round, vote.prepared_value)


def _name(vote: Message) -> str:
    return f"{vote.type.name} of {vote.instance} round {vote.round}"
