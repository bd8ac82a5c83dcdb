"""What one node has recorded of one instance: frozen data, and what of it the engine was given.

Times are whole milliseconds of the node's own monotonic clock; `clock_offset_ms` added to one gives
the time of day, by which the records of several nodes are laid side by side.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from qbft.core import Broadcast, Decide, Effect, Input, Message, OwnVote, Start, Unjustified, Value


@dataclass(frozen=True, slots=True)
class Resumed:
    """The engine went on from these own votes and this input, after a restart (HARDENING W5)."""

    votes: tuple[OwnVote, ...]
    input: Value | None


@dataclass(frozen=True, slots=True)
class TimerSet:
    """A round's timer runs until then, unless another is set before."""

    round: int
    deadline_ms: int


_WITH_VOTES = frozenset({Broadcast, Unjustified, Decide})
"""Effects that others' votes may be in: a look at the type passes by all else, on the hot path."""

What = Input | Resumed | TimerSet
"""What an entry is about: an input of the engine, its resuming, or its timer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    `sender` is the peer that a message came from, whoever signed it; everything else, and a message
    that looped back, is the node's own. `effects` is what the engine did about an input, without
    the justifications and COMMITs in it. With `put_aside` the engine never saw the message, or
    not yet: that is the reason. `cut` nested votes were left out, for want of room.
    """

    at_ms: int
    sender: int
    what: What
    effects: tuple[Effect, ...] = ()
    put_aside: str = ""
    cut: int = 0

    @property
    def is_input(self) -> bool:
        """Whether the engine was given it."""
        return not self.put_aside and not isinstance(self.what, TimerSet)


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """What one node has of one instance, in the order in which it happened.

    `first_leader` leads round 1, and then validators take turns. `dropped` entries made way for
    later ones, so that what is left is not all.
    """

    instance: Hashable
    validator: int
    nodes: int
    first_leader: int
    entries: tuple[Entry, ...]
    opened_ms: int | None = None
    closed_ms: int | None = None
    dropped: int = 0
    clock_offset_ms: int = 0

    def leader(self, _: Hashable, round_: int) -> int:
        """Who leads a round (`qbft.core.messages.Leader`)."""
        return (self.first_leader + round_ - 1) % self.nodes

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing that the engine was given."""
        inputs = list(self.inputs())
        has_start = bool(inputs) and isinstance(inputs[0].what, Start | Resumed)
        return has_start and not self.dropped and not any(entry.cut for entry in inputs)

    @property
    def has_effects(self) -> bool:
        """Whether it was recorded what the engine did: of a foreign dump it was not."""
        return any(entry.effects for entry in self.inputs())

    def inputs(self) -> Iterator[Entry]:
        """What the engine was given."""
        return (entry for entry in self.entries if entry.is_input)

    def messages(self) -> Iterator[tuple[Entry, Message]]:
        """Every message, whether the engine saw it or not."""
        for entry in self.entries:
            if isinstance(entry.what, Message):
                yield entry, entry.what

    def by_the_clock(self) -> InstanceRecord:
        """The same with all times as times of day, in milliseconds."""
        offset = self.clock_offset_ms
        if not offset:
            return self
        return replace(
            self,
            entries=tuple(_later(entry, offset) for entry in self.entries),
            opened_ms=None if self.opened_ms is None else self.opened_ms + offset,
            closed_ms=None if self.closed_ms is None else self.closed_ms + offset,
            clock_offset_ms=0,
        )


def lean(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Effects as they are recorded: without the votes that other entries hold already."""
    return tuple([_lean(each) if type(each) in _WITH_VOTES else each for each in effects])


def _lean(effect: Effect) -> Effect:
    if isinstance(effect, Broadcast) and effect.message.justification:
        return Broadcast(effect.message.stripped())
    if isinstance(effect, Unjustified) and effect.message.justification:
        return Unjustified(effect.message.stripped())
    if isinstance(effect, Decide) and effect.commits:
        return Decide(effect.value, effect.round, ())
    return effect


def _later(entry: Entry, offset: int) -> Entry:
    what = entry.what
    if isinstance(what, TimerSet):
        what = TimerSet(what.round, what.deadline_ms + offset)
    return replace(entry, at_ms=entry.at_ms + offset, what=what)
