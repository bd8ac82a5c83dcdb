"""What happened, in a few words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from qbft.core import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Effect,
    Failed,
    InputValue,
    Message,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
)
from qbft.replay.drawing import short
from qbft.replay.record import Entry, Resumed, TimerSet


def entry_in_words(entry: Entry) -> str:
    """What an entry is about."""
    match entry.what:
        case Message() as message:
            return message_in_words(message)
        case Start():
            return "start"
        case InputValue(value):
            return f"input {short(value)}"
        case TimerExpired():
            return "timer expired"
        case Compared(matches):
            return f"compared: {'equal' if matches else 'different'}"
        case Resumed(votes, _):
            return f"resumed from {len(votes)} votes"
        case TimerSet(round_, deadline_ms):
            return f"timer of round {round_} runs for {deadline_ms - entry.at_ms} ms"
        case _:
            assert_never(entry.what)


def message_in_words(message: Message) -> str:
    """A message: its type, source, round and value, and what it nests."""
    name = message.type.name.replace("_", "-")
    words = f"{name} of {message.source}, round {message.round}"
    if message.value is not None:
        words += f", {short(message.value)}"
    if message.prepared_round:
        words += f", prepared {short(message.prepared_value)} in round {message.prepared_round}"
    if message.justification:
        words += f", nests {len(message.justification)}"
    return words


def effects_in_words(effects: Sequence[Effect]) -> list[str]:
    """What the engine did, in its order."""
    return [_effect(effect) for effect in effects]


def _effect(effect: Effect) -> str:
    match effect:
        case Broadcast(message):
            return f"says {message_in_words(message)}"
        case StartTimer(round_):
            return f"starts the timer of round {round_}"
        case StopTimer():
            return "stops the timer"
        case Compare():
            return "compares"
        case Decide(value, round_, _):
            return f"decides {short(value)} in round {round_}"
        case Failed(reason):
            return f"fails: {reason}"
        case RuleFired(rule, _):
            return f"rule {rule.value}"
        case RoundChanged(_, to_round, rule):
            return f"enters round {to_round}: {rule.value}"
        case Unjustified():
            return "unjustified, dropped"
        case _:
            assert_never(effect)
