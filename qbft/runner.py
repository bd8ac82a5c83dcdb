"""`run()`: one process's part in one instance, over any transport.

It is the replica's driver with one engine: no journal, and none of the replica's cures (held
messages, re-delivery, collector, re-sending, relay). What it shows is the bare algorithm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
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
from qbft.replica.turn import Turn
from qbft.timers import RoundTimer
from qbft.transport import Frame, Transport

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
        input_value: what to propose, or an awaitable that gives it later; None: nothing.
        compare: the comparison hook, asynchronous and off by default.
        on_decision: where given, it is called with the decision and the process then goes on
            answering laggards (Algorithm 3:17) until the caller cancels it.
        observe: is shown every effect of the engine, in order.

    Raises:
        EngineFailed: the engine stopped, for instance at a None given as the late input.
        TransportError: the transport is gone.
        QbftError: anything else that failed, with its cause.
    """
    if definition.compares != (compare is not None):
        raise QbftError("the definition's `compares` and the comparison hook must go together")
    machine = SoloInstance(
        definition, instance, process, timer=timer, compare=compare, observe=observe
    )
    driver = Driver(machine, transport)
    try:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(driver.run())]
            if input_value is not None:
                started.append(tasks.create_task(_give(machine, driver, input_value)))
            decision = await machine.decided
            if on_decision is not None:
                on_decision(decision)
                await asyncio.Event().wait()
            for task in started:
                task.cancel()
    except BaseExceptionGroup as group:
        raise _as_qbft_error(group) from group
    return decision


async def _give(
    machine: SoloInstance, driver: Driver, input_value: Value | Awaitable[Value]
) -> None:
    value = await input_value if isinstance(input_value, Awaitable) else input_value
    machine.offer(InputValue(value))
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
        self._inputs: deque[Input] = deque([Start()])
        self._decision: Decision | None = None
        self._votes: list[Message] = []
        self._work: list[Coroutine[Any, Any, None]] = []

    def offer(self, input_: Input) -> None:
        """Queue an input for the next turn."""
        self._inputs.append(input_)

    def receive(self, peer: int, frame: Frame, now_ms: int) -> None:
        """Queue the messages of this instance."""
        self._inputs.extend(vote for vote in frame.votes if vote.instance == self._instance)

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
            self._comparing = None
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
                self._work.append(self._run_comparison(self._compare, message))
            case Decide(value, round_, commits):
                certificate = Certificate(self._instance, round_, value, commits)
                self._decision = Decision(value, certificate)
            case Failed(reason):
                raise EngineFailed(reason)
            case _:
                pass

    async def _run_comparison(self, compare: Comparison, message: Message) -> None:
        """Compare; a verdict that comes after the round timer is nobody's."""
        matches = await compare(message)
        if self._comparing is message:
            self._comparing = None
            self._inputs.appendleft(Compared(matches))


def _as_qbft_error(group: BaseExceptionGroup[BaseException]) -> QbftError:
    first = first_of(group)
    return first if isinstance(first, QbftError) else QbftError(f"run stopped: {first!r}")
