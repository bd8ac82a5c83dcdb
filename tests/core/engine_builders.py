"""Short words for what the engine's tests say: messages, engines, and what they did."""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import (
    Broadcast,
    Definition,
    Effect,
    Failed,
    Input,
    InputValue,
    Instance,
    Message,
    MessageType,
    RuleFired,
    Start,
    StartTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    Value,
)

INSTANCE = "test/1"
A, B, C = "a", "b", "c"
"""Values."""


def leader(_: object, round_: int) -> int:
    """Round 1 is led by validator 0, round 2 by validator 1, and so on; of four."""
    return (round_ - 1) % 4


def definition(nodes: int = 4, *, fifo: int = 100, compares: bool = False) -> Definition:
    """Four validators unless told."""
    return Definition(nodes, leader, fifo_messages_max=fifo, compares=compares)


def new(
    process: int = 3,
    *,
    nodes: int = 4,
    fifo: int = 100,
    compares: bool = False,
    input_: Value | None = None,
    round_: int = 1,
) -> Instance:
    """A started engine, moved to a round by its timer, and given an input there if told.

    Process 3 leads round 4 only, so it hears more than it says.
    """
    engine = Instance(definition(nodes, fifo=fifo, compares=compares), INSTANCE, process)
    engine.step(Start())
    for _ in range(1, round_):
        engine.step(TimerExpired())
    if input_ is not None:
        engine.step(InputValue(input_))
    return engine


# --- messages -------------------------------------------------------------------------------------


def propose(
    value: Value | None, round_: int = 1, just: Iterable[Message] = (), source: int | None = None
) -> Message:
    """A PRE-PREPARE of the round's leader, unless told."""
    by = leader(INSTANCE, round_) if source is None else source
    return Message(MessageType.PRE_PREPARE, INSTANCE, by, round_, value, justification=tuple(just))


def prepare(
    source: int, value: Value | None = A, round_: int = 1, just: Iterable[Message] = ()
) -> Message:
    """A PREPARE."""
    return Message(MessageType.PREPARE, INSTANCE, source, round_, value, justification=tuple(just))


def commit(
    source: int, value: Value | None = A, round_: int = 1, just: Iterable[Message] = ()
) -> Message:
    """A COMMIT."""
    return Message(MessageType.COMMIT, INSTANCE, source, round_, value, justification=tuple(just))


def change(
    source: int,
    round_: int = 2,
    pr: int = 0,
    pv: Value | None = None,
    just: Iterable[Message] = (),
) -> Message:
    """A ROUND-CHANGE; nothing prepared unless told."""
    return Message(MessageType.ROUND_CHANGE, INSTANCE, source, round_, None, pr, pv, tuple(just))


def decided(
    source: int, value: Value | None = A, round_: int = 1, just: Iterable[Message] = ()
) -> Message:
    """A DECIDED."""
    return Message(MessageType.DECIDED, INSTANCE, source, round_, value, justification=tuple(just))


def prepares(
    value: Value | None = A, round_: int = 1, sources: Iterable[int] = range(3)
) -> tuple[Message, ...]:
    """PREPAREs of a quorum of four, unless told."""
    return tuple(prepare(source, value, round_) for source in sources)


def commits(
    value: Value | None = A, round_: int = 1, sources: Iterable[int] = range(3)
) -> tuple[Message, ...]:
    """COMMITs of a quorum of four, unless told."""
    return tuple(commit(source, value, round_) for source in sources)


def changes(
    round_: int = 2,
    pr: int = 0,
    pv: Value | None = None,
    sources: Iterable[int] = range(3),
    just: Iterable[Message] = (),
) -> tuple[Message, ...]:
    """ROUND-CHANGEs of a quorum of four, unless told."""
    nested = tuple(just)
    return tuple(change(source, round_, pr, pv, nested) for source in sources)


def proven(source: int, round_: int = 2, pr: int = 1, pv: Value | None = A) -> Message:
    """A ROUND-CHANGE with the PREPAREs that prove what it has prepared."""
    return change(source, round_, pr, pv, prepares(pv, pr))


# --- what an engine did ---------------------------------------------------------------------------


def feed(engine: Instance, *inputs: Input) -> tuple[Effect, ...]:
    """Step through several inputs; all their effects."""
    return tuple(effect for input_ in inputs for effect in engine.step(input_))


def sent(effects: Iterable[Effect]) -> list[Message]:
    """The messages broadcast."""
    return [effect.message for effect in effects if isinstance(effect, Broadcast)]


def fired(effects: Iterable[Effect]) -> list[UponRule]:
    """The rules fired."""
    return [effect.rule for effect in effects if isinstance(effect, RuleFired)]


def timers(effects: Iterable[Effect]) -> list[int]:
    """The rounds for which a timer was started."""
    return [effect.round for effect in effects if isinstance(effect, StartTimer)]


def is_unjustified(effects: Iterable[Effect]) -> bool:
    """Whether a message was dropped for want of justification."""
    return any(isinstance(effect, Unjustified) for effect in effects)


def is_failed(effects: Iterable[Effect]) -> bool:
    """Whether the engine stopped for good."""
    return any(isinstance(effect, Failed) for effect in effects)
