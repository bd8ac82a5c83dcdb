"""Judges what appenders and readers of an ordered topic saw (docs/ORDERED.md). Pure.

Promises: every reader gets the same entries at the same positions, none left out, and in the end
all up to the last that was acknowledged; an entry counts once, whatever became of its client's
calls; an acknowledged entry stands where that was told, for ever; nothing stands there that nobody
appended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from qbft.ordered import Position
from qbft_server.chaos.history import Acknowledged, Appending, Entered, LogEvent, Reading

FIRST = Position(0, 0)


class LogChecker:
    """One ordered topic; `violated(at, what)` is told what was broken."""

    def __init__(self, violated: Callable[[float, str], None]) -> None:
        self.reads = 0
        self._violated = violated
        self._wanted: dict[bytes, bytes] = {}
        self._acknowledged: dict[bytes, Position] = {}
        self._log: dict[Position, tuple[bytes, bool]] = {}
        self._counts: dict[bytes, Position] = {}
        self._readers: dict[str, Position | None] = {}
        self._told_behind: set[str] = set()

    @property
    def acknowledged(self) -> int:
        """How many entries were acknowledged."""
        return len(self._acknowledged)

    @property
    def end(self) -> Position | None:
        """The highest position that anybody was told of."""
        return max((*self._acknowledged.values(), *self._log), default=None)

    def see(self, event: LogEvent) -> None:
        """Take one event."""
        match event:
            case Appending():
                self._wanted[event.request] = event.value
            case Acknowledged():
                self._acknowledge(event)
            case Reading():
                self._readers[event.reader] = None
            case Entered():
                self._enter(event)
            case _:
                assert_never(event)

    def behind(self) -> dict[str, Position | None]:
        """By reader, how far it has come that has not got the last acknowledged entry.

        What stands behind that, copies that do not count, may come at any time.
        """
        end = max(self._acknowledged.values(), default=None)
        if end is None:
            return {}
        return {
            reader: last for reader, last in self._readers.items() if last is None or last < end
        }

    def settle(self, at: float) -> None:
        """The time is over in which every reader has to get there; each is told of once."""
        for reader, last in self.behind().items():
            if reader not in self._told_behind:
                self._told_behind.add(reader)
                text = f"reader {reader} got nothing after {last or 'its beginning'}"
                self._violated(at, f"{text}, and {max(self._acknowledged.values())} stands")

    def finish(self, at: float) -> None:
        """Every client was answered in the end, and all that was acknowledged has been read."""
        for request in self._wanted.keys() - self._acknowledged.keys():
            self._violated(at, f"{_name(request)} was never acknowledged")
        for request, position in self._acknowledged.items():
            if request not in self._counts:
                text = f"{_name(request)} was told to stand at {position}, and no reader got it"
                self._violated(at, text)

    def _acknowledge(self, event: Acknowledged) -> None:
        """A client was told where its entry stands; of a request that is repeated, each time."""
        request, position = event.request, event.position
        known = self._acknowledged.setdefault(request, position)
        if known != position:
            text = f"{_name(request)} was told to stand at {known}, and later at {position}"
            self._violated(event.at, text)
        if self._log.get(position, (request, False)) != (request, False):
            text = f"{_name(request)} was told to stand at {position}, where a reader got another"
            self._violated(event.at, text)
        self._check_place(event.at, request)

    def _enter(self, event: Entered) -> None:
        """A reader got the next entry."""
        self.reads += 1
        self._check_order(event)
        request, position = event.request, event.position
        met = (request, event.is_void)
        known = self._log.setdefault(position, met)
        if known != met:
            self._violated(event.at, f"readers got different entries at {position}")
        if self._wanted.get(request) != event.value:
            text = f"{_name(request)} stands at {position}, and was never appended so"
            self._violated(event.at, text)
        if event.is_void:
            return
        first = self._counts.setdefault(request, position)
        if first != position:
            self._violated(event.at, f"{_name(request)} counts at {first} and at {position}")
        self._check_place(event.at, request)

    def _check_order(self, event: Entered) -> None:
        """Positions without gap: the next of the batch, or the first of the next height."""
        position, last = event.position, self._readers.get(event.reader)
        follows = last is None or position in (
            Position(last.height, last.index + 1),
            Position(last.height + 1, 0),
        )
        if (last is None and position != FIRST) or not follows:
            text = f"reader {event.reader} got {position} after {last or 'nothing'}"
            self._violated(event.at, text)
        self._readers[event.reader] = position

    def _check_place(self, at: float, request: bytes) -> None:
        told, counts = self._acknowledged.get(request), self._counts.get(request)
        if told is not None and counts is not None and told != counts:
            text = f"{_name(request)} was told to stand at {told}, and counts at {counts}"
            self._violated(at, text)


def _name(request: bytes) -> str:
    return request.decode("ascii", "replace")
