"""One run of the matrix: an instance of the shipped engine, in steps of 10 ms.

Only the steps in which something is due are looked at; the order of things within a step is the
one that MATRIX, section 2, states.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from qbft.core import (
    Broadcast,
    Decide,
    Definition,
    Effect,
    InputValue,
    Instance,
    Leader,
    Message,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
)
from qbft.sim.matrix.settings import Setting, policy_of
from qbft.timers import RoundTimer

STEP_MS = 10
"""The grain of time."""

END_MS = 12_000
"""When a run of the matrix that has not decided is given up."""

READY_MEAN_MS = (296 + 429 + 664) / 3
READY_DEVIATION_MS = (664 - 296) / 1.35
"""When a process has its input value: normal, as measured of beacon nodes (MATRIX, section 2)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """When and in which round the quorum-th process decided."""

    round: int
    at_ms: int


def run(setting: Setting, number: int, seed: int, end_ms: int = END_MS) -> Outcome | None:
    """Run instance `number` of a cell; None where no quorum of processes decided in time.

    Runs of the same number draw alike whatever their timer is: timers are compared in pairs.
    """
    return _Run(setting, number, seed).outcome(end_ms // STEP_MS)


def _step_of(time_ms: float) -> int:
    """The first step whose clock is not before this time."""
    return -int(-time_ms // STEP_MS)


class _Process:
    """One process: its engine, its timer, and what waits until it runs."""

    __slots__ = (
        "deadline", "engine", "held", "index", "latency_ms", "running", "starts", "timer",
        "value_comes",
    )  # fmt: skip

    def __init__(
        self, index: int, engine: Instance, timer: RoundTimer, *, eager: bool, ready_ms: float
    ) -> None:
        self.index = index
        self.engine = engine
        self.timer = timer
        self.latency_ms = 0
        self.running = False
        self.held: list[Message] = []
        self.value_comes = max(1, _step_of(ready_ms))
        self.starts = 1 if eager else self.value_comes
        self.deadline: int | None = None
        """The step in which the round timer is due."""


class _Run:
    """The state of one run: processes, messages on their way by the step they are due in."""

    def __init__(self, setting: Setting, number: int, seed: int) -> None:
        size, profile = setting.size, setting.profile
        policy = policy_of(setting.timer)
        nodes = size.nodes
        self._random = random = Random(  # noqa: S311 - a simulation, not a secret
            f"{seed}/{size.name}/{profile.name}/{number}"
        )
        self._deviation_ms = profile.deviations_ms[number % len(profile.deviations_ms)]
        definition = Definition(nodes, _leads_in_turn(nodes))
        down = {random.randrange(nodes) for _ in range(size.draws_down)}
        self._processes: list[_Process] = []
        for index in range(nodes):
            latency_ms = random.choice(profile.means_ms)
            ready_ms = max(0.0, random.gauss(READY_MEAN_MS, READY_DEVIATION_MS))
            if index not in down:
                engine = Instance(definition, number, index)
                process = _Process(index, engine, policy(), eager=policy.eager, ready_ms=ready_ms)
                process.latency_ms = latency_ms
                self._processes.append(process)
        self._missing = definition.quorum
        self._quorum_round = 0
        self._on_way: dict[int, list[tuple[_Process, Message]]] = {}
        self._steps: list[int] = []
        self._now = 0
        for process in self._processes:
            heappush(self._steps, process.starts)
            heappush(self._steps, process.value_comes)

    def outcome(self, end: int) -> Outcome | None:
        """Run until a quorum has decided: what others do later changes no figure."""
        steps = self._steps
        while steps:
            step = heappop(steps)
            if step > end:
                break
            if step == self._now:
                continue
            self._now = step
            self._one_step()
            if self._quorum_round:
                return Outcome(self._quorum_round, step * STEP_MS)
        return None

    def _one_step(self) -> None:
        """All that is due now."""
        now = self._now
        for process in self._processes:
            if not process.running and process.starts <= now:
                process.running = True
                self._give(process, Start())
                for message in process.held:
                    self._give(process, message)
            if process.value_comes == now:
                self._give(process, InputValue(process.index + 1))
            if process.deadline is not None and process.deadline <= now:
                process.deadline = None
                self._give(process, TimerExpired())
        for process, message in self._on_way.pop(now, ()):
            if process.running:
                self._give(process, message)
            else:
                process.held.append(message)

    def _give(self, process: _Process, input_: Message | Start | InputValue | TimerExpired) -> None:
        for effect in process.engine.step(input_):
            self._perform(process, effect)

    def _perform(self, process: _Process, effect: Effect) -> None:
        if isinstance(effect, Broadcast):
            self._broadcast(process, effect.message)
        elif isinstance(effect, StartTimer):
            now_ms = self._now * STEP_MS
            deadline = _step_of(process.timer.deadline_ms(effect.round, now_ms))
            process.deadline = max(self._now + 1, deadline)
            heappush(self._steps, process.deadline)
        elif isinstance(effect, StopTimer):
            process.deadline = None
        elif isinstance(effect, Decide):
            self._missing -= 1
            if self._missing == 0:
                self._quorum_round = effect.round

    def _broadcast(self, sender: _Process, message: Message) -> None:
        """Put a copy to each that is up on its way; the order of sending is kept within a step."""
        gauss, deviation_ms = self._random.gauss, self._deviation_ms
        now = self._now
        for process in self._processes:
            step = now + 1
            if process is not sender:
                step = max(step, now + _step_of(gauss(process.latency_ms, deviation_ms)))
            on_way = self._on_way.get(step)
            if on_way is None:
                on_way = self._on_way[step] = []
                heappush(self._steps, step)
            on_way.append((process, message))


def _leads_in_turn(nodes: int) -> Leader:
    """leader(instance, round) = (instance + round) mod n."""
    return lambda instance, round_: (instance + round_) % nodes  # type: ignore[operator]
