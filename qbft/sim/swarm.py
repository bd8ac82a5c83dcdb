"""The swarm: each seed draws its own mix of size, timers, weather, faults and liars.

Drawing what a run may meet at all, before drawing how often, makes rare combinations common: most
runs know only a few kinds of fault, and have these to the full (swarm testing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from qbft.core import UponRule, max_faulty
from qbft.sim.byzantine import BEHAVIOURS, TWINS
from qbft.sim.faults import CRASH_POINTS
from qbft.sim.garbage import rare_collections
from qbft.sim.oracle import Violation
from qbft.sim.plan import (
    TIMER_KINDS,
    Ask,
    Crash,
    Cut,
    DiskCorrupt,
    DiskLost,
    DiskRestored,
    Fault,
    LateStart,
    Liar,
    Partition,
    Pause,
    Plan,
    SlowType,
    Timer,
    Weather,
)
from qbft.sim.world import World

NODES = (1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 8, 10, 13, 9, 11, 12)
"""How many nodes a run may have: four most often, for that is where most is tried per second."""

RULES = tuple(rule.value for rule in UponRule)
"""All upon rules, by name."""

HAPPENS = tuple(
    sorted(
        {f"liar: {name}" for name in (*BEHAVIOURS, TWINS)}
        | {f"lie told: {name}" for name in BEHAVIOURS if name != "Silent"}
        | {f"crash: {label}" for label in (*CRASH_POINTS, "between turns")}
        | {fault.called for fault in (Cut, Partition, SlowType)}
        | {"pause", "late start", "late input", "missing input", "evidence"}
        | {"record torn", "record kept", "disk lost", "disk restored", "disk corrupt"}
        | {"frame lost", "frame cut off", "frame duplicated", "frame held up"}
    )
)
"""Every kind of thing that a run counts; what never happens is counted too, as 0."""

FAULTS_MS = (2_000, 4_000, 8_000)


def draw(seed: int, nodes: int | None = None) -> Plan:
    """Draw the plan of a seed; `nodes` fixes their number."""
    random = Random(f"swarm/{seed}")  # noqa: S311 - a simulation, not a secret
    drawn = random.choice(NODES)
    return _Draw(random, seed, nodes or drawn).plan()


class _Draw:
    """One seed's chances."""

    def __init__(self, random: Random, seed: int, nodes: int) -> None:
        self._random = random
        self._seed = seed
        self._nodes = nodes
        self._faults_ms = random.choice(FAULTS_MS)
        self._places = nodes

    def plan(self) -> Plan:
        random = self._random
        timer = self._timer()
        liars = self._liars()
        instances = random.choice((1, 1, 2, 3, 5)) if self._nodes < 8 else 1
        checks = random.random() < 0.4 or any(f.behaviour == "InvalidProposer" for f in liars)
        return Plan(
            seed=self._seed,
            nodes=self._nodes,
            instances=instances,
            adopts=random.random() < 0.8,
            timer=timer,
            weather=self._weather(),
            sync_ms_max=random.choice((0, 0, 5, 40)),
            check_ms_max=random.choice((0, 20, 300)) if checks else None,
            small_limits=random.random() < 0.25,
            faults_ms=self._faults_ms,
            asks=self._asks(instances),
            faults=(*liars, *self._faults(len(liars))),
        )

    def _timer(self) -> Timer:
        random = self._random
        base_ms = random.choice((60, 150, 400, 1_000))
        cap_ms = random.choice((2_000, 4_000))
        return Timer(random.choice(sorted(TIMER_KINDS)), base_ms, cap_ms)

    def _weather(self) -> Weather:
        random = self._random
        calm = random.random() < 0.35
        slowest_ms = random.choice((5, 30, 30, 150, 600))
        return Weather(
            delay_ms_min=random.choice((1, 1, slowest_ms // 2 + 1)),
            delay_ms_max=slowest_ms + 1,
            tail=0.0 if calm else random.choice((0.0, 0.05, 0.2)),
            loss=0.0 if calm else random.choice((0.0, 0.05, 0.1, 0.3, 0.5)),
            duplication=0.0 if calm else random.choice((0.0, 0.1, 0.5)),
        )

    def _asks(self, instances: int) -> tuple[Ask, ...]:
        """Who asks when: often all, sometimes late, sometimes hardly anyone."""
        random = self._random
        likely = random.choice((0.1, 0.5, 0.9))
        latest_ms = random.choice((10, 500, self._faults_ms))
        asks = []
        for height in range(instances):
            begin_ms = random.randint(0, latest_ms)
            for place in range(self._nodes):
                if random.random() < likely:
                    late_ms = random.choice((0, random.randint(0, latest_ms)))
                    asks.append(Ask(begin_ms + late_ms, place, height))
        return tuple(asks)

    def _liars(self) -> list[Liar]:
        """Liars, at most as many as may be faulty."""
        random = self._random
        most = max_faulty(self._nodes)
        count = random.choice((0, most, random.randint(0, most)))
        places = random.sample(range(self._nodes), count)
        kinds = sorted([*BEHAVIOURS, TWINS])
        liars = [Liar(place, random.choice(kinds)) for place in sorted(places)]
        self._places = self._nodes + sum(liar.behaviour == TWINS for liar in liars)
        return liars

    def _faults(self, liars: int) -> list[Fault]:
        """Draw which kinds there are, then some of each."""
        random = self._random
        kinds = [
            self._cuts,
            self._partitions,
            self._slow_types,
            self._late_starts,
            self._pauses,
            self._crashes,
            self._crashes,
            self._power_cut,
        ]
        faults: list[Fault] = []
        for kind in random.sample(kinds, random.choice((0, 1, 1, 2, 3, 5))):
            faults += kind()
        spare = max_faulty(self._nodes) - liars
        if spare and random.random() < 0.4:
            bad = random.sample(range(self._nodes), random.randint(1, spare))
            faults += [self._bad_disk(place) for place in bad]
        return faults

    def _span(self, longest_ms: int = 1 << 30) -> tuple[int, int]:
        """A time within the phase of faults."""
        start_ms = self._random.randint(0, self._faults_ms)
        left_ms = min(longest_ms, self._faults_ms - start_ms)
        return start_ms, start_ms + self._random.randint(0, left_ms)

    def _some_places(self) -> tuple[int, ...]:
        count = self._random.randint(1, max(1, self._places - 1))
        return tuple(sorted(self._random.sample(range(self._places), count)))

    def _cuts(self) -> list[Fault]:
        return [
            Cut(
                self._some_places(), self._some_places(), *self._span(), self._random.random() < 0.5
            )
            for _ in range(self._random.randint(1, 4))
        ]

    def _partitions(self) -> list[Fault]:
        random = self._random
        found: list[Fault] = []
        for _ in range(random.randint(1, 6)):
            one = self._some_places()
            rest = tuple(p for p in range(self._places) if p not in one)
            found.append(Partition((one, rest), *self._span(3_000), random.random() < 0.5))
        return found

    def _slow_types(self) -> list[Fault]:
        random = self._random
        return [
            SlowType(
                random.randrange(self._places),
                random.randrange(self._places),
                random.randint(1, 4),
                random.choice((50, 500, 2_000)),
                *self._span(),
            )
            for _ in range(random.randint(1, 6))
        ]

    def _late_starts(self) -> list[Fault]:
        return [
            LateStart(place, self._random.randint(0, self._faults_ms))
            for place in self._some_places()[:3]
        ]

    def _pauses(self) -> list[Fault]:
        return [
            Pause(self._random.randrange(self._places), *self._span())
            for _ in range(self._random.randint(1, 3))
        ]

    def _crashes(self) -> list[Fault]:
        random = self._random
        return [self._crash(everyone=False) for _ in range(random.choice((1, 2, 5, 12)))]

    def _power_cut(self) -> list[Fault]:
        return [self._crash(everyone=True) for _ in range(self._random.randint(1, 3))]

    def _crash(self, *, everyone: bool) -> Crash:
        random = self._random
        place = random.randrange(self._places)
        down_ms = random.choice((1, 50, 400, 2_000))
        at_point = random.randint(0, random.choice((10, 40, 120)))
        at_ms = random.randint(0, self._faults_ms)
        kept = random.random() < 0.5
        if random.random() < 0.7:
            return Crash(place, None, at_point, down_ms, kept, everyone)
        return Crash(place, at_ms, None, down_ms, kept, everyone)

    def _bad_disk(self, place: int) -> Fault:
        """One node more that is lost: its disk, its past, or all of it."""
        random = self._random
        at_ms = random.randint(1, self._faults_ms)
        down_ms = random.choice((1, 100, 1_000))
        kind = random.randrange(4)
        if kind == 0:
            return DiskLost(place, at_ms, down_ms)
        if kind == 1:
            return DiskRestored(place, random.randint(0, at_ms), at_ms, down_ms)
        if kind == 2:
            return DiskCorrupt(place, at_ms)
        return Crash(place, at_ms, None, None)


@dataclass(slots=True)
class Tally:
    """What the runs of some seeds came to."""

    runs: int = 0
    instances: int = 0
    rounds_max: int = 0
    heal_ms_max: int = 0
    rules: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(RULES, 0)))
    happened: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(HAPPENS, 0)))
    violations: dict[int, str] = field(default_factory=dict)
    """What went wrong, by seed."""

    def add(self, other: Tally) -> None:
        """Take in what other runs came to."""
        self.runs += other.runs
        self.instances += other.instances
        self.rounds_max = max(self.rounds_max, other.rounds_max)
        self.heal_ms_max = max(self.heal_ms_max, other.heal_ms_max)
        self.rules.update(other.rules)
        self.happened.update(other.happened)
        self.violations.update(other.violations)


def run_seed(seed: int, nodes: int | None = None) -> Tally:
    """Run the plan of one seed."""
    plan = draw(seed, nodes)
    tally = Tally(runs=1, instances=plan.instances)
    world = World(plan)
    try:
        report = world.run()
    except Violation as violation:
        tally.violations[seed] = str(violation)
    else:
        tally.rounds_max = report.rounds_max
        tally.heal_ms_max = report.heal_ms
    tally.rules.update(world.rules)
    tally.happened.update(world.happened)
    return tally


@rare_collections()
def run_seeds(seeds: Iterable[int], nodes: int | None = None) -> Tally:
    """Run the plans of some seeds, one after the other."""
    tally = Tally()
    for seed in seeds:
        tally.add(run_seed(seed, nodes))
    return tally
