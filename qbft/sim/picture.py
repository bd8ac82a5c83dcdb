"""From a run's story to the events that a space-time diagram is drawn from (`qbft.diagram`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from qbft.core import InstanceId, Message
from qbft.diagram import events as drawn
from qbft.sim.byzantine import TWINS
from qbft.sim.chronicle import Event
from qbft.sim.plan import Liar, Plan

RENAMED = {
    "pauses": "stands still",
    "loses its disk": "loses its disk",
    "does not start": "does not start",
    "client asks": "input",
    "everything heals": "everything heals",
}


def diagram_events(plan: Plan, story: Sequence[Event], instance: InstanceId) -> list[drawn.Event]:
    """Give what a diagram of one instance shows of a run.

    Its nodes are the places; what a liar, or either of two twins, sends is marked as Byzantine.
    """
    liars = frozenset(names_of(plan))
    return [shown for event in story for shown in _shown(event, instance, liars)]


def names_of(plan: Plan) -> dict[int, str]:
    """Name the places where liars stand; the second of two twins has one of its own."""
    liars = sorted((f.place, f.behaviour) for f in plan.faults if isinstance(f, Liar))
    names = {place: f"node {place}, {behaviour}" for place, behaviour in liars}
    twins = [place for place, behaviour in liars if behaviour == TWINS]
    return names | {plan.nodes + i: f"node {place} again" for i, place in enumerate(twins)}


def _shown(event: Event, instance: InstanceId, liars: frozenset[int]) -> Iterator[drawn.Event]:
    at_ms, place = event.time_ms, event.place
    if event.kind == "sends":
        yield from _flights(event, instance, liars)
    elif event.kind == "starts":
        yield drawn.Started(at_ms, place)
    elif event.kind == "loses power":
        yield drawn.Crashed(at_ms, place)
    elif event.kind in RENAMED:
        node = None if event.kind == "everything heals" else place
        if event.kind != "client asks" or event.text == str(instance):
            yield drawn.Note(at_ms, RENAMED[event.kind], node)
    elif event.instance == instance:
        yield from _steps(event)


def _steps(event: Event) -> Iterator[drawn.Event]:
    """What the engine of a place does."""
    at_ms, place = event.time_ms, event.place
    if event.kind == "enters round":
        yield drawn.RoundEntered(at_ms, place, event.round, event.rule)
    elif event.kind == "timer starts" and event.deadline_ms is not None:
        yield drawn.TimerStarted(at_ms, place, event.round, event.deadline_ms)
    elif event.kind == "timer expires":
        yield drawn.TimerExpired(at_ms, place, event.round)
    elif event.kind == "decides":
        yield drawn.Decided(at_ms, place, event.round, event.value)


def _flights(
    event: Event, instance: InstanceId, liars: frozenset[int]
) -> Iterator[drawn.MessageFlight]:
    for vote in _of(event.votes, instance):
        lost = event.delay_ms is None
        yield drawn.MessageFlight(
            event.place,
            event.peer if event.peer is not None else event.place,
            vote.type,
            vote.round,
            event.time_ms,
            None if event.delay_ms is None else event.time_ms + event.delay_ms,
            short(vote.value if vote.value is not None else vote.prepared_value),
            lost=lost,
            byzantine=event.place in liars,
        )


def _of(votes: Iterable[Message], instance: InstanceId) -> Iterator[Message]:
    return (vote for vote in votes if vote.instance == instance)


def short(value: object) -> str:
    """A value in a few characters."""
    return value.hex()[:8] if isinstance(value, bytes) else ""
