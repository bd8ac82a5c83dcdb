"""An event loop whose clock is a number: nothing waits, time jumps to the next timer.

Everything in `qbft` waits through the running loop's clock, so the shipped code runs on it as it
is, deterministically and as fast as the processor allows.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION = 1e-7
"""Seconds. Timers so close together fire at once; a finer one would vanish beside a clock that
shows years, and the timer that is due would then never fire."""


class DeadlockError(RuntimeError):
    """All tasks wait for something that will never happen."""


class _ClockSelector(selectors.BaseSelector):
    """A selector that never waits: instead of sleeping until a timer it moves the clock there.

    The loop's own wake-up socket is registered and never read; any other is refused, for time would
    rush past whoever waits for it.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._keys:
            raise RuntimeError("sockets need the real clock: nothing arrives on a virtual one")
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits and no timer is set: nothing will ever happen")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """The event loop of simulations and tests; no sockets, no threads, no real time."""

    def __init__(self) -> None:
        self._clock = _ClockSelector()
        super().__init__(self._clock)
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        """Seconds since the loop was made, as far as timers have moved it."""
        return self._clock.now

    def advance_to(self, now: float) -> None:
        """Move the clock by hand; only whoever lets no timer of the loop wait does so."""
        self._clock.now = now


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to completion on a virtual clock, as `asyncio.run` does on the real one.

    Raises:
        DeadlockError: it waits for what will never happen.
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(coroutine)
