"""How long a peer is given to acknowledge before it is sent the same again (docs/adr/022).

A link keeps what it is given, in order: who does not answer is more often late than deaf, and what
is sent again only makes him later. So the wait doubles each time that nothing has come, and follows
how long answers take, as TCP's does (RFC 6298, without its variance).
"""

from __future__ import annotations


class Patience:
    """With one peer: at least `least_ms` and at most `most_ms` from one time to the next."""

    __slots__ = ("_asked_ms", "_first_ms", "_least_ms", "_most_ms", "wait_ms")

    def __init__(self, least_ms: int, most_ms: int) -> None:
        self._least_ms = least_ms
        self._most_ms = most_ms
        self.begin()

    def begin(self) -> None:
        """Know nothing of it: its link has just come up."""
        self.wait_ms = self._least_ms
        """How long it is given now."""
        self._first_ms: int | None = None
        self._asked_ms = 0

    def is_over(self, now_ms: int) -> bool:
        """Whether nothing is waited for, or for too long."""
        return self._first_ms is None or now_ms >= self._asked_ms + self.wait_ms

    def sent(self, now_ms: int) -> None:
        """Wait for it from now on; for longer, if it had been waited for already."""
        if self._first_ms is None:
            self._first_ms = now_ms
        else:
            self.wait_ms = min(2 * self.wait_ms, self._most_ms)
        self._asked_ms = now_ms

    def answered(self, now_ms: int) -> None:
        """Take note of how long that took, since it was asked for the first time."""
        if self._first_ms is not None:
            took_ms = now_ms - self._first_ms
            self.wait_ms = min(max(2 * took_ms, self._least_ms), self._most_ms)
            self._first_ms = None
