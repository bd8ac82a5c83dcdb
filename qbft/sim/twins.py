"""Twins, exhausted: four validators of which one is two, every partition of four rounds (C23).

The idea is that of "Twins: BFT Systems Made Robust" (Bano and others, arXiv 2004.10617): a liar is
two correct copies with one key that know nothing of each other, and what a copy hears of is chosen
by partitions. Five places can be parted in two in 16 ways, the whole among them; a schedule chooses
one for each of four rounds, so that there are 16^4 of them for each of the four validators that can
be the twin. It is the engine that is tried here, in lock step: in each round all that is said goes
around within its side until nothing is left to say, then the timers of all who have not decided
expire. After the four rounds nobody is parted any more, and all must decide within two rounds more
for each validator that may be faulty.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from qbft.core import (
    Broadcast,
    Decide,
    Definition,
    Effect,
    Input,
    InputValue,
    Instance,
    InstanceId,
    Message,
    MessageType,
    Start,
    TimerExpired,
)
from qbft.crypto.certificate import canonical_certificate
from qbft.decision import Decision
from qbft.sim.garbage import rare_collections
from qbft.sim.oracle import Oracle, Violation

NODES = 4
PLACES = NODES + 1
ROUNDS = 4
PARTITIONS = 2 ** (PLACES - 1)
SCHEDULES = PARTITIONS**ROUNDS
RUNS = SCHEDULES * NODES
"""All there are: each schedule with each validator as the twin."""

HEALED_ROUNDS_MAX = 4
"""Rounds in which all decide once nobody is parted: one that both twins lead may fail, and the one
before it has already begun."""

INSTANCE = InstanceId("twins", 0)
_EVERYBODY = (tuple(range(PLACES)),) * PLACES


@dataclass(slots=True)
class TwinsTally:
    """What the runs came to."""

    runs: int = 0
    decided: Counter[int] = field(default_factory=Counter)
    """Runs by the round in which the first correct node decided."""
    violations: dict[int, str] = field(default_factory=dict)
    """By number of the run."""

    def add(self, other: TwinsTally) -> None:
        """Take in what other runs came to."""
        self.runs += other.runs
        self.decided.update(other.decided)
        self.violations.update(other.violations)


@rare_collections()
def run_all(numbers: Iterable[int], definition: Definition | None = None) -> TwinsTally:
    """Play the runs of these numbers, from 0 up to `RUNS`."""
    tally = TwinsTally()
    for number in numbers:
        tally.runs += 1
        try:
            tally.decided[TwinsRun(number, definition).play()] += 1
        except Violation as violation:
            tally.violations[number] = str(violation)
    return tally


def schedule_of(number: int) -> tuple[int, tuple[int, ...]]:
    """The twin of a run, and the partition of each round: a bit for each place but the last.

    Runs that are an even number apart have all twins, too.
    """
    schedule, rest = divmod(number, NODES)
    twin = (rest + schedule) % NODES
    partitions = []
    for _ in range(ROUNDS):
        schedule, partition = divmod(schedule, PARTITIONS)
        partitions.append(partition)
    return twin, tuple(partitions)


def _sides() -> list[tuple[tuple[int, ...], ...]]:
    """For each partition, whom each place reaches, itself included."""
    all_sides = []
    for partition in range(PARTITIONS):
        side = [(partition >> place) & 1 for place in range(PLACES)]
        all_sides.append(
            tuple(
                tuple(other for other in range(PLACES) if side[other] == side[place])
                for place in range(PLACES)
            )
        )
    return all_sides


REACHES = _sides()


def leader(instance: object, round_: int) -> int:
    """Who leads: each in turn."""
    return (round_ - 1) % NODES


class TwinsRun:
    """One schedule with one twin; the second copy stands at the last place."""

    def __init__(self, number: int, definition: Definition | None = None) -> None:
        self.twin, self.partitions = schedule_of(number)
        definition = definition or Definition(NODES, leader)
        self._validators = (*range(NODES), self.twin)
        self._engines = [Instance(definition, INSTANCE, v) for v in self._validators]
        self._honest = tuple(place for place in range(NODES) if place != self.twin)
        self._oracle = Oracle(
            NODES, self._honest, certified_by=definition.quorum, digest=lambda value: value
        )
        self._queue: deque[tuple[int, Message]] = deque()
        self._undecided = set(range(PLACES))
        self._first_decided = 0
        self._round = 0

    def play(self) -> int:
        """Play it; gives the round in which the first correct node decided.

        Raises:
            Violation: a property does not hold.
        """
        for partition in self.partitions:
            self._play_round(REACHES[partition])
        left = HEALED_ROUNDS_MAX
        while not self._undecided.isdisjoint(self._honest):
            if not left:
                raise Violation(f"I9: undecided {HEALED_ROUNDS_MAX} rounds after healing")
            left -= 1
            self._play_round(_EVERYBODY)
        return self._first_decided

    def _play_round(self, reaches: tuple[tuple[int, ...], ...]) -> None:
        """Begin a round everywhere, and let everything be heard within its side."""
        self._round += 1
        for place in range(PLACES):
            if self._round == 1:
                value = f"value of {place}".encode()
                self._oracle.proposed(INSTANCE, value)
                self._step(place, InputValue(value))
                self._step(place, Start())
            elif place in self._undecided:
                self._step(place, TimerExpired())
        queue = self._queue
        while queue:
            place, message = queue.popleft()
            for other in reaches[place]:
                self._step(other, message)

    def _step(self, place: int, input_: Input) -> None:
        for effect in self._engines[place].step(input_):
            if isinstance(effect, Broadcast | Decide):
                self._perform(place, effect)

    def _perform(self, place: int, effect: Effect) -> None:
        is_honest = place in self._honest
        if isinstance(effect, Broadcast):
            message = effect.message
            if is_honest and message.type is not MessageType.DECIDED:
                self._oracle.signed(message)
            self._queue.append((place, message))
        elif isinstance(effect, Decide):
            self._undecided.discard(place)
            if is_honest:
                self._first_decided = self._first_decided or self._round
                certificate = canonical_certificate(
                    INSTANCE, effect.round, effect.value, effect.commits
                )
                self._oracle.concluded(place, Decision(effect.value, certificate))
