"""From records of a real instance to a plan that makes the simulator live through the like.

The same validators are late, silent, cut off, slow or lying at about the same times, and the same
clients ask; the leader of round 1 stands at place 0. It is no replay: delays are drawn from the
plan's seed, and the replicas decide what they say. So one tries several seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

from qbft.core import InputValue, MessageType
from qbft.replay.drawing import received, sent_times
from qbft.replay.record import InstanceRecord, Resumed, TimerSet
from qbft.sim.plan import Ask, Crash, Cut, Fault, LateStart, Liar, Plan, SlowType, Timer, Weather

SLOW_FACTOR = 4
"""So many times the median a delay counts as a fault of its link, and not as weather ..."""

SLOW_MS_MIN = 100
"""... if it is so long at all."""

DOUBLING_MIN = 1.5
"""A second round that is so many times the first shows a timer that doubles."""

MESSAGES_MAX = 10_000
"""Messages of a case that are looked at."""

REST_MS = 500
"""How long faults last after the last thing that was recorded."""


def plan_of(records: Sequence[InstanceRecord], seed: int = 0) -> Plan:
    """Give the plan of one instance, of which these nodes have records.

    Raises:
        ValueError: nothing was recorded.
    """
    case = _Case.of(records)
    timer = _timer(case.records)
    return Plan(
        seed=seed,
        nodes=case.nodes,
        timer=timer,
        weather=case.weather,
        faults_ms=case.end_ms + REST_MS,
        asks=tuple(case.asks()),
        faults=tuple(case.faults()),
    )


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A message, from whom to whom, by the places of the plan; None: it never came."""

    source: int
    target: int
    type: MessageType
    sent_ms: int
    delay_ms: int | None


@dataclass(frozen=True, slots=True)
class _Case:
    records: tuple[InstanceRecord, ...]
    nodes: int
    first_leader: int
    begin_ms: int
    end_ms: int
    arrivals: tuple[_Arrival, ...]

    @classmethod
    def of(cls, records: Sequence[InstanceRecord]) -> _Case:
        clocked = tuple(record.by_the_clock() for record in records if record.entries)
        if not clocked:
            raise ValueError("nothing was recorded")
        begin_ms = min(record.entries[0].at_ms for record in clocked)
        end_ms = max(record.entries[-1].at_ms for record in clocked) - begin_ms
        first = clocked[0]
        arrivals = tuple(_arrivals(clocked, first.first_leader, begin_ms))
        return cls(clocked, first.nodes, first.first_leader, begin_ms, end_ms, arrivals)

    def place(self, validator: int) -> int:
        """Where a validator stands: the leader of round 1 at place 0."""
        return (validator - self.first_leader) % self.nodes

    @property
    def delays(self) -> list[int]:
        return sorted(a.delay_ms for a in self.arrivals if a.delay_ms is not None)

    @property
    def slow_ms(self) -> float:
        return max(SLOW_MS_MIN, SLOW_FACTOR * median(self.delays or [0]))

    @property
    def weather(self) -> Weather:
        """What most frames met."""
        usual = [delay for delay in self.delays if delay <= self.slow_ms]
        if not usual:
            return Weather()
        return Weather(delay_ms_min=max(1, usual[0]), delay_ms_max=max(2, usual[-1]))

    def asks(self) -> Iterator[Ask]:
        """When each node was given its input; where none was recorded, its leader asks at once."""
        asked = [
            Ask(entry.at_ms - self.begin_ms, self.place(record.validator), 0)
            for record in self.records
            for entry in record.inputs()
            if isinstance(entry.what, InputValue)
        ]
        yield from asked or [Ask(0, 0, 0)]

    def faults(self) -> Iterator[Fault]:
        """What kept the nodes apart, and who lied."""
        yield from self._links()
        yield from self._lives()
        yield from self._liars()

    def _links(self) -> Iterator[Fault]:
        lost: dict[tuple[int, int], list[int]] = defaultdict(list)
        for arrival in self.arrivals:
            if arrival.delay_ms is None:
                lost[arrival.source, arrival.target].append(arrival.sent_ms)
            elif arrival.delay_ms > self.slow_ms:
                yield SlowType(
                    arrival.source,
                    arrival.target,
                    int(arrival.type),
                    arrival.delay_ms,
                    arrival.sent_ms,
                    arrival.sent_ms + 1,
                )
        for (source, target), times in sorted(lost.items()):
            yield Cut((source,), (target,), min(times), max(times) + 1)

    def _lives(self) -> Iterator[Fault]:
        heard = {m.source for record in self.records for _, m in record.messages()}
        recorded = {record.validator for record in self.records}
        for validator in range(self.nodes):
            if validator not in heard | recorded:
                yield LateStart(self.place(validator), self.end_ms + REST_MS)
        for record in self.records:
            first = record.entries[0]
            if isinstance(first.what, Resumed) and first.at_ms > self.begin_ms:
                at_ms = first.at_ms - self.begin_ms
                yield Crash(self.place(record.validator), at_ms=max(0, at_ms - 1), down_ms=1)

    def _liars(self) -> Iterator[Liar]:
        """Who said two things of one round; no more of them than may be faulty."""
        said: dict[tuple[int, MessageType, int], set[object]] = defaultdict(set)
        for record in self.records:
            for entry, message in record.messages():
                if not entry.put_aside.startswith("bad_"):
                    said[message.source, message.type, message.round].add(message.value)
        doubled = {(key[0], key[1]) for key, values in said.items() if len(values) > 1}
        liars = sorted({source for source, _ in doubled})
        for source in liars[: (self.nodes - 1) // 3]:
            leads = (source, MessageType.PRE_PREPARE) in doubled
            yield Liar(self.place(source), "EquivocatingLeader" if leads else "SplitVoter")


def _arrivals(
    records: Sequence[InstanceRecord], first_leader: int, begin_ms: int
) -> Iterator[_Arrival]:
    """What became of each message between two nodes that were recorded."""
    sent = sent_times(records)
    for record in records:
        came = received(record)
        for key, at_ms in islice(sorted(sent.items()), MESSAGES_MAX):
            if key[0] == record.validator:
                continue
            entry = came.get(key)
            lasted = record.closed_ms is None or record.closed_ms >= at_ms
            if entry is None and not (lasted and record.is_whole):
                continue
            yield _Arrival(
                (key[0] - first_leader) % record.nodes,
                (record.validator - first_leader) % record.nodes,
                key[1],
                at_ms - begin_ms,
                None if entry is None else max(0, entry - at_ms),
            )


def _timer(records: Sequence[InstanceRecord]) -> Timer:
    """The timer that the recorded deadlines show; the simulator's own where none was recorded."""
    lasted: dict[int, int] = {}
    for record in records:
        for entry in record.entries:
            if isinstance(entry.what, TimerSet):
                lasted.setdefault(entry.what.round, entry.what.deadline_ms - entry.at_ms)
    first_ms = lasted.get(1, 0)
    if first_ms <= 0:
        return Timer()
    doubles = lasted.get(2, 2 * first_ms) >= DOUBLING_MIN * first_ms
    return Timer("exponential" if doubles else "linear", first_ms, 8 * first_ms)
