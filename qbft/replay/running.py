"""Running a record through the shipped engine again, step by step, and comparing.

The engine is deterministic (DESIGN, one step): given what it was given, it does what it did. Where
it does not, something is missing in the record, or the programs differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qbft.core import (
    Compared,
    Definition,
    Effect,
    Failed,
    InputValue,
    Instance,
    Message,
    Start,
    TimerExpired,
)
from qbft.replay.record import Entry, InstanceRecord, Resumed, lean


@dataclass(frozen=True, slots=True)
class Step:
    """One input of the engine: what it does now, and whether it did the same when it was recorded.

    `round` is the engine's before the step. `differs` is False where nothing was recorded of what
    it did. An entry that the engine was not given has no effects.
    """

    entry: Entry
    round: int
    effects: tuple[Effect, ...] = ()
    differs: bool = False


def replayed(record: InstanceRecord, *, compare: bool = True) -> Iterator[Step]:
    """Give the engine what it was given, in that order; with `compare`, as it was recorded.

    Entries that were put aside, and timers that were set, are passed on as they are.
    """
    definition = Definition(record.nodes, record.leader)
    engine = Instance(definition, record.instance, record.validator)
    has_begun = False
    for entry in record.entries:
        if not entry.is_input:
            yield Step(entry, engine.round)
            continue
        if not has_begun and not isinstance(entry.what, Start | Resumed):
            engine.step(Start())  # its beginning made way for later entries
        if has_begun and isinstance(entry.what, Start):
            engine = Instance(definition, record.instance, record.validator)  # opened once more
        has_begun = True
        before = engine.round
        if isinstance(entry.what, Resumed):
            engine, effects = _resume(definition, record, entry.what, engine)
        else:
            effects = _step(engine, entry)
        effects = lean(effects)
        differs = compare and effects != entry.effects
        yield Step(entry, before, effects, differs)


def _step(engine: Instance, entry: Entry) -> tuple[Effect, ...]:
    """Step as the service does: a bug ends the instance, and is told (DESIGN, errors)."""
    what = entry.what
    if not isinstance(what, Message | Start | InputValue | TimerExpired | Compared):
        raise TypeError(f"{what!r} is no input")
    try:
        return engine.step(what)
    except Exception as error:  # noqa: BLE001 - whatever a hostile file makes of the engine
        return (Failed(f"{type(error).__name__}: {error}"),)


def _resume(
    definition: Definition, record: InstanceRecord, what: Resumed, engine: Instance
) -> tuple[Instance, tuple[Effect, ...]]:
    try:
        return Instance.resume(
            definition, record.instance, record.validator, what.votes, what.input
        )
    except Exception as error:  # noqa: BLE001 - see `_step`
        return engine, (Failed(f"{type(error).__name__}: {error}"),)
