"""Events of instances to draw, made by the shipped engine under an equivocating leader."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random

from qbft.core import (
    Broadcast,
    Decide,
    Definition,
    Effect,
    Input,
    InputValue,
    Instance,
    Message,
    MessageType,
    RoundChanged,
    Start,
    StartTimer,
)
from qbft.core import TimerExpired as Expired
from qbft.diagram import (
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
from qbft.timers import exponential

NODES = 4
LIAR = 0
TWO_VALUES = {1: "A", 2: "B", 3: "B"}
"""What the liar, leader of round 1, proposes to whom."""


class Story:
    """Three engines and a liar; one engine crashes and comes back with what it was."""

    def __init__(self, seed: int, loss: float) -> None:
        self.events: list[Event] = []
        self._random = Random(seed)
        self._loss = loss
        self._agenda: list[tuple[int, int, int, Input | str]] = []
        self._order = count()
        definition = Definition(NODES, lambda _, round_: (round_ - 1) % NODES)
        self._engines = {i: Instance(definition, "story", i) for i in range(1, NODES)}
        self._timers = {i: exponential(400)() for i in self._engines}
        self._deadlines: dict[int, int] = {}
        self._down: set[int] = set()
        for node in self._engines:
            self._at(0, node, Start())
            self._at(0, node, InputValue(f"of {node}"))
        for target, value in TWO_VALUES.items():
            lie = Message(MessageType.PRE_PREPARE, "story", LIAR, 1, value)
            self._send(5, target, lie, byzantine=True)

    def crash(self, node: int, at_ms: int, back_ms: int) -> None:
        """Plan a crash."""
        self._at(at_ms, node, "crash")
        self._at(back_ms, node, "start")

    def _at(self, at_ms: int, node: int, what: Input | str) -> None:
        heappush(self._agenda, (at_ms, next(self._order), node, what))

    def _send(self, now: int, target: int, message: Message, *, byzantine: bool = False) -> None:
        arrives = now + self._random.randint(40, 90) if target != message.source else now + 1
        lost = target != message.source and self._random.random() < self._loss
        value = str(message.value) if message.value is not None else ""
        there = None if lost else arrives
        self.events.append(
            MessageFlight(
                message.source, target, message.type, message.round, now, there,
                value, lost=lost, byzantine=byzantine,
            )
        )  # fmt: skip
        if not lost and target != LIAR:
            self._at(arrives, target, message)

    def tell(self) -> list[Event]:
        """Run until all engines have decided."""
        while self._agenda and any(e.decision is None for e in self._engines.values()):
            now, _, node, what = heappop(self._agenda)
            if what == "crash":
                self._down.add(node)
                self.events.append(Crashed(now, node))
            elif what == "start":
                self._down.discard(node)
                self.events.append(Started(now, node))
                self._at(max(now, self._deadlines[node]), node, Expired())
            elif node not in self._down and not isinstance(what, str):
                self._give(now, node, what)
        return self.events

    def _give(self, now: int, node: int, what: Input) -> None:
        engine = self._engines[node]
        if isinstance(what, Expired):
            if self._deadlines[node] > now or engine.decision is not None:
                return
            self.events.append(TimerExpired(now, node, engine.round))
        if isinstance(what, Start):
            self.events.append(RoundEntered(now, node, 1))
        for effect in engine.step(what):
            self._perform(now, node, effect)

    def _perform(self, now: int, node: int, effect: Effect) -> None:
        match effect:
            case Broadcast(message):
                for target in range(NODES):
                    self._send(now, target, message)
            case StartTimer(round_):
                deadline = self._timers[node].deadline_ms(round_, now)
                self._deadlines[node] = deadline
                self.events.append(TimerStarted(now, node, round_, deadline))
                self._at(max(now, deadline), node, Expired())
            case RoundChanged(_, to_round, rule):
                self.events.append(RoundEntered(now, node, to_round, rule))
            case Decide(value, round_, _):
                self.events.append(Decided(now, node, round_, str(value)))
            case _:
                pass


def equivocation(seed: int = 2) -> list[Event]:
    """A leader that says A and B, a crash, some loss; decided in a later round."""
    story = Story(seed, 0.06)
    story.crash(3, 150, 700)
    return [*story.tell(), Note(330, "network heals")]


def calm() -> list[Event]:
    """Nothing goes wrong: one round of four honest nodes, ideal delays, from a leader on."""
    events: list[Event] = [RoundEntered(0, node, 1) for node in range(4)]
    events += [TimerStarted(0, node, 1, 1_000) for node in range(4)]
    kinds = (MessageType.PRE_PREPARE, MessageType.PREPARE, MessageType.COMMIT)
    for step, kind in enumerate(kinds):
        sources = (0,) if kind is MessageType.PRE_PREPARE else range(4)
        events += [
            MessageFlight(s, t, kind, 1, step * 50, step * 50 + 40 + s + t, "A")
            for s in sources
            for t in range(4)
        ]
    events += [Decided(150 + node, node, 1, "A") for node in range(4)]
    return events
