"""Taking in frames: a bounded piece of work each turn, shared among the peers (HARDENING U7).

A frame is taken in part by part, and may be left unfinished at the end of a turn, so that timers do
not wait for it. Of a turn no peer gets more than half while others' frames are being handed over,
so that one that sends what is costly to check delays mostly itself; what it sends beyond what may
wait here is dropped. That loses nothing: what was not acknowledged is sent again (U5).

Work that came to nothing, such as a signature that was false, is held against its sender: one that
wastes more than a small share of the processor has to wait, however idle this node is otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qbft.core import Message
from qbft.replica.bounds import Bites, Bound
from qbft.replica.budget import VOTE_BYTES
from qbft.replica.peer import TokenBucket
from qbft.transport import Frame

VALUE_BYTES_PER_WORK = 32 * 1024
"""Bytes of a value that are hashed in about the time of one signature check."""

SECTION_VOTES_PER_WORK = 8
"""Votes of one section that are hashed in about that time."""

SECTION_WORK_PER_PART = 8
"""So much of a section is taken in before it is asked whether the turn has done enough."""

ENTRIES_PER_WORK = 4
"""Entries of a batch that are read, beside their signatures, in about that time."""

FEED_IDS_PER_WORK = 4
"""Decisions that are looked up in about that time, or marks that are noted."""

KNOWN_WORK = 1
"""What it costs to find out that a vote or a certificate brings nothing new."""

KNOWN_VOTES_PER_WORK = 8
"""So many votes that bring nothing new are held against whoever hands them on as that much, and one
such certificate. An honest peer sends again what was not acknowledged, but seldom."""

REFUSED_ASKS_PER_WORK = 8
"""So much that a peer asks for beyond its pace is read and refused in about that time."""

OPENING_WORK = 8
"""What opening an instance costs: its engine, its input, its records, its first votes."""

DROPPED_VOTE_WORK = 1
"""What a vote has cost that was verified, held, and dropped for want of room."""

ID_BYTES = 512
"""What the name of an instance, or of a value in it, occupies at most."""


class Load(NamedTuple):
    """What a frame that waits costs at most: checks of one signature, and bytes."""

    work: int
    size: int

    @classmethod
    def of_votes(cls, votes: Sequence[Message]) -> Load:
        """What these votes cost, each with its portable signature."""
        count = sum(1 + len(vote.justification) for vote in votes)
        return cls(len(votes) + count, VOTE_BYTES * count)

    @classmethod
    def of_frame(cls, frame: Frame) -> Load:
        """What all of a frame costs."""
        votes = cls.of_votes((*frame.votes, *frame.relayed))
        commits = sum(1 + len(certificate.commits) for certificate in frame.certificates)
        values = [len(proposal.value) for proposal in frame.proposals]
        wanted = len(frame.wanted_values) + len(frame.wanted_decisions)
        named = len(frame.marks)
        if frame.feed_page is not None:
            named += len(frame.feed_page.instances)
        return cls(
            1
            + votes.work
            + commits
            + sum(2 + size // VALUE_BYTES_PER_WORK for size in values)
            + wanted
            + named // FEED_IDS_PER_WORK,
            votes.size
            + VOTE_BYTES * (1 + commits + len(values))
            + sum(values)
            + ID_BYTES * (wanted + named),
        )


_NOTHING = Load(0, 0)


class Intake:
    """The frames that are being taken in, by peer. Work is counted in checks of one signature."""

    def __init__(
        self,
        turn_work_max: int,
        waiting_max: Load,
        *,
        waste_max: float,
        waste_per_ms: float,
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._turn_work_max = turn_work_max
        self._share = turn_work_max // 2
        self._waiting_max = waiting_max
        self._waste_max = waste_max
        self._waste_per_ms = waste_per_ms
        self._may_waste: dict[int, TokenBucket] = {}
        self._paused: dict[int, int] = {}
        self._queues: dict[int, deque[tuple[Load, Iterator[int]]]] = {}
        self._waiting: dict[int, Load] = {}
        self._spent: dict[int, int] = {}
        self._done = 0

    def waiting(self, peer: int) -> Load:
        """What waits of a peer, the frame that is being taken in not included."""
        return self._waiting.get(peer, _NOTHING)

    @property
    def is_saturated(self) -> bool:
        """Whether this turn has done enough."""
        return self._done >= self._turn_work_max

    @property
    def has_more(self) -> bool:
        """Whether something is unfinished, and may go on now."""
        queues, paused = self._queues, self._paused
        return bool(queues) and (not paused or any(peer not in paused for peer in queues))

    def takes_from(self, peer: int, now_ms: int) -> bool:
        """Whether more of a peer should be read: what waits unread costs nothing."""
        if self._paused.get(peer, now_ms) > now_ms:
            return False
        waiting = self._waiting.get(peer, _NOTHING)
        return (
            2 * waiting.work <= self._waiting_max.work
            and 2 * waiting.size <= self._waiting_max.size
        )

    @property
    def resumes_ms(self) -> int | None:
        """When the first peer that has to wait may go on."""
        if not self._paused:
            return None
        return min((ms for peer, ms in self._paused.items() if peer in self._queues), default=None)

    def add(self, peer: int, frame: Frame, parts: Iterator[int]) -> bool:
        """Begin with a frame, which yields the cost of each part; False if too much waits.

        It goes on until it is done, or the peer has had its share of the turn. The frame that is
        being taken in does not count as waiting.
        """
        if peer not in self._queues:
            self._begin(peer, parts)
        else:
            load = Load.of_frame(frame)
            if not self._has_room(peer, load):
                return False
            self._push(peer, load, parts)
        while peer in self._queues and self._has_share(peer):
            self._advance(peer)
        return True

    def _begin(self, peer: int, parts: Iterator[int]) -> None:
        """Take in a frame of a peer of which nothing waits; what is too much now waits, first."""
        paused = self._paused
        spent = self._spent.get(peer, 0)
        while self._done < self._turn_work_max and spent < self._share and peer not in paused:
            cost = next(parts, None)
            if cost is None:
                return
            self._done += cost
            self._spent[peer] = spent = spent + cost
        self._queues.setdefault(peer, deque()).appendleft((_NOTHING, parts))

    def _has_share(self, peer: int) -> bool:
        """Whether this turn can take in more, and more of this peer."""
        return (
            self._done < self._turn_work_max
            and self._spent.get(peer, 0) < self._share
            and peer not in self._paused
        )

    def note_work(self, peer: int, cost: int) -> None:
        """Count what was done for a peer in this turn, be it beside its frames."""
        self._done += cost
        self._spent[peer] = self._spent.get(peer, 0) + cost

    def note_waste(self, peer: int, work: int, now_ms: int) -> None:
        """Hold work that came to nothing against a peer; above its share it has to wait."""
        bucket = self._may_waste.get(peer)
        if bucket is None:
            bucket = self._may_waste[peer] = TokenBucket(self._waste_max, self._waste_per_ms)
        rest_ms = bucket.overdraw(now_ms, work)
        if rest_ms:
            self._paused[peer] = now_ms + rest_ms
            self._bites.note(Bound.WASTE_WORK_MAX, peer)

    def put_off(self, peer: int, load: Load, parts: Iterator[int]) -> None:
        """Take in later what a peer sent before, and what has been bounded elsewhere."""
        self._queues.setdefault(peer, deque())
        self._push(peer, load, parts)

    def go_on(self, now_ms: int) -> None:
        """Go on with what is unfinished, each peer in its turn, until the turn has done enough."""
        if self._paused:
            for peer in [peer for peer, until_ms in self._paused.items() if until_ms <= now_ms]:
                del self._paused[peer]
        while self._queues and not self.is_saturated:
            ready = [peer for peer in self._queues if peer not in self._paused]
            if not ready:
                return
            self._advance(min(ready, key=lambda peer: (self._spent.get(peer, 0), peer)))

    def end_turn(self) -> None:
        """Let the next turn begin."""
        if self._done >= self._turn_work_max:
            self._bites.note(Bound.TURN_WORK_MAX)
        self._spent.clear()
        self._done = 0

    def _has_room(self, peer: int, load: Load) -> bool:
        waiting = self._waiting.get(peer, _NOTHING)
        if waiting.work + load.work > self._waiting_max.work:
            self._bites.note(Bound.WAITING_WORK_PER_PEER_MAX, peer)
            return False
        if waiting.size + load.size > self._waiting_max.size:
            self._bites.note(Bound.WAITING_BYTES_PER_PEER_MAX, peer)
            return False
        return True

    def _push(self, peer: int, load: Load, parts: Iterator[int]) -> None:
        self._queues[peer].append((load, parts))
        if load is not _NOTHING:
            waiting = self._waiting.get(peer, _NOTHING)
            self._waiting[peer] = Load(waiting.work + load.work, waiting.size + load.size)

    def _advance(self, peer: int) -> None:
        queue = self._queues[peer]
        load, parts = queue[0]
        cost = next(parts, None)
        if cost is not None:
            self.note_work(peer, cost)
            return
        queue.popleft()
        if not queue:
            del self._queues[peer]
            self._waiting.pop(peer, None)
        elif load is not _NOTHING:
            waiting = self._waiting[peer]
            self._waiting[peer] = Load(waiting.work - load.work, waiting.size - load.size)
