"""What a peer can make a node say about its link."""

from __future__ import annotations

import structlog.testing

from qbft_server.telemetry.events import LINK_LINES_MAX, LINK_LINES_SECONDS, LoggedEvents
from qbft_server.telemetry.metrics import Metrics


def test_a_link_that_comes_and_goes_writes_few_lines() -> None:
    """Issue 6: no line above debug at an attacker's will; what an operator must know is told.

    A peer that lets its link come and go a thousand times causes four lines a minute, and takes
    none of another peer's.
    """
    now = 0.0
    events = LoggedEvents(Metrics(), clock=lambda: now)
    with structlog.testing.capture_logs() as lines:
        for _ in range(1_000):
            events.link_up(3)
            events.link_down(3, "closed by the peer")
        events.link_up(1)
    told = [(line["event"], line["peer"]) for line in lines if line["log_level"] == "info"]
    assert told == [
        *[("link is up", 3), ("link is down", 3)] * (LINK_LINES_MAX // 2),
        ("link is up", 1),
    ]
    now = LINK_LINES_SECONDS
    with structlog.testing.capture_logs() as lines:
        events.link_up(3)
    assert [line["log_level"] for line in lines] == ["info"]
