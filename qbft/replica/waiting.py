"""Messages of an open instance that wait: for a value's bytes, a check, or a later round.

All are verified; the engine has not seen them, or saw them in an earlier round. Each sender pays
for what it sent, so that nobody can fill the place of another's messages.
"""

from __future__ import annotations

from qbft.core import Message, Value
from qbft.replica.bounds import Bites, Bound
from qbft.replica.budget import Tab, cost_of

Slot = tuple[int, int, int, Value | None, int, Value | None]
"""A vote's content without its justification: honest validators send one per type and round."""


def slot_of(message: Message) -> Slot:
    """Give the content of a vote."""
    return (
        int(message.type),
        message.source,
        message.round,
        message.value,
        message.prepared_round,
        message.prepared_value,
    )


class WaitingRoom:
    """Messages that wait for something known by its digest."""

    def __init__(self, tab: Tab, per_source_max: int) -> None:
        self._tab = tab
        self._per_source_max = per_source_max
        self._pairs: dict[tuple[int, int], list[tuple[bytes, Message]]] = {}
        self._counts: dict[bytes, int] = {}

    def hold(self, digest: bytes, sender: int, message: Message) -> bool:
        """Let a message wait; False if something had to be dropped.

        Of one source's messages from one sender the one of the lowest round makes way.
        """
        held = self._pairs.setdefault((sender, message.source), [])
        if any(known == message for _, known in held):
            return True
        if not self._tab.charge(sender, cost_of(message)):
            return False
        held.append((digest, message))
        self._counts[digest] = self._counts.get(digest, 0) + 1
        if len(held) <= self._per_source_max:
            return True
        self._drop(sender, held, min(held, key=lambda entry: entry[1].round))
        self._tab.bites.note(Bound.WAITING_PER_SOURCE_MAX, sender)
        return False

    def release(self, digest: bytes) -> list[tuple[int, Message]]:
        """Give (sender, message) of all that waited for this, by sender and source."""
        released: list[tuple[int, Message]] = []
        if digest not in self._counts:
            return released
        for (sender, _), held in sorted(self._pairs.items()):
            for entry in [entry for entry in held if entry[0] == digest]:
                self._drop(sender, held, entry)
                released.append((sender, entry[1]))
        return released

    def of(self, digest: bytes) -> list[tuple[int, Message]]:
        """Look at what waits for this."""
        return [
            (sender, message)
            for (sender, _), held in sorted(self._pairs.items())
            for known, message in held
            if known == digest
        ]

    def digests(self) -> list[bytes]:
        """What is waited for, since longest first."""
        return list(self._counts)

    def sources(self) -> list[int]:
        """Whose messages wait, in ascending order."""
        return sorted({source for (_, source), held in self._pairs.items() if held})

    def __contains__(self, digest: object) -> bool:
        return digest in self._counts

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __bool__(self) -> bool:
        return bool(self._counts)

    def _drop(
        self, sender: int, held: list[tuple[bytes, Message]], entry: tuple[bytes, Message]
    ) -> None:
        held.remove(entry)
        self._tab.refund(sender, cost_of(entry[1]))
        self._counts[entry[0]] -= 1
        if not self._counts[entry[0]]:
            del self._counts[entry[0]]


class LaterVotes:
    """Votes of later rounds, which come again when their round is entered (DESIGN, late nodes).

    Only what `step` found justified is kept here, so that a copy without its justification never
    takes the place of a good one.
    """

    def __init__(self, tab: Tab, per_source_max: int) -> None:
        self._tab = tab
        self._per_source_max = per_source_max
        self._kept: dict[int, dict[Slot, tuple[int, Message]]] = {}

    def keep(self, sender: int, message: Message) -> bool:
        """Keep a vote; False if the sender cannot pay.

        Of its source the one of the lowest round makes way.
        """
        kept = self._kept.setdefault(message.source, {})
        slot = slot_of(message)
        if slot in kept:
            return True
        if not self._tab.charge(sender, cost_of(message)):
            return False
        kept[slot] = (sender, message)
        if len(kept) > self._per_source_max:
            self._drop(kept, min(kept, key=lambda other: other[2]))
            self._tab.bites.note(Bound.LATER_VOTES_PER_SOURCE_MAX, sender)
        return True

    def enter(self, round_: int) -> list[Message]:
        """Give the votes of a round, by source, and forget them and all older ones."""
        entered: list[Message] = []
        for source in sorted(self._kept):
            kept = self._kept[source]
            for slot in [slot for slot in kept if slot[2] <= round_]:
                message = self._drop(kept, slot)
                if slot[2] == round_:
                    entered.append(message)
        return entered

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def _drop(self, kept: dict[Slot, tuple[int, Message]], slot: Slot) -> Message:
        sender, message = kept.pop(slot)
        self._tab.refund(sender, cost_of(message))
        return message


class SeenVotes:
    """The re-sent votes that an engine has accepted in its round (HARDENING D11).

    What a vote nests is not signed by its source: any peer can make many copies of one vote, all of
    them justified. So of all copies one may enter in a round, and one more from the source itself;
    else a liar could evict an honest validator's votes from the engine's log.
    """

    def __init__(self, per_source_max: int, bites: Bites | None = None) -> None:
        self._per_source_max = per_source_max
        self._bites = bites or Bites()
        self._seen: dict[int, set[tuple[Slot, bool]]] = {}

    def admit(self, sender: int, message: Message) -> bool:
        """Whether a copy may enter now."""
        seen = self._seen.get(message.source)
        if seen is None:
            return True
        if _copy_of(sender, message) in seen:
            return False
        if len(seen) >= self._per_source_max:
            self._bites.note(Bound.SEEN_VOTES_PER_SOURCE_MAX, sender)
            return False
        return True

    def note(self, sender: int, message: Message) -> None:
        """Note that this copy was accepted: no other in this round."""
        self._seen.setdefault(message.source, set()).add(_copy_of(sender, message))

    def clear(self) -> None:
        """Begin a round in which each may enter once more."""
        self._seen.clear()


def _copy_of(sender: int, message: Message) -> tuple[Slot, bool]:
    return slot_of(message), sender == message.source
