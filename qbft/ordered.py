"""Reading an ordered topic: positions, and which entries count (docs/adr/017).

Every reader computes the same log from the same decisions: an entry is void where the same author
and request id appeared at an earlier position less than `WINDOW_HEIGHTS` heights before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from qbft.crypto.entries import WINDOW_HEIGHTS, Entry, Key
from qbft.decision import Decision


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in an ordered topic: the height, and which of its batch's entries, from 0."""

    height: int
    index: int

    def __str__(self) -> str:
        return f"{self.height}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read HEIGHT.INDEX.

        Raises:
            ValueError: it is not of that form.
        """
        height, dot, index = text.partition(".")
        if not (dot and height.isdecimal() and index.isdecimal() and text.isascii()):
            raise ValueError(f"{text!r} is no position: HEIGHT.INDEX")
        return cls(int(height), int(index))


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry at its position, and the decision that proves it stands there.

    The decision's value is the batch, which its certificate vouches for: whoever has it can check
    offline that the entry is the one at `position.index` (`qbft.verify.verify_entry`).
    """

    position: Position
    entry: Entry
    decision: Decision

    @property
    def value(self) -> bytes:
        """What was appended."""
        return self.entry.value

    @property
    def request_id(self) -> bytes:
        """The client's name for it."""
        return self.entry.request_id


@dataclass(frozen=True, slots=True)
class LogEntry(Appended):
    """An entry as a reader of the topic meets it; a void one repeats an earlier one."""

    is_void: bool = False


@dataclass(slots=True)
class _Seen:
    first: Position
    last_height: int


class Window:
    """The request ids of the last `WINDOW_HEIGHTS - 1` heights, as a topic is read in order.

    Whoever begins at a height has to have read that many heights before it, as far as the topic
    has them: `begin` says from where.
    """

    def __init__(self, next_height: int) -> None:
        self.next_height = next_height
        self._seen: dict[Key, _Seen] = {}
        self._heights: deque[tuple[int, tuple[Key, ...]]] = deque()

    @staticmethod
    def begin(height: int, first_height: int = 0) -> int:
        """Where to begin reading in order to know what counts from `height` on."""
        return max(first_height, height - WINDOW_HEIGHTS + 1)

    def __len__(self) -> int:
        """How many request ids it remembers."""
        return len(self._seen)

    def place(self, key: Key) -> Position | None:
        """Where the request stands: the first position at which it appeared, if it is known."""
        seen = self._seen.get(key)
        return None if seen is None else seen.first

    def take(self, entries: Sequence[Entry]) -> list[bool]:
        """Take the entries of the next height; tells of each whether it is void."""
        height = self.next_height
        while self._heights and self._heights[0][0] <= height - WINDOW_HEIGHTS:
            self._forget(*self._heights.popleft())
        void = [entry.key in self._seen for entry in entries]
        for index, entry in enumerate(entries):
            seen = self._seen.setdefault(entry.key, _Seen(Position(height, index), height))
            seen.last_height = height
        if entries:
            self._heights.append((height, tuple(entry.key for entry in entries)))
        self.next_height = height + 1
        return void

    def _forget(self, height: int, keys: Sequence[Key]) -> None:
        for key in keys:
            if self._seen[key].last_height == height:
                del self._seen[key]
