"""When round timers run out: a heap over all open instances."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from qbft.core import InstanceId
from qbft.replica.open_instance import OpenInstance

STALE_MIN = 4_096
"""Below this the heap is not worth being cleaned."""


class Deadlines:
    """The round timers that were armed; one that was moved since is skipped when it comes up."""

    def __init__(self, opens: Mapping[InstanceId, OpenInstance]) -> None:
        self._opens = opens
        self._heap: list[tuple[int, InstanceId]] = []

    @property
    def next_ms(self) -> int | None:
        """When the first may run out."""
        return self._heap[0][0] if self._heap else None

    def are_due(self, now_ms: int) -> bool:
        """Whether the first may run out now."""
        return bool(self._heap) and self._heap[0][0] <= now_ms

    def arm(self, opened: OpenInstance) -> None:
        """Have the instance's deadline looked at."""
        deadline_ms = opened.deadline_ms
        if deadline_ms is None or deadline_ms == opened.armed_ms:
            return
        opened.armed_ms = deadline_ms
        heapq.heappush(self._heap, (deadline_ms, opened.instance))
        if len(self._heap) > 2 * len(self._opens) + STALE_MIN:
            self._heap = [
                (other.armed_ms, other.instance)
                for other in self._opens.values()
                if other.armed_ms is not None
            ]
            heapq.heapify(self._heap)

    def run_out(self, now_ms: int, count_max: int) -> Iterator[OpenInstance]:
        """Give the instances whose round timer has run out, of so many that are looked at."""
        for _ in range(count_max):
            if not self._heap or self._heap[0][0] > now_ms:
                return
            due_ms, instance = heapq.heappop(self._heap)
            opened = self._opens.get(instance)
            if opened is not None and opened.deadline_ms == due_ms:
                yield opened
