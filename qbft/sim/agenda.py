"""What happens when: a heap of (time, number, event), and the clock that follows it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from qbft.sim.clock import VirtualClockLoop
from qbft.sim.oracle import Violation

EVENTS_PER_MS_MAX = 20_000
"""More within one virtual millisecond than any run has: nodes keep each other, or one itself, busy
for ever, and time stands still."""


class Agenda:
    """Events in order of time; of one millisecond in the order in which they were entered.

    `loop` is a virtual one; its clock follows, for the shipped code asks it for the time.
    """

    def __init__(self, loop: VirtualClockLoop) -> None:
        self.now_ms = 0
        self._loop = loop
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._is_stopped = False

    def at(self, time_ms: int, event: Callable[..., None], *arguments: Any) -> None:
        """Enter an event; one that would lie in the past happens now."""
        self._number += 1
        time_ms = max(time_ms, self.now_ms)
        heappush(self._heap, (time_ms, self._number, event, arguments))

    def after(self, delay_ms: int, event: Callable[..., None], *arguments: Any) -> None:
        """Enter an event so many milliseconds from now."""
        self._number += 1
        time_ms = self.now_ms + max(0, delay_ms)
        heappush(self._heap, (time_ms, self._number, event, arguments))

    def run_until(self, time_ms: int) -> None:
        """Let everything happen up to a time, or until someone says `stop`.

        Raises:
            Violation: time stands still (I11: a node that never rests is no use).
        """
        heap = self._heap
        left = EVENTS_PER_MS_MAX
        while heap and heap[0][0] <= time_ms:
            due_ms, _, event, arguments = heappop(heap)
            if due_ms != self.now_ms:
                self._set(due_ms)
                left = EVENTS_PER_MS_MAX
            left -= 1
            if left < 0:
                raise Violation(f"I11: {EVENTS_PER_MS_MAX} events within millisecond {due_ms}")
            event(*arguments)
            if self._is_stopped:
                return
        self._set(time_ms)

    def stop(self) -> None:
        """Let nothing more happen."""
        self._is_stopped = True

    def _set(self, time_ms: int) -> None:
        self.now_ms = time_ms
        self._loop.advance_to(time_ms / 1000)
