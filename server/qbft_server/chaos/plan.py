"""Draws the faults of a run from its seed: the same seed, the same faults, in the same order.

A run is a row of episodes. In each one or two faults begin, are held, and end, one after another;
the next episode begins when all that was open is decided. How long that takes is the cluster's
affair, so a slow machine gets through fewer episodes of the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, permutations

Link = tuple[int, int]
"""Packets from one node to another; the way back is another link."""

HOLD_SECONDS = (1.0, 6.0)
GAP_SECONDS = (0.0, 1.5)
CALM_SECONDS = (0.5, 2.5)
PAIRED_SHARE = 0.4
"""How often a second fault comes on top."""


class Kind(StrEnum):
    """A fault, named as the table names it."""

    KILL = "kill (SIGKILL)"
    PAUSE = "pause (SIGSTOP)"
    RESTART = "restart (SIGTERM)"
    ROLLING = "rolling restart of all"
    KILL_ALL = "kill all at once"
    CUT = "cut a link, reset"
    ISOLATE = "cut a node off, silent"
    HALVES = "halve the cluster"
    ONE_WAY = "one-way cut, silent"
    RING = "two dead links, a ring"
    DELAY = "delay"
    LOSS = "loss: stalls and resets"
    DISK_FULL = "disk full"
    NO_DISK = "data directory away"
    WIPE = "wipe a node"


ALONE = frozenset({Kind.ROLLING, Kind.KILL_ALL, Kind.WIPE})
"""Never together with another fault."""

OF_A_NODE = frozenset({Kind.KILL, Kind.PAUSE, Kind.RESTART, Kind.DISK_FULL, Kind.NO_DISK})
"""Two of these, on two nodes, are more than may be faulty: nothing is decided until one ends."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: of which nodes, or of which links; `ms` is how long packets are delayed."""

    kind: Kind
    nodes: tuple[int, ...] = ()
    links: tuple[Link, ...] = ()
    ms: int = 0

    def __str__(self) -> str:
        where = " ".join(map(str, self.nodes)) or " ".join(f"{a}>{b}" for a, b in self.links)
        return f"{self.kind} {where}{f' {self.ms} ms' if self.ms else ''}"


@dataclass(frozen=True, slots=True)
class Episode:
    """Faults that are there together, and seconds: between them, while they last, afterwards."""

    number: int
    faults: tuple[Fault, ...]
    gap: float
    hold: float
    calm: float

    def __str__(self) -> str:
        return f"{self.number}: {', '.join(map(str, self.faults))}"


def episodes(seed: int, nodes: int, kinds: Sequence[Kind] = tuple(Kind)) -> Iterator[Episode]:
    """The faults of a seed, for ever; every kind comes before one comes again."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    deck: list[Kind] = []
    for number in count(1):
        deck = deck or draw.sample(kinds, len(kinds))
        faults = [_fault(draw, nodes, deck.pop())]
        is_paired = draw.random() < PAIRED_SHARE
        if is_paired and deck and not {faults[0].kind, deck[-1]} & ALONE:
            faults.append(_fault(draw, nodes, deck.pop(), faults[0].nodes))
        yield Episode(
            number,
            tuple(faults),
            round(draw.uniform(*GAP_SECONDS), 2),
            round(draw.uniform(*HOLD_SECONDS), 2),
            round(draw.uniform(*CALM_SECONDS), 2),
        )


def _fault(draw: random.Random, nodes: int, kind: Kind, taken: Sequence[int] = ()) -> Fault:
    """A fault of this kind, not on a node that has one already."""
    everyone = range(nodes)
    node = draw.choice([n for n in everyone if n not in taken])
    others = [n for n in everyone if n != node]
    out, back = tuple((node, n) for n in others), tuple((n, node) for n in others)
    match kind:
        case Kind.ROLLING | Kind.KILL_ALL:
            return Fault(kind, tuple(everyone))
        case Kind.CUT:
            other = draw.choice(others)
            return Fault(kind, links=((node, other), (other, node)))
        case Kind.ISOLATE:
            return Fault(kind, links=out + back)
        case Kind.HALVES:
            side = set(draw.sample(everyone, nodes // 2))
            links = permutations(everyone, 2)
            return Fault(kind, links=tuple((a, b) for a, b in links if (a in side) != (b in side)))
        case Kind.ONE_WAY:
            return Fault(kind, links=draw.choice([out, back, out[:1]]))
        case Kind.RING:
            around = draw.sample(everyone, nodes)
            dead = zip(around[: nodes // 2], around[nodes // 2 :], strict=False)
            return Fault(kind, links=tuple(link for a, b in dead for link in ((a, b), (b, a))))
        case Kind.DELAY:
            links_ = draw.choice([out + back, tuple(permutations(everyone, 2))])
            return Fault(kind, links=links_, ms=draw.randrange(20, 600))
        case Kind.LOSS:
            return Fault(kind, links=draw.choice([out + back, tuple(permutations(everyone, 2))]))
        case _:
            return Fault(kind, (node,))
