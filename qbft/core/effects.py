"""What goes into an engine and what comes out: two closed unions.

Effects are to be performed strictly in order (DESIGN, one step).
"""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core.messages import Message, Value
from qbft.core.rules import UponRule

# --- inputs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Begin round 1 (Algorithm 1:11); once, first."""


@dataclass(frozen=True, slots=True)
class InputValue:
    """The value this process would propose; may come late, counts once (rules 6 and 8)."""

    value: Value | None


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """The round timer that was started last has run out (Algorithm 3:1)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The verdict on the value of the open `Compare` (REFERENCE rule 32)."""

    matches: bool


Input = Message | Start | InputValue | TimerExpired | Compared
"""A `Message` as an input was received and verified; the process's own come back too."""

# --- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to all processes, this one included (REFERENCE rule 5)."""

    message: Message


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Start the timer of that round; it replaces any other (REFERENCE rule 13)."""

    round: int


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Stop the round timer."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare this PRE-PREPARE's value with the process's own; answer with `Compared`.

    Until then the driver holds every input but that answer and the timer.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class Decide:
    """The decision, once per instance: its value, round, and the COMMITs (or what came as them).

    `commits` is exactly what the engine has: of a justified DECIDED it is the justification
    verbatim, rogue messages included (REFERENCE rule 29).
    """

    value: Value | None
    round: int
    commits: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine stopped for good: a bug at its caller or an unsupported input (REFERENCE 3, 6)."""

    reason: str


@dataclass(frozen=True, slots=True)
class RuleFired:
    """Observation: the rule that the received message made fire, at the round before acting."""

    rule: UponRule
    round: int


@dataclass(frozen=True, slots=True)
class RoundChanged:
    """Observation: the process moved to another round, and why."""

    from_round: int
    to_round: int
    rule: UponRule


@dataclass(frozen=True, slots=True)
class Unjustified:
    """Observation: the message was dropped for want of justification (Algorithm 4)."""

    message: Message


Effect = (
    Broadcast
    | StartTimer
    | StopTimer
    | Compare
    | Decide
    | Failed
    | RuleFired
    | RoundChanged
    | Unjustified
)
