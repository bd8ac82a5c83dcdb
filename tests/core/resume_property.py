"""Engines cut down anywhere in a recorded life and resumed, watched by the oracle (HARDENING W5).

`python tests/core/resume_property.py` tries every cut of every trace that qualifies; the test suite
tries a seeded sample. With `--drop` a trace does not end at what could not have happened: that is
lost, and the life goes on without it.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qbft.core import (
    Broadcast,
    Effect,
    InputValue,
    Instance,
    Message,
    MessageType,
    OwnVote,
    Start,
    TimerExpired,
    Value,
)
from qbft.parity import Trace, read_traces
from qbft.replica.guard import VoteGuard
from qbft.replica.own_votes import VoteRounds
from qbft.sim.oracle import Oracle, Violation
from qbft.wire.shape import check_shape

RECORDED = Path(__file__).parents[1] / "parity" / "reference-traces.jsonl.gz"

Given = Message | Start | InputValue | TimerExpired


@dataclass(frozen=True)
class Life:
    """The part of a trace that could have happened to an honest node behind the gate.

    `votes` says, for each event, which own votes it led to.
    """

    trace: Trace
    events: tuple[Given, ...]
    votes: tuple[tuple[OwnVote, ...], ...]


def qualifying(paths: Iterable[Path], *, drop: bool = False) -> Iterator[Life]:
    """The recorded lives with the comparison off, as far as they could have happened."""
    for path in paths:
        for _, trace in read_traces(path):
            if not trace.compares:
                yield possible(trace, drop=drop)


def possible(trace: Trace, *, drop: bool) -> Life:
    """Up to the first message that the gate refuses or that is or carries an own vote never cast.

    With `drop` all but such messages.
    """
    definition, engine = trace.definition(), trace.engine()
    cast: set[Message] = set()
    events: list[Given] = []
    votes: list[tuple[OwnVote, ...]] = []
    for event in trace.events:
        given = trace.given(event)
        if isinstance(given, Message) and (
            check_shape(given, trace.nodes, definition.quorum)
            or not _exists(given, trace.process, cast)
        ):
            if drop:
                continue
            break
        led_to = tuple(own_votes(engine, engine.step(given)))
        cast |= {own.vote.stripped() for own in led_to}
        events.append(given)
        votes.append(led_to)
    return Life(trace, tuple(events), tuple(votes))


def is_vote(message: Message) -> bool:
    """Whether it is signed and journaled: a DECIDED is a certificate, not a vote."""
    return message.type is not MessageType.DECIDED


def own_votes(engine: Instance, effects: Iterable[Effect]) -> Iterator[OwnVote]:
    """The votes among what an engine says, with the PREPAREs that a COMMIT rests on (W1)."""
    for effect in effects:
        if isinstance(effect, Broadcast) and is_vote(effect.message):
            vote = effect.message
            commits = vote.type is MessageType.COMMIT
            yield OwnVote(vote, engine.prepared_justification if commits else ())


class Witness:
    """What a node's guard and the oracle think of its votes, before the cut and after it.

    The guard of the life after the cut knows only the `kept` of those before.
    """

    def __init__(self, trace: Trace, before: Iterable[OwnVote], kept: Iterable[OwnVote]) -> None:
        self._oracle = Oracle(trace.nodes, [trace.process])
        self._guard = VoteGuard()
        self.votes = 0
        for own in before:
            self.signed(own.vote)
        self._guard = VoteGuard(own.vote for own in kept)

    def signed(self, vote: Message) -> None:
        """Take a vote.

        Raises:
            Violation: oracle I5, I6 or I7.
            InvariantViolation: the guard refuses it.
        """
        self._guard.admit(vote)
        self._oracle.signed(vote)
        self.votes += 1


def resumed(life: Life, cut: int, *, backwards: bool = False) -> int:
    """Cut before that event, resume, give all earlier messages again and then the rest.

    The earlier ones come in their order, or `backwards`: a network may do that too, and it shows
    what the same order hides, for in it an engine without any memory says the same again.
    An own vote loops back at once, as in a node; an own vote of the recorded life that the resumed
    one has not cast does not exist, so that what is or carries it does not arrive. Of the votes
    before the cut the journal has kept the current ones (docs/adr/012), and the engine is the same
    as with all of them. Returns how many votes the resumed engine cast.

    Raises:
        Violation: oracle I5, I6 or I7, or what the journal let go of was needed.
        InvariantViolation: the guard refuses a vote.
    """
    trace = life.trace
    before = [own for led_to in life.votes[:cut] for own in led_to]
    kept = journaled(before)
    witness = Witness(trace, before, kept)
    cast = {own.vote.stripped() for own in before}
    known = witness.votes
    inputs = [given.value for given in life.events[:cut] if isinstance(given, InputValue)]
    input_: Value | None = inputs[0] if inputs else None
    engine, effects = resume(trace, kept, input_)
    with_all, effects_with_all = resume(trace, before, input_)
    if effects != effects_with_all or memory(engine) != memory(with_all):
        raise Violation(f"{trace.instance}: the journal let go of a vote that `resume` needs")
    _loop_back(engine, effects, witness, cast)
    again = [given for given in life.events[:cut] if isinstance(given, Message)]
    if backwards:
        again.reverse()
    for given in (*again, *life.events[cut:]):
        if isinstance(given, Start):
            continue  # `resume` has started it
        if isinstance(given, Message) and not _exists(given, trace.process, cast):
            continue
        _loop_back(engine, engine.step(given), witness, cast)
    return witness.votes - known


def journaled(cast: Sequence[OwnVote]) -> list[OwnVote]:
    """What a journal still has of these votes, which were cast in this order."""
    rounds = VoteRounds(own.vote for own in cast)
    return [own for own in cast if rounds.is_current(own.vote.type, own.vote.round)]


def resume(
    trace: Trace, votes: Sequence[OwnVote], input_: Value | None
) -> tuple[Instance, tuple[Effect, ...]]:
    """Resume the engine of a recorded life from these votes."""
    return Instance.resume(trace.definition(), trace.instance, trace.process, votes, input_)


def memory(engine: Instance) -> tuple[object, ...]:
    """All that a resumed engine remembers."""
    return (
        engine.round,
        engine.prepared_round,
        engine.prepared_value,
        engine.prepared_justification,
        engine.decision,
        engine._input,
        engine._fired,
        engine._waiting_proof,
        engine.heard_from(engine._process),
    )


def _loop_back(
    engine: Instance, effects: Iterable[Effect], witness: Witness, cast: set[Message]
) -> None:
    waiting = [own.vote for own in own_votes(engine, effects)]
    while waiting:
        vote = waiting.pop(0)
        witness.signed(vote)
        cast.add(vote.stripped())
        waiting += [own.vote for own in own_votes(engine, engine.step(vote))]


def _exists(message: Message, process: int, cast: set[Message]) -> bool:
    return all(
        vote.source != process or not is_vote(vote) or vote.stripped() in cast
        for vote in (message, *message.justification)
    )


def main() -> int:
    """Try every cut of the files named, or of the shipped traces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=[RECORDED])
    parser.add_argument("--drop", action="store_true", help="go on past what cannot have happened")
    arguments = parser.parse_args()
    lives = steps = cuts = votes = 0
    for life in qualifying(arguments.files, drop=arguments.drop):
        lives += 1
        steps += len(life.events)
        for cut in range(len(life.events) + 1):
            cuts += 1
            votes += resumed(life, cut) + resumed(life, cut, backwards=True)
    print(f"traces {lives} steps {steps} cuts {cuts} votes after resuming {votes} violations 0")
    return 0


def sample(share: float, seed: int, *, drop: bool = False) -> Iterator[tuple[Life, int]]:
    """A seeded share of all cuts."""
    chance = random.Random(seed)
    for life in qualifying([RECORDED], drop=drop):
        for cut in range(len(life.events) + 1):
            if chance.random() < share:
                yield life, cut


if __name__ == "__main__":
    sys.exit(main())
