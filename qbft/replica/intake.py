"""Taking in frames: a bounded piece of work each turn, shared among the peers (HARDENING U7).

A frame is taken in part by part, and may be left unfinished at the end of a turn, so that timers do
not wait for it. Of a turn no peer gets more than half while others' frames are being handed over,
so that one that sends what is costly to check delays mostly itself; what it sends beyond what may
wait here is dropped. That loses nothing: what was not acknowledged is sent again (U5).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from qbft.transport import Frame

VALUE_BYTES_PER_WORK = 32 * 1024
"""Bytes of a value that are hashed in about the time of one signature check."""

SECTION_VOTES_PER_WORK = 8
"""Votes of one section that are hashed in about that time."""

FEED_IDS_PER_WORK = 4
"""Decisions that are looked up in about that time."""


def work_of(frame: Frame) -> int:
    """Estimate what a frame costs at most, in checks of one signature."""
    return (
        1
        + sum(1 + len(vote.justification) for vote in frame.votes)
        + sum(2 + len(vote.justification) for vote in frame.relayed)
        + sum(1 + len(certificate.commits) for certificate in frame.certificates)
        + sum(2 + len(p.value) // VALUE_BYTES_PER_WORK for p in frame.proposals)
        + len(frame.wanted_values)
        + len(frame.wanted_decisions)
    )


class Intake:
    """The frames that are being taken in, by peer. Work is counted in checks of one signature."""

    def __init__(self, turn_work_max: int, waiting_work_max: int) -> None:
        self._turn_work_max = turn_work_max
        self._waiting_work_max = waiting_work_max
        self._queues: dict[int, deque[tuple[int, Iterator[int]]]] = {}
        self._waiting: Counter[int] = Counter()
        self._spent: Counter[int] = Counter()
        self._done = 0

    @property
    def is_saturated(self) -> bool:
        """Whether this turn has done enough."""
        return self._done >= self._turn_work_max

    @property
    def has_more(self) -> bool:
        """Whether something is unfinished."""
        return bool(self._queues)

    def add(self, peer: int, work: int, parts: Iterator[int]) -> bool:
        """Begin with a frame, which yields the cost of each part; False if too much waits.

        It goes on until it is done, or the peer has had its share of the turn.
        """
        queue = self._queues.setdefault(peer, deque())
        if queue and self._waiting[peer] + work > self._waiting_work_max:
            return False
        queue.append((work, parts))
        self._waiting[peer] += work
        share = self._turn_work_max // 2
        while queue and not self.is_saturated and self._spent[peer] < share:
            self._advance(peer)
        return True

    def go_on(self) -> None:
        """Go on with what is unfinished, each peer in its turn, until the turn has done enough."""
        while self._queues and not self.is_saturated:
            self._advance(min(self._queues, key=lambda peer: (self._spent[peer], peer)))

    def end_turn(self) -> None:
        """Let the next turn begin."""
        self._spent.clear()
        self._done = 0

    def _advance(self, peer: int) -> None:
        queue = self._queues[peer]
        work, parts = queue[0]
        cost = next(parts, None)
        if cost is not None:
            self._done += cost
            self._spent[peer] += cost
            return
        queue.popleft()
        self._waiting[peer] -= work
        if not queue:
            del self._queues[peer]
