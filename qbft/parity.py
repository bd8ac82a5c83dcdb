"""Replay recorded traces of the reference engine and compare, step by step (DESIGN, exactness).

`python -m qbft.parity FILE...` reads JSON Lines, plain or gzip. A trace is one engine's life: what
it was given, and all that the reference did about each input. The engine is exact where, at every
step of every trace, it does the same: messages sent, decision, rule fired, round changes, timers
started, messages dropped as unjustified.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, Self, assert_never

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qbft.core import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Definition,
    Effect,
    Failed,
    InputValue,
    Instance,
    Message,
    MessageType,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    Value,
)
from qbft.errors import QbftError

DIFFERENCES_MAX = 20
"""Differences that a report describes; all are counted."""

_GZIP_MAGIC = b"\x1f\x8b"


class TraceError(QbftError):
    """A file cannot be read, or a line of it is not a trace."""


# --- the format -----------------------------------------------------------------------------------


class _Record(BaseModel):
    """What all parts of a trace share: no key is unknown, for it would not be compared."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NestedRecord(_Record):
    """A message as it stands in a justification; 0 stands for no value and no round."""

    type: MessageType
    source: int
    round: int
    value: int
    pr: int
    pv: int

    def message(self, instance: int) -> Message:
        """The engine's form of it."""
        value, prepared_value = _value(self.value), _value(self.pv)
        return Message(self.type, instance, self.source, self.round, value, self.pr, prepared_value)


class MessageRecord(NestedRecord):
    """A message with its justification."""

    just: tuple[NestedRecord, ...] = ()

    def message(self, instance: int) -> Message:
        """The engine's form of it."""
        bare = NestedRecord.message(self, instance)
        if not self.just:
            return bare
        return replace(bare, justification=tuple(n.message(instance) for n in self.just))


class EventRecord(_Record):
    """One input of the recorded engine."""

    kind: Literal["start", "input", "recv", "timeout"]
    value: int | None = None
    msg: MessageRecord | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.msg is not None) != (self.kind == "recv"):
            raise ValueError("msg belongs to recv, and to no other kind")
        if (self.value is not None) != (self.kind == "input"):
            raise ValueError("value belongs to input, and to no other kind")
        return self


class DecideRecord(_Record):
    """The decision and the COMMITs it rests on."""

    value: int
    round: int
    qcommit: tuple[NestedRecord, ...]


class RoundChangeRecord(_Record):
    """One move to another round."""

    from_round: int = Field(alias="from")
    to: int
    rule: UponRule


class OutputRecord(_Record):
    """All that the recorded engine did on one input."""

    broadcast: tuple[MessageRecord, ...] = ()
    decide: DecideRecord | None = None
    rule: UponRule | None = None
    round_change: tuple[RoundChangeRecord, ...] = ()
    timer: tuple[int, ...] = ()
    unjust: bool = False


class Trace(_Record):
    """One engine's life: its definition, its inputs, and what the reference did on each.

    The comparison fails at once for the values of `reject`, never answers for those of `hang`, and
    succeeds at once for all others; without either it is off. What else a recorder notes of a trace
    is ignored.
    """

    model_config = ConfigDict(extra="ignore")

    nodes: int = Field(ge=1)
    fifo_limit: int = Field(ge=0)
    instance: int
    process: int
    reject: frozenset[int] = frozenset()
    hang: frozenset[int] = frozenset()
    events: tuple[EventRecord, ...]
    outputs: tuple[OutputRecord, ...]

    @model_validator(mode="after")
    def _has_an_output_for_each_event(self) -> Self:
        if len(self.events) != len(self.outputs):
            raise ValueError(f"{len(self.events)} events but {len(self.outputs)} outputs")
        return self

    @property
    def compares(self) -> bool:
        """Whether the comparison is on."""
        return bool(self.reject or self.hang)

    def definition(self) -> Definition:
        """The recorded engine's cluster."""
        nodes = self.nodes
        return Definition(
            nodes,
            lambda instance, round_: (instance + round_) % nodes,  # type: ignore[operator]
            fifo_messages_max=self.fifo_limit,
            compares=self.compares,
        )

    def engine(self) -> Instance:
        """A fresh engine, as the recorded one was."""
        return Instance(self.definition(), self.instance, self.process)

    def given(self, event: EventRecord) -> Message | Start | InputValue | TimerExpired:
        """The input that an event is to an engine."""
        if event.msg is not None:
            return event.msg.message(self.instance)
        if event.value is not None:
            return InputValue(_value(event.value))
        return Start() if event.kind == "start" else TimerExpired()

    def step(self, engine: Instance, event: EventRecord) -> tuple[Effect, ...]:
        """Give an engine one event, and the comparison's verdict where it is due at once."""
        effects = engine.step(self.given(event))
        if effects and isinstance(effects[-1], Compare):
            value = effects[-1].message.value
            if value not in self.hang:
                effects += engine.step(Compared(matches=value not in self.reject))
        return effects


def read_traces(path: Path) -> Iterator[tuple[int, Trace]]:
    """The traces of a file, plain or gzip, each with the number of its line.

    Raises:
        TraceError: the file cannot be read, a line is not a trace, or there is none.
    """
    number = traces = 0
    try:
        with path.open("rb") as plain:
            packed = plain.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
            for number, line in enumerate(gzip.open(plain) if packed else plain, 1):  # noqa: SIM115
                if line.strip():
                    yield number, Trace.model_validate_json(line)
                    traces += 1
    except ValidationError as error:
        raise TraceError(f"{path}: line {number} is not a trace: {_first(error)}") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read: {reason}") from None
    if not traces:
        raise TraceError(f"{path}: holds no trace")


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _value(number: int) -> Value | None:
    return number or None


# --- the comparison -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What an engine did on one input, in a form that two engines share.

    Justifications and COMMITs are sorted: their order is where the reference is nondeterministic
    (REFERENCE N2, N5).
    """

    broadcast: tuple[Message, ...] = ()
    decide: tuple[Value | None, int, tuple[Message, ...]] | None = None
    rule: tuple[UponRule, ...] = ()
    round_change: tuple[tuple[int, int, UponRule], ...] = ()
    timer: tuple[int, ...] = ()
    unjust: int = 0
    failed: str | None = None


def recorded(output: OutputRecord, instance: int) -> Outcome:
    """What the reference did."""
    decide = None
    if output.decide is not None:
        commits = _sorted(nested.message(instance) for nested in output.decide.qcommit)
        decide = (_value(output.decide.value), output.decide.round, commits)
    return Outcome(
        broadcast=tuple(_canonical(m.message(instance)) for m in output.broadcast),
        decide=decide,
        rule=(output.rule,) if output.rule else (),
        round_change=tuple((c.from_round, c.to, c.rule) for c in output.round_change),
        timer=output.timer,
        unjust=int(output.unjust),
    )


def observed(effects: Iterable[Effect]) -> Outcome:
    """What this engine did."""
    broadcast: list[Message] = []
    decide = None
    rules: list[UponRule] = []
    round_changes: list[tuple[int, int, UponRule]] = []
    timers: list[int] = []
    unjust = 0
    failed = None
    for effect in effects:
        match effect:
            case Broadcast(message):
                broadcast.append(_canonical(message))
            case Decide(value, round_, commits):
                decide = (value, round_, _sorted(commits))
            case RuleFired(rule, _):
                rules.append(rule)
            case RoundChanged(from_round, to_round, rule):
                round_changes.append((from_round, to_round, rule))
            case StartTimer(round_):
                timers.append(round_)
            case Unjustified():
                unjust += 1
            case Failed(reason):
                failed = reason
            case StopTimer() | Compare():
                pass
            case _:
                assert_never(effect)
    return Outcome(
        tuple(broadcast), decide, tuple(rules), tuple(round_changes), tuple(timers), unjust, failed
    )


def _canonical(message: Message) -> Message:
    if not message.justification:
        return message
    return replace(message, justification=_sorted(message.justification))


def _sorted(messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(sorted(messages, key=_order))


def _order(message: Message) -> tuple[object, ...]:
    value, prepared_value = message.value or 0, message.prepared_value or 0
    return (
        message.type, message.source, message.round, value, message.prepared_round, prepared_value
    )  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One step at which the engine did something else than the reference."""

    path: Path
    line: int
    step: int
    expected: Outcome
    actual: Outcome

    def __str__(self) -> str:
        parts = [
            f"{field.name} {_show(was)}, expected {_show(expected)}"
            for field in fields(Outcome)
            if (was := getattr(self.actual, field.name))
            != (expected := getattr(self.expected, field.name))
        ]
        return f"{self.path}: line {self.line}, event {self.step}: {'; '.join(parts)}"


def _show(part: object) -> str:
    match part:
        case Message():
            fields_ = f"{part.source} round {part.round} value {part.value}"
            prepared = f"({part.prepared_round}, {part.prepared_value})"
            nested = f" just {_show(part.justification)}" if part.justification else ""
            return f"{part.type.name} of {fields_} prepared {prepared}{nested}"
        case tuple():
            return f"[{', '.join(_show(item) for item in part)}]"
        case UponRule():
            return part.value
        case _:
            return str(part)


@dataclass(frozen=True)
class ParityReport:
    """How many traces and steps were replayed, and at how many steps the engine differed.

    `differences` describes the first of each trace, up to `DIFFERENCES_MAX`: what follows in the
    same trace is mostly its consequence.
    """

    traces: int
    steps: int
    mismatches: int
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return f"traces {self.traces} steps {self.steps} mismatches {self.mismatches}"


def replay(trace: Trace) -> Iterator[tuple[Outcome, Outcome]]:
    """What the reference did and what this engine does, at each step."""
    engine = trace.engine()
    for event, output in zip(trace.events, trace.outputs, strict=True):
        yield recorded(output, trace.instance), observed(trace.step(engine, event))


def replay_files(paths: Iterable[str | Path]) -> ParityReport:
    """Replay every trace of these files.

    Raises:
        TraceError: a file cannot be read, or is not of traces.
    """
    traces = steps = mismatches = 0
    differences: list[Difference] = []
    for path in map(Path, paths):
        for line, trace in read_traces(path):
            traces += 1
            steps += len(trace.events)
            wrong = [
                Difference(path, line, step, expected, actual)
                for step, (expected, actual) in enumerate(replay(trace))
                if expected != actual
            ]
            mismatches += len(wrong)
            if wrong and len(differences) < DIFFERENCES_MAX:
                differences.append(wrong[0])
    return ParityReport(traces, steps, mismatches, tuple(differences))


def main(argv: Sequence[str]) -> int:
    """Replay the files named; 0 where all is equal, 1 where not, 2 where a file is no good."""
    parser = argparse.ArgumentParser(
        prog="qbft parity", description="Replay traces of the reference engine and compare."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON Lines, plain or gzip")
    try:
        report = replay_files(parser.parse_args(argv).files)
    except TraceError as error:
        print(f"qbft parity: {error}", file=sys.stderr)
        return 2
    for difference in report.differences:
        print(difference)
    print(report)
    return 1 if report.mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
