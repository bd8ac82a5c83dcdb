"""What a diagram is drawn from: the events of one instance, as small frozen records.

Whoever watches an instance makes them, the simulator of all its nodes at once or a node of itself
and its links. Times are whole milliseconds of one clock; where it begins does not matter. Nodes are
known by their index. The order of a list of events does not matter either.
"""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core.messages import MessageType
from qbft.core.rules import UponRule


@dataclass(frozen=True, slots=True)
class MessageFlight:
    """One copy of a message on its way from one node to another.

    A simulator knows both ends. A node knows one: then the other time is None. `lost` says that the
    copy never arrived, so `received_ms` is None; a duplicate is a second flight. `byzantine` marks
    what no correct node would have sent. `value` is a short text for people, a few characters of
    the digest for instance; equal values should have equal texts.
    """

    source: int
    target: int
    type: MessageType
    round: int
    sent_ms: int | None
    received_ms: int | None
    value: str = ""
    lost: bool = False
    byzantine: bool = False


@dataclass(frozen=True, slots=True)
class RoundEntered:
    """A node enters a round; `rule` is why, None for the start."""

    at_ms: int
    node: int
    round: int
    rule: UponRule | None = None


@dataclass(frozen=True, slots=True)
class TimerStarted:
    """A node's round timer runs from now to its deadline; it replaces any that ran."""

    at_ms: int
    node: int
    round: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """A node's round timer ran out before the round decided."""

    at_ms: int
    node: int
    round: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A node decides."""

    at_ms: int
    node: int
    round: int
    value: str = ""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A node stops: it hears and says nothing until it starts again."""

    at_ms: int
    node: int


@dataclass(frozen=True, slots=True)
class Started:
    """A node starts, late or again after a crash.

    One whose first event is not this one runs from the first moment of the diagram.
    """

    at_ms: int
    node: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something else worth a mark: an input, a healed network, a violation.

    Without `node` it concerns all. A few words; `alarm` makes it red.
    """

    at_ms: int
    text: str
    node: int | None = None
    alarm: bool = False


Event = (
    MessageFlight | RoundEntered | TimerStarted | TimerExpired | Decided | Crashed | Started | Note
)
"""All that a diagram shows. Other events of an instance have no place in it."""
