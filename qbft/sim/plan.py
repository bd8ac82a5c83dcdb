"""What a run is made of, as data: a plan can be drawn from a seed, written down and made smaller.

Places are numbered like validators; the second copy of a twin stands at a place of its own, from
the number of nodes upwards. Times are in milliseconds of the run, probabilities from 0 to 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, is_dataclass
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from qbft.core import MessageType
from qbft.sim.byzantine import BEHAVIOURS, TWINS
from qbft.timers import (
    TimerPolicy,
    doubling_linear,
    exponential,
    increasing,
    linear,
    restarting_exponential,
)

NODES_MAX = 64
INSTANCES_MAX = 1_000
TIME_MS_MAX = 3_600_000
"""What a scenario file may ask for: more would take for ever."""


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
    `down_ms` None: it never comes back. A node that is down already, or has not started yet, does
    not fall.
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
            ValueError: it is none, or names what is not there, or is beyond what a run may be.
        """
        try:
            plan: Plan = _read(cls, json.loads(text))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a scenario file: {error}") from error
        for problem in _problems(plan):
            raise ValueError(f"not a scenario file: {problem}")
        return plan


def _read(hint: Any, value: Any) -> Any:
    """Read what the type hint of a field says; a JSON object is one of our dataclasses.

    Raises:
        TypeError: it is something else.
        KeyError: there is no such kind of fault.
    """
    if hint is Fault:
        kind = {kind.__name__: kind for kind in FAULTS}[_read(dict, value).get("fault")]
        return _read(kind, {key: each for key, each in value.items() if key != "fault"})
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return hint(**{key: _read(hints.get(key), v) for key, v in _read(dict, value).items()})
    if get_origin(hint) is tuple:
        return tuple(_read(get_args(hint)[0], each) for each in _read(list, value))
    if get_origin(hint) is UnionType:
        plain, _ = get_args(hint)
        return None if value is None else _read(plain, value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{value!r:.40} is not what belongs there")
    return value


def _problems(plan: Plan) -> Iterator[str]:
    """What is wrong with the names and numbers of a plan that came from outside."""
    if not (1 <= plan.nodes <= NODES_MAX and 0 <= plan.instances <= INSTANCES_MAX):
        yield f"at most {NODES_MAX} nodes and {INSTANCES_MAX} instances"
    if plan.timer.kind not in TIMER_KINDS or plan.timer.base_ms < 1 or plan.timer.cap_ms < 1:
        yield f"{plan.timer} is no timer"
    yield from _problems_of_weather(plan.weather)
    for name, number in _numbers(asdict(plan)):
        if "_ms" in name and not 0 <= number <= TIME_MS_MAX:
            yield f"{name} {number} is not from 0 to {TIME_MS_MAX}"
    liars = [fault for fault in plan.faults if isinstance(fault, Liar)]
    if len({liar.place for liar in liars}) < len(liars):
        yield "two liars at one place"
    places = plan.nodes + sum(liar.behaviour == TWINS for liar in liars)
    for fault in plan.faults:
        yield from _problems_of(fault, plan.nodes, places)
    for ask in plan.asks:
        if not (0 <= ask.place < places and 0 <= ask.height < plan.instances):
            yield f"{ask}: there is no such place or height"


def _problems_of_weather(weather: Weather) -> Iterator[str]:
    if weather.delay_ms_min > weather.delay_ms_max:
        yield "delay_ms_min is above delay_ms_max"
    if not all(0 <= p <= 1 for p in (weather.tail, weather.loss, weather.duplication)):
        yield "a probability is from 0 to 1"


def _problems_of(fault: Fault, nodes: int, places: int) -> Iterator[str]:
    """Likewise with one fault; at some places the second copy of a twin stands."""
    if isinstance(fault, Liar | DiskLost | DiskRestored | DiskCorrupt):
        places = nodes
    if not all(0 <= place < places for place in _places_of(fault)):
        yield f"{fault}: there is no such place"
    if isinstance(fault, Cut | Partition | SlowType | Pause) and fault.start_ms > fault.end_ms:
        yield f"{fault} ends before it begins"
    if isinstance(fault, SlowType) and fault.type not in set(MessageType):
        yield f"{fault}: there is no such type of vote"
    if isinstance(fault, Liar) and fault.behaviour not in {*BEHAVIOURS, TWINS}:
        yield f"{fault}: there is no such behaviour"
    if isinstance(fault, Crash) and fault.at_point is not None and fault.at_point < 0:
        yield f"{fault}: there is no such crash point"


def _places_of(fault: Fault) -> tuple[int, ...]:
    """The places that a fault names."""
    match fault:
        case Cut(sources, targets):
            return (*sources, *targets)
        case Partition(groups):
            return tuple(place for group in groups for place in group)
        case SlowType(source, target):
            return (source, target)
        case _:
            return (fault.place,)


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(name, number) of all numbers in a plan, those of the faults and asks among them."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _numbers(each, key)
    elif isinstance(value, tuple):
        for each in value:
            yield from _numbers(each, name)
    elif isinstance(value, int | float):
        yield name, value
