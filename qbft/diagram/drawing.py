"""A space-time diagram as SVG: a line a node, time to the right, an arrow a message.

Pure: from a list of events to the text of a file that needs nothing else. It may also stand inside
a page. What an arrow or a mark is in full, its tooltip says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import assert_never

from qbft.core.messages import MessageType
from qbft.diagram.events import (
    Crashed,
    Decided,
    Event,
    MessageFlight,
    Note,
    RoundEntered,
    Started,
    TimerExpired,
    TimerStarted,
)
from qbft.diagram.scale import Scale, scale_of
from qbft.diagram.style import ROUND_TINTS, TYPE_CLASSES, TYPE_NAMES, style

FLIGHTS_MAX = 5_000
"""Messages that one diagram draws, the earliest; how many are left out stands in it."""

LANE_PIXELS = 96
"""From one node's line to the next."""

_TOP = 118
_MARGIN = 50
_MARGIN_MAX = 400
"""Least and most room at the sides; names to the left and decisions to the right ask for it."""

_NAME_PIXELS = 8.5
_LABEL_PIXELS = 5.6
_HALF_KNOWN_PIXELS = 26
TEXT_MAX = 60
"""Characters of a value or reason in a diagram."""


def space_time_svg(
    events: Iterable[Event], *, title: str = "", names: Mapping[int, str] | None = None
) -> str:
    """Draw an instance. `names` are the nodes' names where "node N" will not do."""
    return _Diagram(list(events), title, names or {}).svg()


class _Diagram:
    """One drawing: what is where."""

    def __init__(self, events: list[Event], title: str, names: Mapping[int, str]) -> None:
        flights = [e for e in events if isinstance(e, MessageFlight) and e.source != e.target]
        flights.sort(key=_moment)
        self._left_out = max(0, len(flights) - FLIGHTS_MAX)
        self._flights = flights[:FLIGHTS_MAX]
        self._marks = sorted(
            (e for e in events if not isinstance(e, MessageFlight)), key=lambda e: e.at_ms
        )
        self._title, self._names = title, names
        nodes = {node for e in events for node in _nodes(e)} | set(names)
        self._liars = {f.source for f in self._flights if f.byzantine}
        self._rows = {node: row for row, node in enumerate(sorted(nodes))}
        self._scale = self._fit()
        self._end = self._scale.times[-1]
        longest = max((len(self._name(node)) for node in nodes), default=0)
        self._left = _margin(30 + _NAME_PIXELS * longest)
        decided = (len(_cut(m.value)) + 9 for m in self._marks if isinstance(m, Decided))
        self._right = _margin(24 + _LABEL_PIXELS * max(decided, default=0))
        self._width = self._left + self._scale.width + self._right
        self._bottom = _TOP + LANE_PIXELS * max(len(nodes) - 1, 0) + 44
        self._labels: dict[int, list[tuple[float, float, int]]] = defaultdict(list)

    def _fit(self) -> Scale:
        """The scale of all moments, but for deadlines that were never met."""
        times = [mark.at_ms for mark in self._marks]
        for flight in self._flights:
            times += [t for t in (flight.sent_ms, flight.received_ms) if t is not None]
        known = (
            f.received_ms - f.sent_ms
            for f in self._flights
            if f.sent_ms is not None and f.received_ms is not None
        )
        return scale_of(times, known)

    def _x(self, time_ms: float) -> float:
        return self._left + self._scale(time_ms)

    def _y(self, node: int) -> float:
        return _TOP + self._rows[node] * LANE_PIXELS

    def svg(self) -> str:
        """The whole file, from the back to the front."""
        legend = _legend(self._flights, self._marks, max(self._width, 720))
        width = max(self._width, 720)
        height = self._bottom + 30 + 22 * (1 + max((row for row, _ in legend), default=0)) + 12
        title = _text(self._title)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="qd" role="img" '
            f'width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>{title or 'space-time diagram'}</title>",
            f"<style>{style()}</style>",
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            f'<text class="title" x="16" y="26">{title}</text>',
            f'<text class="say" x="16" y="44">{self._said()}</text>',
            *self._bands(),
            *self._axis(),
            *self._lives(),
            *self._timers(),
            *(part for flight in self._flights for part in self._flight(flight)),
            *(part for mark in self._marks for part in self._mark(mark)),
            *self._flight_labels(),
        ]
        for row, part in legend:
            parts.append(
                f'<g transform="translate(0 {self._bottom + 46 + 22 * row:.0f})">{part}</g>'
            )
        parts.append("</svg>")
        return "\n".join(parts) + "\n"

    def _said(self) -> str:
        said = "Time runs to the right. A line is a node, an arrow a message, a colour a round."
        if self._left_out:
            drawn = len(self._flights)
            said += f" The first {drawn} of {drawn + self._left_out} messages are drawn."
        return said

    # --- the ground -------------------------------------------------------------------------------

    def _bands(self) -> Iterator[str]:
        """A band from the moment the first node enters a round, to that of the next round."""
        first: dict[int, int] = {}
        for mark in self._marks:
            if isinstance(mark, RoundEntered) and mark.round > max(first, default=0):
                first[mark.round] = mark.at_ms
        edges = [*first.items(), (0, self._end)]
        for (round_, begin), (_, end) in pairwise(edges):
            left, right = self._x(begin), self._x(end)
            if right - left < 1:
                continue
            yield (
                f'<rect class="band {_tint(round_)}" x="{left:.1f}" y="58" '
                f'width="{right - left:.1f}" height="{self._bottom - 58:.0f}"/>'
            )
            if right - left > 50:
                yield f'<text class="round" x="{left + 6:.1f}" y="73">round {round_}</text>'

    def _axis(self) -> Iterator[str]:
        y = self._bottom
        yield (
            f'<line class="axis" x1="{self._left}" x2="{self._left + self._scale.width:.1f}" '
            f'y1="{y}" y2="{y}"/>'
        )
        for place, time in self._scale.ticks():
            x = self._left + place
            yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 5}"/>'
            yield (
                f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{y + 17}">'
                f"{_duration(time)}</text>"
            )
        for place, length in self._scale.cuts():
            x = self._left + place
            yield (
                f'<path class="axis" d="M{x - 5:.1f} {y + 5}l4 -10m2 10l4 -10">'
                f"<title>{_duration(length)} in which nothing happened, cut short</title></path>"
            )
            yield (
                f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{y + 17}">'
                f"… {_duration(length)} …</text>"
            )

    def _lives(self) -> Iterator[str]:
        """Each node's line, dashed while it is down, in the colours of its rounds."""
        for node in self._rows:
            y = self._y(node)
            name = _text(self._names.get(node, f"node {node}"))
            liar = node in self._liars
            yield (
                f'<text class="name{" liar" if liar else ""}" x="16" y="{y + 4:.1f}">{name}</text>'
            )
            if liar:
                yield f'<text class="liar" x="16" y="{y + 18:.1f}">byzantine</text>'
            for begin, end, up in self._spans(node):
                yield (
                    f'<line class="{"life" if up else "down"}" x1="{self._x(begin):.1f}" '
                    f'x2="{self._x(end):.1f}" y1="{y}" y2="{y}"/>'
                )
            yield from self._lanes(node, y)

    def _spans(self, node: int) -> Iterator[tuple[int, int, bool]]:
        """From when to when a node was up, or down."""
        turns = [
            (mark.at_ms, isinstance(mark, Started))
            for mark in self._marks
            if isinstance(mark, Crashed | Started) and mark.node == node
        ]
        up = not (turns and turns[0][1])
        begin = self._scale.times[0]
        for at, up_then in turns:
            yield begin, at, up
            begin, up = at, up_then
        yield begin, self._end, up

    def _lanes(self, node: int, y: float) -> Iterator[str]:
        """A strip along a node's line for each round it is in, until it decides or crashes."""
        current: tuple[int, int] | None = None
        marks = [m for m in self._marks if getattr(m, "node", None) == node]
        for mark in [*marks, None]:
            if not (mark is None or isinstance(mark, RoundEntered | Crashed | Decided)):
                continue
            if current is not None:
                begin, round_ = current
                left, right = self._x(begin), self._x(self._end if mark is None else mark.at_ms)
                if right > left:
                    yield (
                        f'<rect class="lane {_tint(round_)}" x="{left:.1f}" y="{y - 5:.1f}" '
                        f'width="{right - left:.1f}" height="10">'
                        f"<title>{_text(self._name(node))} in round {round_}</title></rect>"
                    )
            current = (mark.at_ms, mark.round) if isinstance(mark, RoundEntered) else None

    def _name(self, node: int) -> str:
        return self._names.get(node, f"node {node}")

    def _timers(self) -> Iterator[str]:
        """A thin line below a node's own for as long as its round timer runs."""
        running: dict[int, TimerStarted] = {}
        for mark in self._marks:
            if isinstance(mark, TimerStarted):
                if mark.node in running:
                    yield self._timer(running[mark.node], mark.at_ms)
                running[mark.node] = mark
            elif isinstance(mark, TimerExpired | Crashed | Decided):
                started = running.pop(mark.node, None)
                if started is not None:
                    yield self._timer(started, mark.at_ms)
        for started in running.values():
            yield self._timer(started, self._end)

    def _timer(self, started: TimerStarted, until_ms: int) -> str:
        left, right = self._x(started.at_ms), self._x(until_ms)
        y = self._y(started.node) + 10
        lasts = _duration(started.deadline_ms - started.at_ms)
        return (
            f'<path class="wait" d="M{left:.1f} {y - 3:.1f}v6m0 -3H{right:.1f}">'
            f"<title>timer of round {started.round}: {lasts}</title></path>"
        )

    # --- messages ---------------------------------------------------------------------------------

    def _flight(self, flight: MessageFlight) -> Iterator[str]:
        x1, y1, x2, y2 = self._way(flight)
        classes = ["m", TYPE_CLASSES[flight.type]]
        if flight.lost:
            classes.append("lost")
            x2, y2 = x1 + (x2 - x1) * 0.45, y1 + (y2 - y1) * 0.45
        elif flight.sent_ms is None or flight.received_ms is None:
            classes.append("half")
        line = f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"
        if flight.byzantine:
            yield f'<path class="halo" d="{line}"/>'
        tip = _head(x1, y1, x2, y2) if not flight.lost else ""
        told = _text(self._told(flight))
        yield f'<path class="{" ".join(classes)}" d="{line}{tip}"><title>{told}</title></path>'
        if flight.lost:
            yield f'<path class="cross" d="M{x2 - 4:.1f} {y2 - 4:.1f}l8 8m-8 0l8 -8"/>'

    def _way(self, flight: MessageFlight) -> tuple[float, float, float, float]:
        """From where to where an arrow goes; one whose other end is unknown is a short one."""
        y1, y2 = self._y(flight.source), self._y(flight.target)
        usual = self._scale.per_ms and min(90.0, self._scale.width or 90.0)
        if flight.sent_ms is None and flight.received_ms is None:
            x = self._x(self._scale.times[0])
            return x, y1, x, y2
        if flight.received_ms is None:
            x1 = self._x(flight.sent_ms or 0)
            if flight.lost:
                return x1, y1, x1 + usual, y2
            share = _HALF_KNOWN_PIXELS / abs(y2 - y1)
            return x1, y1, x1 + _HALF_KNOWN_PIXELS, y1 + (y2 - y1) * share
        x2 = self._x(flight.received_ms)
        if flight.sent_ms is None:
            share = _HALF_KNOWN_PIXELS / abs(y2 - y1)
            return x2 - _HALF_KNOWN_PIXELS, y2 - (y2 - y1) * share, x2, y2
        return self._x(flight.sent_ms), y1, x2, y2

    def _told(self, flight: MessageFlight) -> str:
        told = f"{TYPE_NAMES[flight.type]} of round {flight.round}"
        if flight.value:
            told += f" for {flight.value}"
        told += f", {self._name(flight.source)} to {self._name(flight.target)}"
        begin = self._scale.times[0]
        if flight.sent_ms is not None:
            told += f", sent at {_duration(flight.sent_ms - begin)}"
        if flight.received_ms is not None:
            told += f", there at {_duration(flight.received_ms - begin)}"
        return (
            told + (", lost" if flight.lost else "") + (", byzantine" if flight.byzantine else "")
        )

    def _flight_labels(self) -> Iterator[str]:
        """What was sent, once for all its copies, above the sender's line where there is room."""
        seen: set[tuple[object, ...]] = set()
        for flight in self._flights:
            if flight.sent_ms is None:
                continue
            key = (flight.source, flight.type, flight.round, flight.sent_ms, flight.value)
            if key in seen:
                continue
            seen.add(key)
            says = TYPE_NAMES[flight.type]
            if flight.value and (flight.type is MessageType.PRE_PREPARE or flight.byzantine):
                says += f" {flight.value}"
            classes = f"label {TYPE_CLASSES[flight.type]}"
            yield self._label(flight.source, flight.sent_ms, says, classes)

    def _label(self, node: int, at_ms: int, says: str, classes: str) -> str:
        """A few words above a node's line, in the first of three heights that is free there."""
        says = _cut(says)
        left = self._x(at_ms) + 3
        right = left + len(says) * _LABEL_PIXELS + 4
        taken = self._labels[node]
        for height in range(3):
            if all(height != h or right < begin or left > end for begin, end, h in taken):
                taken.append((left, right, height))
                y = self._y(node) - 9 - 10 * height
                return f'<text class="{classes}" x="{left:.1f}" y="{y:.1f}">{_text(says)}</text>'
        return ""

    # --- marks ------------------------------------------------------------------------------------

    def _mark(self, mark: Event) -> Iterator[str]:
        match mark:
            case Decided():
                yield from self._decided(mark)
            case TimerExpired():
                x, y = self._x(mark.at_ms), self._y(mark.node) + 10
                yield (
                    f"<g><title>timer of round {mark.round} expired</title>"
                    f'<circle class="rang" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
                    f'<path class="hand" d="M{x:.1f} {y - 4:.1f}v4h3"/></g>'
                )
            case Crashed():
                x, y = self._x(mark.at_ms), self._y(mark.node)
                yield (
                    f'<path class="crash" d="M{x - 7:.1f} {y - 7:.1f}l14 14m-14 0l14 -14">'
                    "<title>crash</title></path>"
                )
                yield self._label(mark.node, mark.at_ms, "CRASH", "label alarm-text")
            case Started():
                x, y = self._x(mark.at_ms), self._y(mark.node)
                yield (
                    f'<path class="start" style="fill:var(--good)" '
                    f'd="M{x - 4:.1f} {y - 8:.1f}l13 8l-13 8z"><title>start</title></path>'
                )
                yield self._label(mark.node, mark.at_ms, "START", "label")
            case Note():
                yield from self._note(mark)
            case RoundEntered():
                if mark.rule is not None:
                    x, y = self._x(mark.at_ms), self._y(mark.node)
                    why = mark.rule.value.replace("_", " ")
                    yield (
                        f'<text class="in" x="{x + 9:.1f}" y="{y + 3.5:.1f}">{mark.round}'
                        f"<title>enters round {mark.round}: {why}</title></text>"
                    )
            case TimerStarted() | MessageFlight():
                pass
            case _:
                assert_never(mark)

    def _decided(self, mark: Decided) -> Iterator[str]:
        x, y = self._x(mark.at_ms), self._y(mark.node)
        value = f" {_cut(mark.value)}" if mark.value else ""
        yield (
            f"<g><title>decides{_text(value)} in round {mark.round}</title>"
            f'<circle class="done" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            f'<path class="tick-mark" d="M{x - 4:.1f} {y:.1f}l3 3.5l5.5 -7"/></g>'
        )
        yield (
            f'<text class="label" x="{x + 12:.1f}" y="{y + 22:.1f}">decides{_text(value)}</text>'
        )

    def _note(self, note: Note) -> Iterator[str]:
        x = self._x(note.at_ms)
        alarm = " alarm" if note.alarm else ""
        shown = " alarm-text" if note.alarm else ""
        if note.node is not None:
            y = self._y(note.node)
            yield f'<path class="note{alarm}" d="M{x:.1f} {y - 9:.1f}v18"/>'
            yield self._label(note.node, note.at_ms, note.text, f"label{shown}")
            return
        yield f'<path class="note{alarm}" d="M{x:.1f} 58V{self._bottom}"/>'
        yield (
            f'<text class="label{shown}" x="{x + 4:.1f}" y="{self._bottom - 6}">'
            f"{_text(_cut(note.text))}</text>"
        )


def _legend(
    flights: Sequence[MessageFlight], marks: Sequence[Event], width: float
) -> list[tuple[int, str]]:
    """What each sign means, of those that occur: its row, and its drawing."""
    entries = [
        (f'<path class="m {TYPE_CLASSES[kind]}" d="M0 0h22m-6 -3l6 3l-6 3"/>', TYPE_NAMES[kind])
        for kind in MessageType
        if any(flight.type is kind for flight in flights)
    ]
    signs: list[tuple[bool, str, str]] = [
        (
            any(flight.lost for flight in flights),
            '<path class="m lost de" d="M0 0h16"/><path class="cross" d="M14 -4l8 8m-8 0l8 -8"/>',
            "lost",
        ),
        (
            any(flight.byzantine for flight in flights),
            '<path class="halo" d="M0 0h22"/><path class="m de" d="M0 0h22m-6 -3l6 3l-6 3"/>',
            "of a byzantine node",
        ),
        (
            any(isinstance(mark, TimerStarted) for mark in marks),
            '<path class="wait" d="M1 -3v6m0 -3H22"/>',
            "round timer runs",
        ),
        (
            any(isinstance(mark, TimerExpired) for mark in marks),
            '<circle class="rang" cx="14" r="6"/><path class="hand" d="M14 -4v4h3"/>',
            "round timer expired",
        ),
        (
            any(isinstance(mark, Decided) for mark in marks),
            '<circle class="done" cx="13" r="8"/><path class="tick-mark" d="M9 0l3 3.5l5.5 -7"/>',
            "decides",
        ),
        (
            any(isinstance(mark, Crashed) for mark in marks),
            '<path class="crash" d="M7 -6l12 12m-12 0l12 -12"/>',
            "crashes",
        ),
        (
            any(isinstance(mark, Started) for mark in marks),
            '<path style="fill:var(--good)" d="M8 -7l12 7l-12 7z"/>',
            "starts",
        ),
    ]
    entries += [(drawing, says) for occurs, drawing, says in signs if occurs]
    placed: list[tuple[int, str]] = []
    row, x = 0, 16.0
    for drawing, says in entries:
        wide = 50 + sum(7.8 if c.isupper() else 6.0 for c in says)
        if x + wide > width - 16 and x > 16:
            row, x = row + 1, 16.0
        placed.append(
            (
                row,
                f'<g transform="translate({x:.0f} 0)">{drawing}'
                f'<text x="28" y="4">{says}</text></g>',
            )
        )
        x += wide
    return placed


def _head(x1: float, y1: float, x2: float, y2: float) -> str:
    """The two short strokes of an arrow's head."""
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1.0
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    left = (x2 - 8 * dx - 3.5 * dy, y2 - 8 * dy + 3.5 * dx)
    right = (x2 - 8 * dx + 3.5 * dy, y2 - 8 * dy - 3.5 * dx)
    return f"M{left[0]:.1f} {left[1]:.1f}L{x2:.1f} {y2:.1f}L{right[0]:.1f} {right[1]:.1f}"


def _nodes(event: Event) -> tuple[int, ...]:
    if isinstance(event, MessageFlight):
        return event.source, event.target
    return () if event.node is None else (event.node,)


def _moment(flight: MessageFlight) -> int:
    moment = flight.sent_ms if flight.sent_ms is not None else flight.received_ms
    return moment or 0


def _margin(asked: float) -> float:
    return min(max(asked, _MARGIN), _MARGIN_MAX)


def _tint(round_: int) -> str:
    return f"r{(round_ - 1) % ROUND_TINTS}"


def _duration(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:g} s"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _text(text: str) -> str:
    """Text as XML may hold it: part of it may be a stranger's words."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
