"""Clusters of `run()` processes over an in-memory network that the test makes worse.

All mischief is the network's: it delays, loses, duplicates and forges messages; the processes are
the shipped ones. Everything random comes from one seed, everything waits on the virtual clock.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from qbft.core import Definition, Effect, Leader, Message, MessageType, RoundChanged, Value
from qbft.decision import Decision
from qbft.memory import MemoryNetwork, MemoryTransport
from qbft.runner import run
from qbft.timers import TimerPolicy, restarting_exponential
from qbft.transport import Batch, Frame

SEEDS = 200
"""Seeds of each scenario that has anything random in it."""


HORIZON_SECONDS = 10_000
"""Rounds never end by themselves; a run that waits in vain does, on the virtual clock."""


async def for_seeds(scenario: Callable[[int], Awaitable[object]], count: int = SEEDS) -> int:
    """Play a scenario with each seed, or `QBFT_SEED` alone; give how many were played.

    A failure says how to replay it.
    """
    chosen = os.environ.get("QBFT_SEED")
    seeds = range(count) if chosen is None else [int(chosen)]
    for seed in seeds:
        try:
            await scenario(seed)
        except BaseException as error:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)")
            error.add_note(f"replay: QBFT_SEED={seed} pytest '{test}'")
            raise
    return len(seeds)


def rotating(nodes: int) -> Leader:
    """Process 0 leads round 1, the next one round 2, and so on; a later instance begins later."""
    return lambda instance, round_: (instance + round_ - 1) % nodes  # type: ignore[operator]


def drops_nothing(source: int, to: int, message: Message) -> bool:
    """The network that loses nothing on purpose."""
    return False


def drops(type_: MessageType, *rounds: int) -> Callable[[int, int, Message], bool]:
    """Make the network lose every message of one type in some rounds."""
    return lambda source, to, message: message.type is type_ and message.round in rounds


@dataclass(frozen=True)
class Plot:
    """What a run is made of; times are milliseconds from its start."""

    nodes: int = 4
    leader: Leader | None = None
    """None: `rotating`."""
    processes: tuple[int, ...] | None = None
    """Those that run; the rest of `nodes` is silent, or the test's own hand. None: all."""
    instance: Hashable = 0
    timer: TimerPolicy = field(default_factory=lambda: restarting_exponential(1_000))
    inputs: Mapping[int, Value] | None = None
    """Values by process; None: each proposes its own index."""
    input_ms: Mapping[int, int] = field(default_factory=dict)
    """Inputs that come later; the others are there at the start."""
    start_ms: Mapping[int, int] = field(default_factory=dict)
    """Processes that start later; what arrives before is lost."""
    broadcast_delay_ms: tuple[int, int] = (0, 0)
    """Delay of a broadcast, the same for all its receivers."""
    copy_delay_ms: tuple[int, int] = (0, 0)
    """Delay of each copy, by which copies overtake each other."""
    loss: float = 0.0
    duplication: float = 0.1
    drops: Callable[[int, int, Message], bool] = drops_nothing
    """drops(source, to, message): what never arrives."""
    local_values: Mapping[int, Value] | None = None
    """Where given, each process compares a leader's value with its own (REFERENCE rule 32)."""
    rounds_max: int = 50
    """A process that enters the round after it ends the run."""


class Stage:
    """A run in progress: what happened so far, and the network's voice."""

    def __init__(self, plot: Plot, seed: int) -> None:
        self.plot = plot
        self.random = Random(seed)
        self.processes = plot.processes or tuple(range(plot.nodes))
        self.definition = Definition(
            plot.nodes,
            plot.leader or rotating(plot.nodes),
            compares=plot.local_values is not None,
        )
        self.effects: dict[int, list[Effect]] = {process: [] for process in self.processes}
        self.rounds = dict.fromkeys(self.processes, 1)
        self.decisions: dict[int, Decision] = {}
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._everyone = range(max(plot.nodes, *self.processes) + 1)
        self._network = MemoryNetwork(len(self._everyone))
        self._away = set(plot.start_ms)

    @property
    def now_ms(self) -> float:
        """Milliseconds since the run began."""
        return (self._loop.time() - self._began) * 1000

    async def reach_ms(self, at_ms: float) -> None:
        """Wait for a moment of the run."""
        await asyncio.sleep((at_ms - self.now_ms) / 1000)

    def say(self, source: int, to: int, message: Message) -> None:
        """Deliver a message at once, whoever it claims to be from."""
        if to not in self._away:
            self._network.carry(source, to, Frame(votes=(message,)))

    def end_of_links(self, process: int) -> MemoryTransport:
        """The links of a process that does not run: the test may listen there."""
        return self._network.transport(process)

    def broadcast(self, source: int, message: Message) -> None:
        """Bring a message to everybody else, the plot's way."""
        delay_ms = self._draw(self.plot.broadcast_delay_ms)
        if delay_ms:
            self._loop.call_later(delay_ms / 1000, self._spread, source, message)
        else:
            self._spread(source, message)

    def _spread(self, source: int, message: Message) -> None:
        plot, random = self.plot, self.random
        for to in random.sample(self._everyone, len(self._everyone)):
            if to == source or plot.drops(source, to, message) or random.random() < plot.loss:
                continue
            for _ in range(2 if random.random() < plot.duplication else 1):
                delay_ms = self._draw(plot.copy_delay_ms)
                if delay_ms:
                    self._loop.call_later(delay_ms / 1000, self.say, source, to, message)
                else:
                    self.say(source, to, message)

    def _draw(self, span_ms: tuple[int, int]) -> float:
        return self.random.uniform(*span_ms) if span_ms[1] else 0.0

    async def live(self, process: int) -> None:
        """Be one process, until cancelled."""
        plot = self.plot
        await self.reach_ms(plot.start_ms.get(process, 0))
        self._away.discard(process)
        await run(
            self.definition,
            plot.instance,
            process,
            _Links(self, process),
            timer=plot.timer(),
            input_value=self._input(process),
            compare=self._comparison(process),
            on_decision=lambda decision: self._note_decision(process, decision),
            observe=lambda effect: self._note_effect(process, effect),
        )

    def _input(self, process: int) -> Value | Awaitable[Value] | None:
        inputs, at_ms = self.plot.inputs, self.plot.input_ms.get(process, 0)
        value = process if inputs is None else inputs.get(process)
        return self._later(value, at_ms) if at_ms else value

    async def _later(self, value: Value, at_ms: int) -> Value:
        await self.reach_ms(at_ms)
        return value

    def _comparison(self, process: int) -> Callable[[Message], Awaitable[bool]] | None:
        if self.plot.local_values is None:
            return None
        own = self.plot.local_values[process]

        async def compare(message: Message) -> bool:
            return message.value == own

        return compare

    def _note_decision(self, process: int, decision: Decision) -> None:
        self.decisions[process] = decision
        assert len({each.value for each in self.decisions.values()}) == 1, self.decisions
        if len(self.decisions) == len(self.processes):
            self.ended.set()

    def _note_effect(self, process: int, effect: Effect) -> None:
        self.effects[process].append(effect)
        if isinstance(effect, RoundChanged):
            self.rounds[process] = effect.to_round
            if effect.to_round > self.plot.rounds_max:
                self.ended.set()

    @property
    def has_decided(self) -> bool:
        """Whether every process has decided."""
        return len(self.decisions) == len(self.processes)

    @property
    def outcome(self) -> tuple[set[int], set[Value]]:
        """The rounds and the values that were decided, of everybody.

        Raises:
            AssertionError: somebody has not decided.
        """
        assert self.has_decided, f"undecided in rounds {self.rounds}"
        decided = self.decisions.values()
        return {each.round for each in decided}, {each.value for each in decided}


class _Links:
    """A process's transport: it sends through the stage and receives from the memory network."""

    def __init__(self, stage: Stage, process: int) -> None:
        self._stage = stage
        self._process = process

    async def send(self, frame: Frame, to: int | None = None) -> None:
        for message in frame.votes:
            self._stage.broadcast(self._process, message)

    async def receive(self) -> Batch:
        return await self._stage.end_of_links(self._process).receive()


@asynccontextmanager
async def staged(plot: Plot, seed: int = 0) -> AsyncIterator[Stage]:
    """A cluster that runs while the block lasts; agreement is asserted throughout."""
    stage = Stage(plot, seed)
    async with asyncio.timeout(HORIZON_SECONDS), asyncio.TaskGroup() as tasks:
        lives = [tasks.create_task(stage.live(process)) for process in stage.processes]
        try:
            yield stage
        finally:
            for life in lives:
                life.cancel()


async def play(plot: Plot, seed: int) -> Stage:
    """Run until everybody has decided, or somebody has gone past the last round."""
    async with staged(plot, seed) as stage:
        await stage.ended.wait()
    return stage
