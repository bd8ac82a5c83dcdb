"""What a run leaves behind: a story for people, counts of what it met, a digest to compare by."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

from qbft.core import InstanceId, Message, RoundChanged, RuleFired, StartTimer, UponRule, Value
from qbft.core.effects import Effect, Input
from qbft.decision import Decision
from qbft.replica.open_instance import OpenInstance
from qbft.sim.agenda import Agenda
from qbft.sim.oracle import brief
from qbft.transport import Frame


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people to read and for diagrams to draw."""

    time_ms: int
    kind: str
    place: int
    peer: int | None = None
    text: str = ""
    votes: tuple[Message, ...] = ()
    delay_ms: int | None = None
    """Of a frame sent: how long it takes; None: it is lost."""
    instance: InstanceId | None = None
    round: int = 0
    deadline_ms: int | None = None
    rule: UponRule | None = None
    value: str = ""
    """The first characters of the digest that was decided."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A correct node's decision, as it became durable."""

    place: int
    instance: InstanceId
    round: int
    value: Value
    time_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one run."""

    decided: int
    """Instances."""
    decisions: tuple[Decided, ...]
    """In order of time."""
    heal_ms: int
    """How long after healing it took until all had decided."""
    took_ms: int
    frames: int
    points: tuple[int, ...]
    """How often each place was at a crash point while faults lasted."""
    rules: Counter[str]
    happened: Counter[str]
    digest: str
    """Of everything that was journaled and sent, where that was asked for."""

    @property
    def rounds_max(self) -> int:
        """The highest round in which a node decided."""
        return max((decision.round for decision in self.decisions), default=0)


class Chronicle:
    """Keeps what a run was asked to keep; it is a bystander, the run is the same without it.

    `story` collects events, `traced` asks for the digest; both take time. `rules` counts the upon
    rules that fire, always.
    """

    def __init__(
        self, agenda: Agenda, rules: Counter[str], *, story: list[Event] | None, traced: bool
    ) -> None:
        self._agenda = agenda
        self._rules = rules
        self._story = story
        self._trace = hashlib.sha256() if traced else None

    @property
    def wants_frames(self) -> bool:
        """Whether it is worth showing it every frame."""
        return self._story is not None or self._trace is not None

    @property
    def digest(self) -> str:
        """Of all that was traced; empty where that was not asked for."""
        return self._trace.hexdigest() if self._trace is not None else ""

    def tell(self, kind: str, place: int, peer: int | None = None, text: str = "") -> None:
        """Note that something happened at a place."""
        if self._story is not None:
            self._story.append(Event(self._agenda.now_ms, kind, place, peer, text))
        self.trace(kind, place, peer, text)

    def trace(self, *happened: object) -> None:
        """Add what happened, and when, to the digest alone."""
        if self._trace is not None:
            self._trace.update(repr((self._agenda.now_ms, *happened)).encode())

    def sends(self, source: int, to: int, frame: Frame, delay_ms: int | None) -> int:
        """Note a copy of a frame that leaves, and how long it takes; None: it is lost.

        Gives its number in the story.
        """
        self.trace("sends", source, to, frame, delay_ms)
        if self._story is not None:
            votes = (*frame.votes, *frame.relayed)
            parts = [brief(vote) for vote in votes]
            parts += [f"certificate of {c.instance}" for c in frame.certificates]
            parts += [f"value for {p.instance}" for p in frame.proposals]
            text = "; ".join(parts)
            self._story.append(
                Event(self._agenda.now_ms, "sends", source, to, text, votes, delay_ms)
            )
            return len(self._story) - 1
        return -1

    def finds_nobody(self, number: int) -> None:
        """Note that a copy of a frame arrived at a node that was down: it is lost."""
        if self._story is not None:
            self._story[number] = replace(self._story[number], delay_ms=None)

    def decides(self, place: int, instance: InstanceId, decision: Decision) -> None:
        """Note a decision that is durable."""
        if self._story is None:
            return
        digest = decision.certificate.value
        self._story.append(
            Event(
                self._agenda.now_ms,
                "decides",
                place,
                text=f"{instance} in round {decision.round}: {decision.value!r}",
                instance=instance,
                round=decision.round,
                value=digest.hex()[:8] if isinstance(digest, bytes) else "",
            )
        )

    def steps(self, place: int, opened: OpenInstance, what: Effect | Input) -> None:
        """Note what an engine does: rules are counted, rounds and timers told."""
        if isinstance(what, RuleFired):
            self._rules[what.rule.value] += 1
            return
        if isinstance(what, RoundChanged) and what.rule is UponRule.ROUND_TIMEOUT:
            self._rules[what.rule.value] += 1
        if self._story is None:
            return
        event = Event(
            self._agenda.now_ms,
            "timer expires",
            place,
            instance=opened.instance,
            text=f"{opened.instance} round {opened.round}",
            round=opened.round,
        )
        if isinstance(what, RoundChanged):
            text = f"{opened.instance} round {what.to_round}: {what.rule.value}"
            event = replace(
                event, kind="enters round", text=text, round=what.to_round, rule=what.rule
            )
        elif isinstance(what, StartTimer):
            event = replace(event, kind="timer starts", deadline_ms=opened.deadline_ms)
        self._story.append(event)
