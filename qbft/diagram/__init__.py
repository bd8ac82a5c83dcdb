"""Space-time diagrams: what nodes said to each other, drawn. Pure, standard library only."""

from qbft.diagram.drawing import space_time_svg
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

__all__ = [
    "Crashed",
    "Decided",
    "Event",
    "MessageFlight",
    "Note",
    "RoundEntered",
    "Started",
    "TimerExpired",
    "TimerStarted",
    "space_time_svg",
]
