"""One engine under the microscope: short words for messages, and for what an engine did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from scenario_cluster import rotating

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
    RuleFired,
    Start,
    StartTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    Value,
)

E = TypeVar("E")
INSTANCE = 0


def pre_prepare(source: int, round_: int, value: Value | None, *proof: Message) -> Message:
    """A PRE-PREPARE."""
    return Message(MessageType.PRE_PREPARE, INSTANCE, source, round_, value, justification=proof)


def prepare(source: int, round_: int, value: Value, *proof: Message) -> Message:
    """A PREPARE; an honest one carries nothing."""
    return Message(MessageType.PREPARE, INSTANCE, source, round_, value, justification=proof)


def prepares(sources: Sequence[int], round_: int, value: Value) -> tuple[Message, ...]:
    """PREPAREs of several sources."""
    return tuple(prepare(source, round_, value) for source in sources)


def commit(source: int, round_: int, value: Value, *proof: Message) -> Message:
    """A COMMIT; an honest one carries nothing."""
    return Message(MessageType.COMMIT, INSTANCE, source, round_, value, justification=proof)


def commits(sources: Sequence[int], round_: int, value: Value) -> tuple[Message, ...]:
    """COMMITs of several sources."""
    return tuple(commit(source, round_, value) for source in sources)


def round_change(
    source: int,
    round_: int,
    prepared_round: int = 0,
    prepared_value: Value | None = None,
    proof: Sequence[Message] = (),
) -> Message:
    """A ROUND-CHANGE, with nothing prepared unless said."""
    return Message(
        MessageType.ROUND_CHANGE,
        INSTANCE,
        source,
        round_,
        None,
        prepared_round,
        prepared_value,
        tuple(proof),
    )


def nulls(sources: Sequence[int], round_: int) -> tuple[Message, ...]:
    """ROUND-CHANGEs of several sources that have nothing prepared."""
    return tuple(round_change(source, round_) for source in sources)


def decided(source: int, round_: int, value: Value, *proof: Message) -> Message:
    """A DECIDED."""
    return Message(MessageType.DECIDED, INSTANCE, source, round_, value, justification=proof)


class Process:
    """An engine with its loopback: what it broadcasts it hears first, unless told otherwise.

    Process r - 1 leads round r, and so on around.
    """

    def __init__(
        self,
        index: int,
        *,
        nodes: int = 4,
        input_value: Value | None = None,
        loops_back: bool = True,
    ) -> None:
        self.engine = Instance(Definition(nodes, rotating(nodes)), INSTANCE, index)
        self.loops_back = loops_back
        self.take(Start())
        if input_value is not None:
            self.take(InputValue(input_value))

    def take(self, *inputs: Input) -> list[Effect]:
        """Step each input, own messages right after what sent them; give all effects."""
        effects: list[Effect] = []
        waiting = list(inputs)
        while waiting:
            seen = self.engine.step(waiting.pop(0))
            effects += seen
            if self.loops_back:
                waiting[:0] = sent(seen)
        return effects

    def time_out(self, times: int = 1) -> list[Effect]:
        """Let the round timer expire."""
        return self.take(*[TimerExpired()] * times)


def of(kind: type[E], effects: Sequence[Effect]) -> list[E]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def sent(effects: Sequence[Effect], type_: MessageType | None = None) -> list[Message]:
    """The messages broadcast, of one type or all."""
    messages = [effect.message for effect in of(Broadcast, effects)]
    return [each for each in messages if type_ is None or each.type is type_]


def fired(effects: Sequence[Effect]) -> list[UponRule]:
    """The rules that fired."""
    return [effect.rule for effect in of(RuleFired, effects)]


def unjustified(effects: Sequence[Effect]) -> list[Message]:
    """The messages dropped for want of justification."""
    return [effect.message for effect in of(Unjustified, effects)]


def timers(effects: Sequence[Effect]) -> list[int]:
    """The rounds whose timer was started."""
    return [effect.round for effect in of(StartTimer, effects)]


def moves(effects: Sequence[Effect]) -> list[int]:
    """The rounds entered."""
    return [effect.to_round for effect in of(RoundChanged, effects)]


def decisions(effects: Sequence[Effect]) -> list[Decide]:
    """The decision, if any."""
    return of(Decide, effects)


def sources(messages: Sequence[Message]) -> list[int]:
    """Who sent them."""
    return [message.source for message in messages]
