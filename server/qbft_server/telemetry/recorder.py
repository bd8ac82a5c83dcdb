"""The recorder: what came and what the engine did, of every instance, in bounded memory.

It keeps references to what the replica has in its hands anyway; nothing is encoded before somebody
asks. All of it together has a bound in bytes. Beyond it whole instances go, and no liar can make
room for itself at the others' expense:

- An instance belongs to whoever opened it, and the one that goes belongs to whoever has most: of
  its instances the oldest finished one, or the oldest if none is. So who opens many takes the
  place of its own first.
- Within an instance each sender has so much room, and its own oldest messages make way for its
  newer ones. A peer whose messages occupy twice an equal share of the whole has only room for what
  an honest validator needs in an instance without trouble.

Sizes are estimates from above: a vote counts `VOTE_BYTES` (`qbft.replica.budget`), whatever of it
is shared with others.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qbft.core import (
    Effect,
    Input,
    InstanceId,
    Message,
    OwnVote,
    Value,
)
from qbft.core.messages import Leader
from qbft.replay.record import Entry, InstanceRecord, Resumed, TimerSet, What, lean
from qbft.replica.budget import VOTE_BYTES, cost_of

ENTRY_BYTES = 512
"""What an entry counts for beside its message: itself, and the effects of a step."""

STORY_BYTES = 2_048
"""What an instance counts for beside its entries."""

LEAN_BYTES = 8 * (ENTRY_BYTES + VOTE_BYTES)
"""The room in one instance of a peer that occupies too much: eight votes, more than an honest
validator sends in the two rounds that most instances need at most."""

SHARES_OF_ONE_INSTANCE = 16
"""One sixteenth of all may be one instance's, in equal parts for its senders."""

KNOWN_ONLY = frozenset({"late", "below_mark"})
"""Of a message put aside for such a reason no record is begun."""

_Places = OrderedDict[InstanceId, None]
"""Instances, the oldest first. Of a plain dict the first is found by passing all that have gone."""

_Kept = tuple[int, int, int, What, tuple[Effect, ...], str, int, int]
"""Its number, the fields of an `Entry`, and its bytes: flat, for the collector of garbage has to
walk every object that stays."""


class _Share:
    """What one sender has in one instance."""

    __slots__ = ("bytes", "kept")

    def __init__(self) -> None:
        self.kept: list[_Kept] = []
        self.bytes = 0


class _Story:
    """What there is of one instance."""

    __slots__ = ("closed_ms", "dropped", "opened_ms", "owner", "shares")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.opened_ms: int | None = None
        self.closed_ms: int | None = None
        self.shares: dict[int, _Share] = {}
        self.dropped = 0

    @property
    def bytes(self) -> int:
        """What it occupies."""
        return STORY_BYTES + sum(share.bytes for share in self.shares.values())


@dataclass(frozen=True, slots=True)
class Recorded:
    """That there is something of an instance."""

    instance: InstanceId
    opened_ms: int | None
    closed_ms: int | None
    bytes: int


class Recorder:
    """Keeps what it is shown (`qbft.replica.observer.Observer`), at most so many bytes of it."""

    def __init__(
        self,
        validator: int,
        nodes: int,
        leader: Leader,
        *,
        bytes_max: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.bytes = 0
        """What is occupied."""
        self.instances_dropped = 0
        self.entries_dropped = 0
        self._validator = validator
        self._nodes = nodes
        self._leader = leader
        self._wall_clock = wall_clock
        self._bytes_max = bytes_max
        self._share_bytes = max(
            bytes_max // SHARES_OF_ONE_INSTANCE // nodes,
            ENTRY_BYTES + VOTE_BYTES * (1 + 2 * nodes),
            LEAN_BYTES,
        )
        self._occupied = [0] * nodes
        """By each sender's messages."""
        self._owned = [0] * nodes
        """By each owner's instances."""
        self._stories: dict[InstanceId, _Story] = {}
        self._open: list[_Places] = [OrderedDict() for _ in range(nodes)]
        self._finished: list[_Places] = [OrderedDict() for _ in range(nodes)]
        self._number = 0

    # --- what it is shown -------------------------------------------------------------------------

    def opened(self, instance: InstanceId, opener: int, now_ms: int) -> None:
        """Let the instance be the opener's, whoever was heard of it first."""
        story = self._story(instance, opener)
        if story.owner != opener or story.closed_ms is not None:
            self._let_own(instance, story, opener)
        story.opened_ms = now_ms

    def resumed(
        self,
        instance: InstanceId,
        votes: Sequence[OwnVote],
        input_: Value | None,
        effects: Sequence[Effect],
        now_ms: int,
    ) -> None:
        """Keep what the engine went on from."""
        self.opened(instance, self._validator, now_ms)
        size = sum(
            cost_of(own.vote) + sum(cost_of(prepare) for prepare in own.prepares) for own in votes
        )
        what = Resumed(tuple(votes), input_)
        self._keep(instance, size, now_ms, self._validator, what, effects=lean(effects))

    def stepped(
        self,
        instance: InstanceId,
        sender: int,
        input_: Input,
        effects: tuple[Effect, ...],
        now_ms: int,
    ) -> None:
        """Keep an input, and what the engine did about it."""
        size = cost_of(input_) if isinstance(input_, Message) else 0
        if effects:
            effects = lean(effects)
        self._keep(instance, size, now_ms, sender, input_, effects=effects)

    def timer_started(
        self, instance: InstanceId, round_: int, deadline_ms: int, now_ms: int
    ) -> None:
        """Keep until when a round's timer runs."""
        what = TimerSet(round_, deadline_ms)
        self._keep(instance, 0, now_ms, self._validator, what)

    def put_aside(
        self, instance: InstanceId, sender: int, message: Message, why: str, now_ms: int
    ) -> None:
        """Keep a message that the engine was not given, and why."""
        if why in KNOWN_ONLY and instance not in self._stories:
            return
        self._keep(instance, cost_of(message), now_ms, sender, message, put_aside=why)

    def closed(self, instance: InstanceId, now_ms: int) -> None:
        """Note that it is finished: from now on it may go."""
        story = self._stories.get(instance)
        if story is not None and story.closed_ms is None:
            story.closed_ms = now_ms
            del self._open[story.owner][instance]
            self._finished[story.owner][instance] = None

    # --- what it is asked -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._stories)

    def snapshot(self, instance: InstanceId, now_ms: int) -> InstanceRecord | None:
        """Give what there is of an instance now; on the loop that the replica runs on.

        Its messages are the very ones that the replica has, or had; nothing is copied.
        """
        story = self._stories.get(instance)
        if story is None:
            return None
        kept = sorted(entry for share in story.shares.values() for entry in share.kept)
        return InstanceRecord(
            instance,
            self._validator,
            self._nodes,
            self._leader(instance, 1),
            tuple(Entry(*each[1:-1]) for each in kept),
            story.opened_ms,
            story.closed_ms,
            story.dropped,
            int(self._wall_clock() * 1000) - now_ms,
        )

    def latest(self, count_max: int) -> list[Recorded]:
        """Name the instances of which there is something, those heard of last first."""
        names = list(self._stories)[: -count_max - 1 : -1]
        return [
            Recorded(name, story.opened_ms, story.closed_ms, story.bytes)
            for name, story in ((name, self._stories[name]) for name in names)
        ]

    # --- its bounds -------------------------------------------------------------------------------

    def _story(self, instance: InstanceId, owner: int) -> _Story:
        story = self._stories.get(instance)
        if story is None:
            story = self._stories[instance] = _Story(owner)
            self._open[owner][instance] = None
            self._owned[owner] += STORY_BYTES
            self.bytes += STORY_BYTES
        return story

    def _let_own(self, instance: InstanceId, story: _Story, owner: int) -> None:
        """Make the instance the opener's; it is open now, if it was closed before."""
        places = self._open if story.closed_ms is None else self._finished
        del places[story.owner][instance]
        self._open[owner][instance] = None
        story.closed_ms = None
        size = story.bytes
        self._owned[story.owner] -= size
        self._owned[owner] += size
        story.owner = owner

    def _keep(
        self,
        instance: InstanceId,
        size: int,
        at_ms: int,
        sender: int,
        what: What,
        *,
        effects: tuple[Effect, ...] = (),
        put_aside: str = "",
    ) -> None:
        story = self._stories.get(instance)
        if story is None:
            story = self._story(instance, sender)
        share = story.shares.get(sender)
        if share is None:
            share = story.shares[sender] = _Share()
        size += ENTRY_BYTES
        cut = 0
        if share.bytes + size > LEAN_BYTES:
            room = self._room_of(sender)
            if size > room and isinstance(what, Message):
                cut = len(what.justification)
                what = what.stripped()
                size -= cut * VOTE_BYTES
            self._make_way(story, share, sender, room - size)
        self._number += 1
        share.kept.append((self._number, at_ms, sender, what, effects, put_aside, cut, size))
        share.bytes += size
        self._occupied[sender] += size
        self._owned[story.owner] += size
        self.bytes += size
        while self.bytes > self._bytes_max:
            self._make_room()

    def _make_way(self, story: _Story, share: _Share, sender: int, left: int) -> None:
        """Drop a sender's oldest entries in an instance until no more than this is left."""
        while share.kept and share.bytes > left:
            size = share.kept.pop(0)[-1]
            share.bytes -= size
            self._occupied[sender] -= size
            self._owned[story.owner] -= size
            self.bytes -= size
            story.dropped += 1
            self.entries_dropped += 1

    def _room_of(self, sender: int) -> int:
        """How much a sender may have in one instance now; this node does not mistrust itself."""
        is_modest = self._occupied[sender] * self._nodes <= 2 * self._bytes_max
        return self._share_bytes if is_modest or sender == self._validator else LEAN_BYTES

    def _make_room(self) -> None:
        """Forget an instance of whoever has most: the oldest finished one, else the oldest."""
        owner = max(range(self._nodes), key=self._owned.__getitem__)
        places = self._finished[owner] or self._open[owner]
        instance = next(iter(places))
        del places[instance]
        story = self._stories.pop(instance)
        for sender, share in story.shares.items():
            self._occupied[sender] -= share.bytes
        size = story.bytes
        self._owned[owner] -= size
        self.bytes -= size
        self.instances_dropped += 1
