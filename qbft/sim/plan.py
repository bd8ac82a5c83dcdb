"""What a run is made of, as data: a plan can be drawn from a seed, written down and made smaller.

Places are numbered like validators; the second copy of a twin stands at a place of its own, from
the number of nodes upwards. Times are in milliseconds of the run, probabilities from 0 to 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from qbft.timers import (
    TimerPolicy,
    doubling_linear,
    exponential,
    increasing,
    linear,
    restarting_exponential,
)


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to every frame."""

    delay_ms_min: int = 1
    delay_ms_max: int = 30
    tail: float = 0.0
    """That a frame takes up to nine times as long."""
    loss: float = 0.0
    duplication: float = 0.0


@dataclass(frozen=True, slots=True)
class Timer:
    """The round timer of all nodes: `kind` is one of `TIMER_KINDS`."""

    kind: str = "exponential"
    base_ms: int = 500
    cap_ms: int = 4_000

    def policy(self) -> TimerPolicy:
        """Make the shipped policy."""
        return TIMER_KINDS[self.kind](self.base_ms, self.cap_ms)

    @property
    def round_ms_max(self) -> int:
        """How long a round lasts at most: a PRE-PREPARE may start some kinds of timer again."""
        return self.cap_ms if self.kind in KEEPING else 2 * self.cap_ms


TIMER_KINDS: dict[str, Callable[[int, int], TimerPolicy]] = {
    "exponential": exponential,
    "restarting_exponential": restarting_exponential,
    "linear": linear,
    "doubling_linear": doubling_linear,
    "increasing": lambda _, cap_ms: increasing(cap_ms),
}
KEEPING = frozenset({"exponential", "linear"})
"""Kinds of timer of which a second start within a round changes nothing."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Frames from these places to those are lost; `told`: both ends learn that the link is back."""

    called: ClassVar[str] = "one-way cut"
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    start_ms: int
    end_ms: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class Partition:
    """Frames pass within a group only; who is in none is alone."""

    called: ClassVar[str] = "partition"
    groups: tuple[tuple[int, ...], ...]
    start_ms: int
    end_ms: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class SlowType:
    """Frames with a vote of one type (its number) take longer from one place to another."""

    called: ClassVar[str] = "link slow for one type"
    source: int
    target: int
    type: int
    delay_ms: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class LateStart:
    """The node starts late."""

    place: int
    start_ms: int


@dataclass(frozen=True, slots=True)
class Pause:
    """The node's process stands still: frames wait, timers are late (SCENARIOS M13)."""

    place: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The node loses power, at a time or at its so manyth crash point, and comes back.

    Crash points are, of each commit, before it, while it is being synced and after it, and the
    moment before each copy of a frame leaves. What was being synced is there afterwards only if
    `kept`, else its torn record is truncated (SCENARIOS K21). With `everyone` all nodes lose power.
    `down_ms` None: it never comes back.
    """

    place: int
    at_ms: int | None = None
    at_point: int | None = None
    down_ms: int | None = 500
    kept: bool = False
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class DiskLost:
    """The node crashes and comes back with a journal made anew (`init --replace`, SCENARIOS K24).

    It asks its peers what it may have voted on, and must contradict none of it. Where it had voted
    it takes no part; it decides all the same, by what the others voted.
    """

    place: int
    at_ms: int
    down_ms: int


@dataclass(frozen=True, slots=True)
class DiskRestored:
    """The node crashes and comes back with a copy of its disk made earlier: it may do anything."""

    place: int
    copied_ms: int
    at_ms: int
    down_ms: int


@dataclass(frozen=True, slots=True)
class DiskCorrupt:
    """The node crashes; a record before a valid one is bad, so that it refuses to start."""

    place: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Liar:
    """A Byzantine validator: it behaves as the class of `qbft.sim.byzantine` of that name."""

    place: int
    behaviour: str


Fault = (
    Cut
    | Partition
    | SlowType
    | LateStart
    | Pause
    | Crash
    | DiskLost
    | DiskRestored
    | DiskCorrupt
    | Liar
)

FAULTS: tuple[type[Fault], ...] = (
    Cut,
    Partition,
    SlowType,
    LateStart,
    Pause,
    Crash,
    DiskLost,
    DiskRestored,
    DiskCorrupt,
    Liar,
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A client proposes at a place, for an instance's height, its own value."""

    at_ms: int
    place: int
    height: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `seed` is what its chances are drawn from while it lasts."""

    seed: int = 0
    nodes: int = 4
    instances: int = 1
    adopts: bool = True
    timer: Timer = field(default_factory=Timer)
    weather: Weather = field(default_factory=Weather)
    sync_ms_max: int = 0
    """How long a commit may take."""
    check_ms_max: int | None = None
    """How long the application looks at a value; None: there is no application."""
    small_limits: bool = False
    """The replicas' bounds are so tight that they bite."""
    faults_ms: int = 5_000
    asks: tuple[Ask, ...] = ()
    faults: tuple[Fault, ...] = ()
    journal: bool = True
    """Off: nodes forget everything at a crash, though they count as correct (a control)."""

    @property
    def faulty(self) -> frozenset[int]:
        """The validators that may do anything: liars, and those whose journal is an older copy."""
        return frozenset(
            fault.place for fault in self.faults if isinstance(fault, Liar | DiskRestored)
        )

    @property
    def mute(self) -> frozenset[int]:
        """The correct validators that may have to keep out of instances."""
        return frozenset(fault.place for fault in self.faults if isinstance(fault, DiskLost))

    @property
    def lost(self) -> frozenset[int]:
        """The validators that are down for good in the end."""
        return frozenset(
            fault.place
            for fault in self.faults
            if isinstance(fault, DiskCorrupt)
            or (isinstance(fault, Crash) and fault.down_ms is None)
        )

    @property
    def inputs(self) -> Counter[str]:
        """Count the inputs that come later than the first of their instance, or never."""
        counted: Counter[str] = Counter()
        for height in range(self.instances):
            asked = {ask.place: ask.at_ms for ask in reversed(self.asks) if ask.height == height}
            first_ms = min(asked.values(), default=0)
            counted["late input"] += sum(at_ms > first_ms for at_ms in asked.values())
            counted["missing input"] += self.nodes - len(asked)
        return +counted

    @property
    def bound_ms(self) -> int:
        """Within which all correct nodes decide once the network has healed (oracle I9)."""
        gone = len(self.faulty | self.mute | self.lost)
        return (2 + gone) * self.timer.round_ms_max + 2_000

    def to_json(self) -> str:
        """Write the plan as a scenario file."""
        data = asdict(self)
        data["faults"] = [{"fault": type(f).__name__, **asdict(f)} for f in self.faults]
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a scenario file.

        Raises:
            ValueError: it is none.
        """
        data = json.loads(text)
        kinds = {kind.__name__: kind for kind in FAULTS}
        try:
            faults = tuple(
                kinds[entry["fault"]](
                    **{key: _tuples(value) for key, value in entry.items() if key != "fault"}
                )
                for entry in data.pop("faults", ())
            )
            asks = tuple(Ask(**entry) for entry in data.pop("asks", ()))
            timer = Timer(**data.pop("timer", {}))
            weather = Weather(**data.pop("weather", {}))
            return cls(**data, faults=faults, asks=asks, timer=timer, weather=weather)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a scenario file: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
