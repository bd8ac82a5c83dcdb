"""From records to the events that a space-time diagram is drawn from (`qbft.diagram`).

A record knows when a message came, and not when it left; with the record of its sender beside it
both ends are known, and the arrow is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product

from qbft.core import Decide, InputValue, Message, MessageType, RoundChanged, Start, TimerExpired
from qbft.core.messages import Value
from qbft.diagram import events as drawn
from qbft.diagram import space_time_svg as drawn_svg
from qbft.diagram.drawing import FLIGHTS_MAX
from qbft.replay.record import Entry, InstanceRecord, Resumed, TimerSet
from qbft.replay.running import replayed

Key = tuple[int, MessageType, int, str]
"""Source, type, round and value: what a message is known by."""


def picture(records: Sequence[InstanceRecord]) -> str:
    """Draw what these nodes recorded of one instance, at least one of them, as SVG."""
    recorded = {record.validator for record in records}
    names = {
        node: f"node {node}" if node in recorded else f"node {node} (no record)"
        for node in range(records[0].nodes)
    }
    title = str(records[0].instance)
    return drawn_svg(diagram_events(records), title=title, names=names)


def diagram_events(records: Sequence[InstanceRecord]) -> list[drawn.Event]:
    """Give what a diagram of one instance shows, of all nodes that were recorded.

    Effects are those of the replay, so that a record without them is drawn too.
    """
    clocked = [record.by_the_clock() for record in records]
    sent = sent_times(clocked)
    events: list[drawn.Event] = []
    for record in clocked:
        events += _flights(record, sent)
        events += _steps(record)
    events += _unrecorded(clocked)
    return events


def sent_times(records: Iterable[InstanceRecord]) -> dict[Key, int]:
    """When each recorded node first said what it said."""
    sent: dict[Key, int] = {}
    for record in records:
        for entry, message in record.messages():
            if entry.sender == record.validator == message.source:
                sent.setdefault(key_of(message), entry.at_ms)
    return sent


def received(record: InstanceRecord) -> dict[Key, int]:
    """When the first copy of each message of another node came here."""
    came: dict[Key, int] = {}
    for entry, message in record.messages():
        if message.source != record.validator:
            came.setdefault(key_of(message), entry.at_ms)
    return came


def _flights(record: InstanceRecord, sent: dict[Key, int]) -> Iterator[drawn.MessageFlight]:
    """The first copy of each message that came here, from its source."""
    refused = {
        key_of(message)
        for entry, message in record.messages()
        if entry.put_aside.startswith("bad_")
    }
    for key, at_ms in received(record).items():
        source, kind, round_, value = key
        sent_ms = sent.get(key)
        if sent_ms is not None and sent_ms > at_ms:
            sent_ms = None  # clocks that differ: no arrow points back in time
        yield drawn.MessageFlight(
            source,
            record.validator,
            kind,
            round_,
            sent_ms,
            at_ms,
            value,
            byzantine=key in refused,
        )


def _unrecorded(records: Sequence[InstanceRecord]) -> Iterator[drawn.MessageFlight]:
    """What was said to nodes of which there is no record: only the beginning of each arrow."""
    known = {record.validator for record in records}
    others = [node for node in range(records[0].nodes) if node not in known]
    said = product(sent_times(records).items(), others)
    for ((source, kind, round_, value), at_ms), node in islice(said, FLIGHTS_MAX):
        yield drawn.MessageFlight(source, node, kind, round_, at_ms, None, value)


def _steps(record: InstanceRecord) -> Iterator[drawn.Event]:
    node = record.validator
    for step in replayed(record, compare=False):
        yield from _beginnings(step.entry, node, step.round)
        for effect in step.effects:
            if isinstance(effect, RoundChanged):
                yield drawn.RoundEntered(step.entry.at_ms, node, effect.to_round, effect.rule)
            elif isinstance(effect, Decide):
                yield drawn.Decided(step.entry.at_ms, node, effect.round, short(effect.value))


def _beginnings(entry: Entry, node: int, round_: int) -> Iterator[drawn.Event]:
    at_ms = entry.at_ms
    match entry.what:
        case Start():
            yield drawn.RoundEntered(at_ms, node, 1)
        case Resumed():
            yield drawn.Note(at_ms, "resumes", node)
        case InputValue():
            yield drawn.Note(at_ms, "input", node)
        case TimerSet(timer_round, deadline_ms):
            yield drawn.TimerStarted(at_ms, node, timer_round, deadline_ms)
        case TimerExpired():
            yield drawn.TimerExpired(at_ms, node, round_)
        case _:
            return


def key_of(message: Message) -> Key:
    """By what a message is known, whoever sent it on."""
    value = message.value if message.value is not None else message.prepared_value
    return message.source, message.type, message.round, short(value)


def short(value: Value | None) -> str:
    """A digest in a few characters."""
    return value.hex()[:8] if isinstance(value, bytes) else ""
