"""Space-time diagrams: what is drawn, that it is well-formed, safe to embed, and the same again."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from stories import calm, equivocation

from qbft.core import MessageType
from qbft.diagram import (
    Crashed,
    Decided,
    Event,
    MessageFlight,
    Note,
    RoundEntered,
    Started,
    TimerExpired,
    TimerStarted,
    drawing,
    space_time_svg,
)
from qbft.diagram.scale import GAP_PIXELS_MAX, WIDTH_MAX, WIDTH_MIN, scale_of

SVG = "{http://www.w3.org/2000/svg}"


def classes(svg: str) -> list[str]:
    """The classes of all that is drawn."""
    return [c for e in ET.fromstring(svg).iter() for c in (e.get("class") or "").split()]  # noqa: S314


def texts(svg: str) -> str:
    """All words of a drawing, tooltips too."""
    root = ET.fromstring(svg)  # noqa: S314
    return "\n".join(e.text or "" for e in root.iter() if e.tag != f"{SVG}style")


def messages(svg: str) -> list[str]:
    """The tooltips of all arrows."""
    root = ET.fromstring(svg)  # noqa: S314
    arrows = (e for e in root.iter(f"{SVG}path") if "m" in (e.get("class") or "").split())
    return [title.text or "" for e in arrows if (title := e.find(f"{SVG}title")) is not None]


def test_a_diagram_shows_an_equivocation() -> None:
    """Issue 3: lines, arrows by type, bands, timers, decisions, crash, what a liar sent."""
    events = equivocation()
    flights = [e for e in events if isinstance(e, MessageFlight) and e.source != e.target]
    svg = space_time_svg(events, title="An equivocating leader")
    assert len(messages(svg)) == len(flights)
    drawn = classes(svg)
    assert drawn.count("halo") == 3 + 1  # the fourth stands in the legend
    assert drawn.count("done") == 3 + 1
    assert {"pp", "pr", "co", "rc", "band", "wait", "rang", "crash", "start", "down"} <= set(drawn)
    said = texts(svg)
    for words in ("byzantine", "round 2", "CRASH", "network heals", "PRE-PREPARE A", "decides of"):
        assert words in said


def test_a_calm_round_has_no_signs_of_trouble() -> None:
    """The legend explains only what occurs."""
    said = texts(space_time_svg(calm()))
    assert "decides A" in said
    for words in ("lost", "byzantine", "expired", "crashes", "ROUND-CHANGE"):
        assert words not in said


def test_a_lost_copy_ends_on_its_way() -> None:
    """A lost message is a short dashed arrow with a cross, whether its end is known or not."""
    lost = MessageFlight(0, 1, MessageType.COMMIT, 2, 10, None, lost=True)
    svg = space_time_svg([lost, MessageFlight(1, 0, MessageType.COMMIT, 2, 0, 90)])
    assert "COMMIT of round 2, node 0 to node 1, sent at 10 ms, lost" in messages(svg)
    assert {"lost", "cross"} <= set(classes(svg))


@pytest.mark.parametrize(("sent", "received"), [(5, None), (None, 5), (None, None)])
def test_a_node_that_knows_one_end_draws_half_an_arrow(
    sent: int | None, received: int | None
) -> None:
    """A dashboard sees its own node's side only."""
    svg = space_time_svg([MessageFlight(0, 1, MessageType.PREPARE, 1, sent, received)])
    assert "half" in classes(svg)


def test_the_same_events_give_the_same_text() -> None:
    """Pure: in any order of the list, byte for byte."""
    events = equivocation()
    marks = [e for e in events if not isinstance(e, MessageFlight)]
    flights = [e for e in events if isinstance(e, MessageFlight)]
    assert space_time_svg(events) == space_time_svg(marks + flights)


def test_the_drawing_needs_nothing_else() -> None:
    """No link, script or font from outside; light and dark by the reader's system."""
    svg = space_time_svg(equivocation())
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|url\(|@import|href", svg)
    assert "prefers-color-scheme:dark" in svg


STRANGE = '</text><script>alert("1")</script>&\x00\x1b\ud800\u202e'


def test_strangers_words_stay_words() -> None:
    """Values, notes, names and the title are escaped and cut: hostile ones are only shown."""
    events: list[Event] = [
        MessageFlight(0, 1, MessageType.PRE_PREPARE, 1, 0, 9, STRANGE, byzantine=True),
        Decided(10, 1, 1, STRANGE),
        Note(3, STRANGE),
        Note(4, STRANGE, node=0, alarm=True),
    ]
    svg = space_time_svg(events, title=STRANGE, names={0: STRANGE})
    root = ET.fromstring(svg.encode())  # noqa: S314
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert "\x1b" not in svg


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Decided(5, 3, 1)],
        [Note(0, "nothing")],
        [Crashed(7, 0), Crashed(7, 0), Started(7, 0)],
        [RoundEntered(0, 0, 2**31 - 1), TimerStarted(0, 0, 1, 10**12), TimerExpired(0, 0, 1)],
        [RoundEntered(0, 0, 2), RoundEntered(5, 0, 1)],
        [MessageFlight(2, 2, MessageType.COMMIT, 1, 0, 1)],
        [MessageFlight(0, 1, MessageType.COMMIT, 1, 9, 3)],
    ],
)
def test_any_list_of_events_can_be_drawn(events: list[Event]) -> None:
    """Total: few events, odd ones and none give a well-formed drawing."""
    root = ET.fromstring(space_time_svg(events))  # noqa: S314
    assert float(root.get("width", "0")) > 0


def test_a_long_run_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are cut short and say how long they were; too many messages are counted instead."""
    events = [replace(e, at_ms=e.at_ms * 1_000_000) for e in calm() if isinstance(e, Decided)]
    svg = space_time_svg([*calm(), *events])
    assert float(ET.fromstring(svg).get("width", "0")) < WIDTH_MAX + 1_000  # noqa: S314
    assert "in which nothing happened, cut short" in texts(svg)
    monkeypatch.setattr(drawing, "FLIGHTS_MAX", 5)
    svg = space_time_svg(calm())
    assert len(messages(svg)) == 5
    assert "The first 5 of 27 messages are drawn" in texts(svg)


def test_a_scale_rises_and_cuts() -> None:
    """Later is further right; a stretch without events is never wider than its bound."""
    scale = scale_of([0, 50, 100, 1_000_000, 1_000_050], [50])
    places = [scale(t) for t in (-10, 0, 25, 50, 500_000, 1_000_000, 1_000_050, 1_000_060)]
    assert places == sorted(places)
    assert places[5] - places[3] <= 3 * GAP_PIXELS_MAX
    assert [length for _, length in scale.cuts()] == [999_900]
    wide = scale_of(range(0, 100_000, 10), [50])
    assert wide.width == pytest.approx(WIDTH_MAX)


def test_no_time_is_told_within_a_cut() -> None:
    """A mark of the axis there would lie: half the way is not half the time, however wide it is."""
    scale = scale_of([0, 4, 1_002, 1_004], [3])
    assert scale.width == WIDTH_MIN
    times = [time for _, time in scale.ticks()]
    assert {time for time in times if 4 < time < 1_002} == set()
    assert (min(times), max(times)) in ((0, 1_002), (0, 1_004))
