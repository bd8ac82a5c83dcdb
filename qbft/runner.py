"""`run()`: one process's part in one instance, over any transport.

It is the replica's driver with one engine: no journal, and none of the replica's cures (held
messages, re-delivery, collector, re-sending, relay). What it shows is the bare algorithm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from functools import partial
from typing import Any

from qbft.core import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Definition,
    Effect,
    Failed,
    Input,
    InputValue,
    Instance,
    Message,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Value,
)
from qbft.crypto.certificate import Certificate
from qbft.decision import Decision
from qbft.errors import EngineFailed, QbftError, first_of
from qbft.replica.driver import Driver
from qbft.replica.turn import Turn, Work
from qbft.timers import RoundTimer
from qbft.transport import Frame, Transport

WAITING_INPUTS_MAX = 1_024
"""Inputs that wait for a turn; above it, and while a comparison is open, links are not read."""

Comparison = Callable[[Message], Awaitable[bool]]
"""Whether a PRE-PREPARE's value is the process's own view (REFERENCE rules 32 and 33)."""


async def run(
    definition: Definition,
    instance: Hashable,
    process: int,
    transport: Transport,
    *,
    timer: RoundTimer,
    input_value: Value | Awaitable[Value] | None = None,
    compare: Comparison | None = None,
    on_decision: Callable[[Decision], None] | None = None,
    observe: Callable[[Effect], None] | None = None,
) -> Decision:
    """Take part in one instance until it is decided.

    Args:
        definition: how many processes there are and who leads; its `compares` must match `compare`.
        instance: what is decided; messages of other instances are ignored.
        process: this process's index.
        transport: links to the others; its `Frame.votes` carry the messages, unsigned.
        timer: this instance's round timer.
        input_value: what to propose, or an awaitable that gives it later; None: nothing. A
            coroutine is run here and cancelled with the rest, or closed where `run` refuses its
            arguments; a future stays the caller's. Once the instance is decided it is not
            waited for any more.
        compare: the comparison hook, asynchronous and off by default.
        on_decision: where given, it is called with the decision and the process then goes on
            answering laggards (Algorithm 3:17) until the caller cancels it.
        observe: is shown every effect of the engine, in order.

    Raises:
        EngineFailed: the engine stopped: a None given as the late input, a nested justification.
        TransportError: the transport is gone.
        QbftError: anything else that failed, with its cause.
    """
    if definition.compares != (compare is not None):
        _close(input_value)
        raise QbftError("the definition's `compares` and the comparison hook must go together")
    machine = SoloInstance(
        definition, instance, process, timer=timer, compare=compare, observe=observe
    )
    driver = Driver(machine, transport)
    try:
        async with asyncio.TaskGroup() as tasks:
            driving = tasks.create_task(driver.run())
            giving: list[asyncio.Future[Any]] = []
            if isinstance(input_value, Awaitable):
                source = _future_of(input_value, tasks)
                giving.append(tasks.create_task(_give(machine, driver, source)))
                if source is not input_value:
                    giving.append(source)
            elif input_value is not None:
                machine.offer(InputValue(input_value))
            decision = await machine.decided
            for task in giving:
                task.cancel()
            if on_decision is not None:
                on_decision(decision)
                await asyncio.Event().wait()
            driving.cancel()
    except BaseExceptionGroup as group:
        if on_decision is None and machine.has_decided:
            return machine.decided.result()  # what broke after it takes nothing back
        error = first_of(group)
        if isinstance(error, QbftError):
            raise error from error.__cause__
        raise QbftError(f"run stopped: {error!r}") from error
    return decision


def _close(input_value: Value | Awaitable[Value] | None) -> None:
    """End a coroutine that was handed over, and that nobody else will ever await."""
    if isinstance(input_value, Coroutine):
        input_value.close()


def _future_of(input_value: Awaitable[Value], tasks: asyncio.TaskGroup) -> asyncio.Future[Value]:
    """A future stays the caller's; a coroutine is started here and now, so that it always ends."""
    if isinstance(input_value, asyncio.Future):
        return input_value
    if isinstance(input_value, Coroutine):
        return tasks.create_task(input_value)
    return tasks.create_task(_await(input_value))


async def _await(input_value: Awaitable[Value]) -> Value:
    return await input_value


async def _give(machine: SoloInstance, driver: Driver, source: asyncio.Future[Value]) -> None:
    """Hand over the late input; waiting for it does not own it, several processes may share it."""
    await asyncio.wait([source])
    if source.cancelled():
        raise QbftError("the input was cancelled before it came")
    machine.offer(InputValue(source.result()))
    driver.wake()


class SoloInstance:
    """The machine of `run()`: one engine, its timer, and the loopback of its own messages."""

    def __init__(
        self,
        definition: Definition,
        instance: Hashable,
        process: int,
        *,
        timer: RoundTimer,
        compare: Comparison | None,
        observe: Callable[[Effect], None] | None,
    ) -> None:
        self.decided: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._engine = Instance(definition, instance, process)
        self._instance = instance
        self._timer = timer
        self._compare = compare
        self._observe = observe
        self._deadline_ms: int | None = None
        self._comparing: Message | None = None
        self._comparison: asyncio.Task[None] | None = None
        self._inputs: deque[Input] = deque([Start()])
        self._decision: Decision | None = None
        self._votes: list[Message] = []
        self._work: list[Work] = []

    def offer(self, input_: Input) -> None:
        """Queue an input for the next turn."""
        self._inputs.append(input_)

    def receive(self, peer: int, frame: Frame, now_ms: int) -> None:
        """Queue the messages of this instance."""
        self._inputs.extend(vote for vote in frame.votes if vote.instance == self._instance)

    @property
    def is_saturated(self) -> bool:
        """While a comparison is open, or many messages wait, the rest waits at its links."""
        return self._comparing is not None or len(self._inputs) >= WAITING_INPUTS_MAX

    @property
    def has_decided(self) -> bool:
        """Whether `decided` has its result."""
        return self.decided.done() and not self.decided.cancelled()

    @property
    def linger_ms(self) -> int:
        """Never wait: one instance gains nothing by it."""
        return 0

    def link_up(self, peer: int, now_ms: int) -> None:
        """Ignore it: nothing is sent again here."""

    @property
    def next_due_ms(self) -> int | None:
        """When the round timer expires."""
        return self._deadline_ms

    def run_due(self, now_ms: int) -> None:
        """Step what is queued, then the timer if it is due.

        While a comparison is open every input but its verdict and the timer waits.
        """
        self._step_queued(now_ms)
        if self._deadline_ms is not None and self._deadline_ms <= now_ms:
            self._deadline_ms = None
            self._drop_comparison()
            self._step(TimerExpired(), now_ms)
            self._step_queued(now_ms)

    def end_turn(self, now_ms: int) -> Turn:
        """Give what was broadcast, in one frame."""
        turn = Turn(work=self._work)
        if self._votes:
            turn.frames.append((None, Frame(votes=tuple(self._votes))))
        self._votes, self._work = [], []
        return turn

    def turn_done(self, now_ms: int) -> None:
        """Tell of the decision, now that what led to it has been sent."""
        if self._decision is not None and not self.decided.done():
            self.decided.set_result(self._decision)

    def _step_queued(self, now_ms: int) -> None:
        while self._inputs and self._comparing is None:
            self._step(self._inputs.popleft(), now_ms)

    def _step(self, input_: Input, now_ms: int) -> None:
        """Step and perform; own messages are taken before others, as they were sent."""
        own: deque[Input] = deque([input_])
        while own:
            for effect in self._engine.step(own.popleft()):
                if self._observe is not None:
                    self._observe(effect)
                self._perform(effect, own, now_ms)
            if self._comparing is not None:
                self._inputs.extendleft(reversed(own))
                own.clear()

    def _perform(self, effect: Effect, own: deque[Input], now_ms: int) -> None:
        match effect:
            case Broadcast(message):
                self._votes.append(message)
                own.append(message)
            case StartTimer(round_):
                self._deadline_ms = self._timer.deadline_ms(round_, now_ms)
            case StopTimer():
                self._deadline_ms = None
            case Compare(message) if self._compare is not None:
                self._comparing = message
                self._work.append(partial(self._run_comparison, self._compare, message))
            case Decide(value, round_, commits):
                certificate = Certificate(self._instance, round_, value, commits)
                self._decision = Decision(value, certificate)
            case Failed(reason):
                raise EngineFailed(reason)
            case _:
                pass

    async def _run_comparison(self, compare: Comparison, message: Message) -> None:
        """Compare; what the round timer overtakes is cancelled, and its verdict is nobody's."""
        if self._comparing is not message:
            return
        self._comparison = asyncio.current_task()
        matches = await compare(message)
        if self._comparing is message:
            self._comparing = self._comparison = None
            self._inputs.appendleft(Compared(matches))

    def _drop_comparison(self) -> None:
        if self._comparison is not None:
            self._comparison.cancel()
        self._comparing = self._comparison = None
