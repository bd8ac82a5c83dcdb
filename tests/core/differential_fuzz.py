"""Hostile random lives of the shipped engine and of the naive one, compared at every step.

`python tests/core/differential_fuzz.py --steps 3000000 --seed 1` runs for long; what it finds it
prints with the life's own seed, which `--life` replays alone. The test suite runs a short one.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

from dumb_engine import DumbEngine

from qbft.core import (
    Broadcast,
    Compared,
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
    TimerExpired,
    Value,
)

PP = MessageType.PRE_PREPARE
PREPARE = MessageType.PREPARE
COMMIT = MessageType.COMMIT
RC = MessageType.ROUND_CHANGE
DECIDED = MessageType.DECIDED

INSTANCE = 3
TYPES = (PP, PREPARE, COMMIT, RC, DECIDED)
NODES = (1, 2, 3, 4, 4, 4, 5, 6, 7)
FIFO_LIMITS = (0, 1, 2, 3, 5, 8, 100)


class DifferenceFound(AssertionError):  # noqa: N818 - named for what it is
    """The two engines did different things."""


@dataclass
class Tally:
    """What the lives so far have seen, to know that they reach what they should."""

    steps: int = 0
    lives: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    failures: int = 0


class Life:
    """One engine's life among liars: any source may say anything, its own name included."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = chance = random.Random(seed)
        nodes = chance.choice(NODES)
        self.definition = Definition(
            nodes,
            lambda instance, round_: (instance + round_) % nodes,
            fifo_messages_max=chance.choice(FIFO_LIMITS),
            compares=chance.random() < 0.2,
        )
        self.process = chance.randrange(nodes)
        self.values = [1, 1, 1, 1, 2, 3][: chance.choice((1, 5, 6))]
        self.weights = [chance.choice((1, 4, 8)) for _ in TYPES[:-1]] + [chance.choice((0, 0, 0.3))]
        self.zeroes = chance.choice((0.0, 0.0, 0.1))
        self.wild = chance.choice((0.0, 0.02, 0.1, 0.3))
        self.shipped = Instance(self.definition, INSTANCE, self.process)
        self.dumb = DumbEngine(self.definition, INSTANCE, self.process)
        self.comparing = False
        self.past: list[Message] = []
        self.own: list[Message] = []

    def run(self, tally: Tally) -> None:
        """Live until the steps are spent, the engine fails, or it has long been decided.

        Raises:
            DifferenceFound: the engines differ.
        """
        chance = self.random
        tally.lives += 1
        self.step(Start(), tally)
        if chance.random() < 0.6:
            self.step(InputValue(chance.choice(self.values)), tally)
        after = 0
        for _ in range(chance.choice((30, 100, 300))):
            effects = self.step(self.next_input(), tally)
            after += self.dumb.decided is not None
            if after > 12 or any(isinstance(effect, Failed) for effect in effects):
                return

    def step(self, input_: Input, tally: Tally) -> tuple[Effect, ...]:
        """Give both the same input, and expect the same effects in the same order."""
        tally.steps += 1
        shipped, dumb = self.shipped.step(input_), self.dumb.step(input_)
        if blunt(shipped) != blunt(dumb):
            raise DifferenceFound(
                f"life {self.seed}, {self.definition.nodes} nodes, process {self.process}, "
                f"on {input_}:\n  shipped {shipped}\n  naive   {dumb}"
            )
        self.comparing = self.dumb.open_compare is not None
        for effect in shipped:
            if isinstance(effect, Broadcast):
                self.own.append(effect.message)
            elif isinstance(effect, RuleFired):
                tally.rules[effect.rule.value] += 1
            elif isinstance(effect, Failed):
                tally.failures += 1
        tally.decisions += self.shipped.decision in shipped
        return shipped

    # --- what comes next --------------------------------------------------------------------------

    def next_input(self) -> Input:
        """Mostly messages; sometimes the timer, an input, and the verdict where one is due."""
        chance = self.random.random()
        if self.comparing:
            return TimerExpired() if chance < 0.15 else Compared(matches=chance < 0.7)
        if chance < 0.04:
            return TimerExpired()
        if chance < 0.06:
            zero = self.random.random() < 0.01
            return InputValue(None if zero else self.random.choice(self.values))
        if chance < 0.07:
            return Compared(matches=chance < 0.065)
        message = self.next_message(chance)
        self.past.append(message)
        return message

    def next_message(self, chance: float) -> Message:
        """An own message coming back, one seen before, or a new one."""
        if self.own and chance < 0.35:
            return self.own.pop(0 if chance < 0.3 else self.random.randrange(len(self.own)))
        if self.past and chance < 0.45:
            return self.random.choice(self.past[-30:])
        type_ = self.random.choices(TYPES, weights=self.weights)[0]
        if chance > 1 - self.wild:
            return self.anything(type_)
        return self.plausible(type_)

    def plausible(self, type_: MessageType) -> Message:
        """Something that a process could say, truly or not."""
        round_ = self.near_round()
        match type_:
            case MessageType.PRE_PREPARE:
                leader = self.definition.leader(INSTANCE, round_)
                justification, value = self.new_view(round_)
                return self.message(PP, round_, value, source=leader, nested=justification)
            case MessageType.ROUND_CHANGE:
                return self.round_change(round_ + self.random.choice((0, 0, 1)))
            case MessageType.DECIDED:
                value = self.value()
                return self.message(
                    DECIDED, round_, value, nested=self.set_of(COMMIT, round_, value)
                )
            case _:
                stray = self.strays() if self.random.random() < self.wild else ()
                return self.message(type_, round_, self.value(), nested=stray)

    def anything(self, type_: MessageType) -> Message:
        """Any fields, and any votes carried along."""
        chance = self.random
        return Message(
            type_,
            INSTANCE,
            chance.randint(0, self.definition.nodes),
            self.near_round(),
            self.value() if chance.random() < 0.8 else None,
            chance.choice((0, self.near_round())),
            chance.choice((None, self.value())),
            self.strays() if chance.random() < 0.7 else (),
        )

    def strays(self) -> tuple[Message, ...]:
        """Votes of all types, some of them held already."""
        chance = self.random
        strays = []
        for _ in range(chance.randint(1, 2 * self.definition.nodes)):
            type_ = chance.choice((PREPARE, COMMIT, RC, PREPARE, COMMIT, RC, PP, DECIDED))
            if self.past and chance.random() < 0.2:
                strays.append(chance.choice(self.past).stripped())
            elif type_ is RC:
                strays.append(self.round_change(self.near_round()).stripped())
            else:
                strays.append(self.message(type_, self.near_round(), self.value()))
        if chance.random() < 0.001:
            strays.append(self.message(RC, 2, None, nested=(strays[0],)))
        return tuple(strays)

    def new_view(self, round_: int) -> tuple[tuple[Message, ...], Value | None]:
        """A justification for that round's PRE-PREPARE, and a value that may go with it."""
        chance = self.random
        if round_ == 1 and chance.random() < 0.9:
            return (), self.value()
        prepared = chance.choice((0, 0, chance.randint(1, max(1, round_ - 1))))
        value = self.value()
        changes = []
        for source in self.sources():
            pr = chance.choice((0, prepared, prepared))
            pv = value if pr and chance.random() < 0.9 else self.value() if pr else None
            if chance.random() < 0.02:
                pr = self.near_round()
            changes.append(Message(RC, INSTANCE, source, round_, None, pr, pv))
        nested = (*changes, *(self.set_of(PREPARE, prepared, value) if prepared else ()))
        if chance.random() < 0.1:
            nested = self.spoiled(nested)
        return nested, value if chance.random() < 0.9 else self.value()

    def round_change(self, round_: int) -> Message:
        """Prepared or not, proven or nearly."""
        chance = self.random
        prepared = chance.choice((0, chance.randint(1, max(1, round_))))
        if not prepared:
            return self.message(RC, round_, None)
        value = self.value()
        proof = self.set_of(PREPARE, prepared, value)
        if chance.random() < 0.1:
            proof = self.spoiled(proof)
        source = chance.randrange(self.definition.nodes)
        return Message(RC, INSTANCE, source, round_, None, prepared, value, proof)

    def set_of(self, type_: MessageType, round_: int, value: Value | None) -> tuple[Message, ...]:
        """One such vote of a quorum or so of sources."""
        nested = tuple(Message(type_, INSTANCE, s, round_, value) for s in self.sources())
        return self.spoiled(nested) if self.random.random() < 0.05 else nested

    def spoiled(self, nested: tuple[Message, ...]) -> tuple[Message, ...]:
        """One missing, twice, or something else instead."""
        spoiled = list(nested)
        match self.random.randrange(3):
            case 0 if spoiled:
                spoiled.pop(self.random.randrange(len(spoiled)))
            case 1 if spoiled:
                spoiled.append(self.random.choice(spoiled))
            case _:
                spoiled.insert(self.random.randint(0, len(spoiled)), self.strays()[0].stripped())
        return tuple(spoiled)

    def message(
        self,
        type_: MessageType,
        round_: int,
        value: Value | None,
        *,
        source: int | None = None,
        nested: tuple[Message, ...] = (),
    ) -> Message:
        """Of a random source, unless told."""
        if source is None:
            source = self.random.randrange(self.definition.nodes)
        return Message(type_, INSTANCE, source, round_, value, justification=nested)

    def sources(self) -> list[int]:
        """A quorum of sources, sometimes one less or all; in any order."""
        nodes, quorum = self.definition.nodes, self.definition.quorum
        count = self.random.choice((quorum, quorum, quorum, nodes, max(0, quorum - 1)))
        return self.random.sample(range(nodes), count)

    def near_round(self) -> int:
        """Mostly the engine's own."""
        away = self.random.choice((0, 0, 0, 0, 0, 0, 1, 1, -1, 2, -2, 3, 5))
        return max(0 if self.random.random() < self.wild / 10 else 1, self.dumb.round + away)

    def value(self) -> Value | None:
        """One of few, so that quorums happen; sometimes none, which is a vote as well."""
        return None if self.random.random() < self.zeroes else self.random.choice(self.values)


def blunt(effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """The effects without the words of a failure, which are each engine's own."""
    return tuple(Failed("") if isinstance(effect, Failed) else effect for effect in effects)


def fuzz(steps: int, seed: int) -> Tally:
    """Run lives until so many steps are compared; the same seed gives the same lives.

    Raises:
        DifferenceFound: the engines differ.
    """
    seeds = random.Random(seed)
    tally = Tally()
    while tally.steps < steps:
        Life(seeds.getrandbits(48)).run(tally)
    return tally


def main() -> int:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", type=int, help="replay this one life")
    arguments = parser.parse_args()
    try:
        if arguments.life is None:
            tally = fuzz(arguments.steps, arguments.seed)
        else:
            tally = Tally()
            Life(arguments.life).run(tally)
    except DifferenceFound as difference:
        print(difference)
        return 1
    print(
        f"steps {tally.steps} lives {tally.lives} decisions {tally.decisions} "
        f"failures {tally.failures} differences 0"
    )
    for rule, times in sorted(tally.rules.items()):
        print(f"  {rule} {times}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
