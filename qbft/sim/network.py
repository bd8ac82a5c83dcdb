"""A pretended network: what its weather and its faults do to the frames between places.

A validator stands at one place, a twin at two; what is sent to a validator goes to each of its
places. Loss without notice is worse than what a real link does, which tells when it comes back
(`qbft.transport`): the replica has to live with both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Protocol, TypeVar

from qbft.core import MessageType
from qbft.sim.agenda import Agenda
from qbft.sim.plan import Cut, Partition, SlowType, Weather
from qbft.transport import Frame

T = TypeVar("T")


class Receiver(Protocol):
    """What stands at a place, as the network sees it."""

    validator: int
    life: int

    @property
    def is_up(self) -> bool:
        """Whether frames can arrive."""
        ...

    def take(self, peer: int, frame: Frame) -> None:
        """Let a frame arrive."""
        ...

    def note_fresh(self, peer: int) -> None:
        """Let a link come up."""
        ...


class Watch(Protocol):
    """Is shown the frames: how long each copy takes, and at last which found nobody there."""

    def sends(self, source: int, to: int, frame: Frame, delay_ms: int | None) -> int:
        """Note a copy of a frame that leaves; give what to call it by."""
        ...

    def finds_nobody(self, number: int) -> None:
        """Note that this copy arrived at a node that was down."""
        ...


class Network:
    """Carries frames between places; delivers nothing to a node that is down."""

    def __init__(
        self, agenda: Agenda, random: Random, weather: Weather, happened: Counter[str]
    ) -> None:
        self.weather = weather
        self.watch: Watch | None = None
        """Is shown every copy that leaves: from, to, frame, its delay in ms or None if lost."""
        self.frames = 0
        self._agenda = agenda
        self._random = random.random
        self._happened = happened
        self._receivers: list[Receiver] = []
        self._places: list[list[int]] = []
        self._cuts: list[frozenset[tuple[int, int]]] = []
        self._slow: list[SlowType] = []
        self._is_healed = False

    def settle(self, receivers: Sequence[Receiver], validators: int) -> None:
        """Say who stands where; a receiver's index is its place."""
        self._receivers = list(receivers)
        self._places = [
            [place for place, r in enumerate(receivers) if r.validator == validator]
            for validator in range(validators)
        ]

    def add(self, fault: Cut | Partition | SlowType) -> None:
        """Have a fault begin and end at its times."""
        if isinstance(fault, SlowType):
            self._agenda.at(fault.start_ms, self._begin, self._slow, fault)
            self._agenda.at(fault.end_ms, self._quicken, fault)
            return
        cut = self._links_of(fault)
        self._agenda.at(fault.start_ms, self._begin, self._cuts, cut)
        self._agenda.at(fault.end_ms, self._mend, cut, fault.told)

    def _begin(self, faults: list[T], fault: T) -> None:
        if not self._is_healed:
            faults.append(fault)

    def _links_of(self, fault: Cut | Partition) -> frozenset[tuple[int, int]]:
        """The (from, to) that a fault cuts."""
        if isinstance(fault, Cut):
            return frozenset((s, t) for s in fault.sources for t in fault.targets if s != t)
        places = range(len(self._receivers))
        group_of = {place: number for number, g in enumerate(fault.groups) for place in g}
        return frozenset(
            (s, t)
            for s in places
            for t in places
            if s != t and (group_of.get(s, -1 - s) != group_of.get(t, -1 - t))
        )

    def _mend(self, cut: frozenset[tuple[int, int]], told: bool) -> None:
        if cut in self._cuts:  # else all has been healed
            self._cuts.remove(cut)
        if told:
            self._tell(sorted(cut))

    def _quicken(self, slow: SlowType) -> None:
        if slow in self._slow:
            self._slow.remove(slow)

    def _tell(self, links: Iterable[tuple[int, int]]) -> None:
        """Let both ends of links know that they are up."""
        for source, target in links:
            one, other = self._receivers[source], self._receivers[target]
            if one.is_up and other.is_up and one.validator != other.validator:
                one.note_fresh(other.validator)
                other.note_fresh(one.validator)

    def connect(self, place: int) -> None:
        """Bring the links of a node up that has just started."""
        self._tell((place, other) for other in range(len(self._receivers)) if other != place)

    def heal(self) -> None:
        """End all faults at once, and have fine weather."""
        self._is_healed = True
        self.weather = Weather()
        self._cuts.clear()
        self._slow.clear()

    def carry(self, source: int, validator: int, frame: Frame, extra_ms: int = 0) -> None:
        """Deliver a frame later, perhaps twice, perhaps never."""
        for target in self._places[validator]:
            self._carry(source, target, frame, extra_ms)

    def _carry(self, source: int, target: int, frame: Frame, extra_ms: int) -> None:
        self.frames += 1
        weather = self.weather
        random = self._random
        if self._cuts and any((source, target) in cut for cut in self._cuts):
            self._happened["frame cut off"] += 1
            self._lose(source, target, frame)
            return
        if weather.loss and random() < weather.loss:
            self._happened["frame lost"] += 1
            self._lose(source, target, frame)
            return
        copies = 1
        if weather.duplication and random() < weather.duplication:
            self._happened["frame duplicated"] += 1
            copies = 2
        receiver = self._receivers[target]
        span_ms = weather.delay_ms_max - weather.delay_ms_min
        for _ in range(copies):
            delay_ms = weather.delay_ms_min + int(random() * (span_ms + 1))
            if weather.tail and random() < weather.tail:
                self._happened["frame held up"] += 1
                delay_ms *= 1 + int(random() * 9)
            if self._slow:
                delay_ms += self._slowness(source, target, frame)
            delay_ms += extra_ms
            number = -1
            if self.watch is not None:
                number = self.watch.sends(source, target, frame, delay_ms)
            life = receiver.life
            self._agenda.after(delay_ms, self._arrive, receiver, life, source, frame, number)

    def _lose(self, source: int, target: int, frame: Frame) -> None:
        if self.watch is not None:
            self.watch.sends(source, target, frame, None)

    def _slowness(self, source: int, target: int, frame: Frame) -> int:
        return sum(
            slow.delay_ms
            for slow in self._slow
            if (slow.source, slow.target) == (source, target)
            and any(vote.type is MessageType(slow.type) for vote in (*frame.votes, *frame.relayed))
        )

    def _arrive(
        self, receiver: Receiver, life: int, source: int, frame: Frame, number: int
    ) -> None:
        if receiver.is_up and receiver.life == life:
            receiver.take(self._receivers[source].validator, frame)
        elif self.watch is not None:
            self.watch.finds_nobody(number)
