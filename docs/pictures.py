"""Draws the runs that docs/HOW.md tells of, by the simulator; `--check` only says which are stale.

What is drawn is what the shipped replicas did, in a run that comes out the same on every machine.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from qbft.core import InstanceId
from qbft.diagram import space_time_svg
from qbft.sim.chronicle import Event
from qbft.sim.picture import diagram_events, names_of
from qbft.sim.plan import Ask, Crash, Fault, Liar, Plan, Timer, Weather
from qbft.sim.world import World

FOLDER = Path(__file__).with_name("pictures")
INSTANCE = InstanceId("sim", 0)
LEADER = 0
"""Of round 1."""


@dataclass(frozen=True)
class Picture:
    """One file, what is to be seen in it, what goes wrong in its run, and where clients propose."""

    name: str
    title: str
    faults: tuple[Fault, ...] = ()
    seed: int = 1
    clients: tuple[int, ...] = (0, 1, 2, 3)

    def draw(self) -> str:
        """Play the run; it has to end well."""
        plan = Plan(
            seed=self.seed,
            weather=Weather(8, 16),
            timer=Timer("exponential", 120, 4_000),
            faults_ms=500,
            asks=tuple(Ask(0, place, INSTANCE.height) for place in self.clients),
            faults=self.faults,
        )
        story: list[Event] = []
        violation, _ = World.play(plan, story=story)
        if violation is not None:
            raise violation
        events = diagram_events(plan, story, INSTANCE)
        return space_time_svg(events, title=self.title, names=names_of(plan))


PICTURES = (
    Picture("how-calm.svg", "Nothing goes wrong", clients=(LEADER,)),
    Picture("how-crash.svg", "The leader is away", (Crash(LEADER, at_ms=0, down_ms=None),)),
    Picture(
        "how-lie.svg",
        "The leader says one thing here and another there",
        (Liar(LEADER, "EquivocatingLeader"),),
        seed=5,
    ),
)


def main() -> int:
    """Write, or check."""
    made = {FOLDER / picture.name: picture.draw() for picture in PICTURES}
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, svg in made.items() if path.read_text() != svg]
        if stale:
            print(f"stale: {', '.join(stale)}: run docs/pictures.py", file=sys.stderr)
        return 1 if stale else 0
    for path, svg in made.items():
        path.write_text(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
