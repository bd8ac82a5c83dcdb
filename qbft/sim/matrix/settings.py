"""What the matrix is made of: sizes, latency profiles, timers (MATRIX, section 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qbft.timers import POLICIES, TimerPolicy, exponential


@dataclass(frozen=True, slots=True)
class Size:
    """A cluster's size: `nodes` in all; so many draws, with replacement, choose who is down."""

    name: str
    up: int
    nodes: int

    @property
    def draws_down(self) -> int:
        """How often a node to be down is drawn; the same node may be drawn again."""
        return self.nodes - self.up


@dataclass(frozen=True, slots=True)
class Profile:
    """How far apart the nodes are: what means and deviations of a message's delay they draw."""

    name: str
    deviations_ms: tuple[int, ...]
    means_ms: tuple[int, ...]


SIZES = (
    Size("small-all", 4, 4),
    Size("small-min", 3, 4),
    Size("medium-all", 6, 6),
    Size("medium-min", 4, 6),
    Size("large-all", 9, 9),
    Size("large-min", 6, 9),
)

PROFILES = (
    Profile("colocated", (5, 10), (5, 10, 25, 50)),
    Profile("regional", (10, 25), (50, 100, 250)),
    Profile("global", (50, 100), (250, 250, 500, 500, 750)),
)

TIMERS = tuple(POLICIES)
"""The timers by name, as `qbft.timers` knows them."""

LONG_FIRST_ROUND = "exp_2000_eager"
"""Not of the matrix: what a longer first round does to the tail (`qbft.sim.matrix.tail`)."""


def policy_of(timer: str) -> TimerPolicy:
    """The timer of a name."""
    return exponential(2_000) if timer == LONG_FIRST_ROUND else POLICIES[timer]()


@dataclass(frozen=True, slots=True)
class Setting:
    """One cell's setting."""

    size: Size
    profile: Profile
    timer: str

    def __str__(self) -> str:
        return f"{self.size.name} {self.profile.name} {self.timer}"


def all_settings() -> Iterator[Setting]:
    """Every cell's setting, in the order of the table."""
    for size in SIZES:
        for profile in PROFILES:
            for timer in TIMERS:
                yield Setting(size, profile, timer)
