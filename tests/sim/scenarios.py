"""The catalogue's scenarios of networks and crashes as plans, each with what is demanded of it.

The oracle watches each of them; a demand is what the scenario says beyond that. They are tests of
the shipped code (`test_scenarios.py`) and hunters of mutants (`mutation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from plans import plan

from qbft.core import MessageType
from qbft.sim.byzantine import TWINS
from qbft.sim.plan import (
    Ask,
    Crash,
    Cut,
    Fault,
    LateStart,
    Liar,
    Partition,
    Pause,
    Plan,
    SlowType,
    Timer,
    Weather,
)
from qbft.sim.world import Report

PP, COMMIT = MessageType.PRE_PREPARE, MessageType.COMMIT
ALL = (0, 1, 2, 3)
GROWING = Timer("exponential", 500, 4_000)
FIRST_ROUND_MS = 500

Demand = Callable[[Plan, Report], bool]


@dataclass(frozen=True)
class Scenario:
    """A plan, played under several seeds, and what its report must show."""

    name: str
    says: str
    plan: Plan
    demand: Demand
    seeds: int = 20


def slow(
    sources: tuple[int, ...], targets: tuple[int, ...], type_: int, *, ms: int, until_ms: int
) -> list[Fault]:
    """Frames with votes of a type take so long from these to those."""
    return [SlowType(s, t, type_, ms, 0, until_ms) for s in sources for t in targets if s != t]


def all_decided_under_faults(which: Plan, report: Report) -> bool:
    """Whether healing was not needed."""
    return report.heal_ms == 0


def nobody_decided_under_faults(which: Plan, report: Report) -> bool:
    """Whether healing was needed by everyone."""
    return all(decision.time_ms > which.faults_ms for decision in report.decisions)


def all_but(place: int) -> Demand:
    """Whether all but this one decided before healing, and this one only after it."""

    def demand(which: Plan, report: Report) -> bool:
        return all(
            (decision.time_ms > which.faults_ms) == (decision.place == place)
            for decision in report.decisions
        )

    return demand


def decided_by(time_ms: int) -> Demand:
    """Whether every node has decided by then."""
    return lambda which, report: all(d.time_ms <= time_ms for d in report.decisions)


def in_rounds(first: int, last: int) -> Demand:
    """Whether every node decided in one of these rounds, before healing."""
    return lambda which, report: (
        report.heal_ms == 0
        and all(first <= decision.round <= last for decision in report.decisions)
    )


def value_of(place: int) -> Demand:
    """Whether the value of the client of this place was decided, in a round after the first."""
    return lambda which, report: all(
        decision.value == f"sim/0 from {place}".encode() and decision.round > 1
        for decision in report.decisions
    )


def lossy(loss: float, faults_ms: int = 20_000) -> Plan:
    """Nothing but loss, on all links."""
    return plan(weather=Weather(1, 30, loss=loss), instances=3, faults_ms=faults_ms)


SCENARIOS = [
    Scenario("M1-10", "10 % loss: decides", lossy(0.1), all_decided_under_faults),
    Scenario("M1-30", "30 % loss: decides", lossy(0.3), all_decided_under_faults),
    Scenario(
        "M2",
        "50 % loss for 10 s, then heal: decides within the bound",
        lossy(0.5, 10_000),
        lambda which, report: report.heal_ms <= which.bound_ms,
    ),
    Scenario(
        "M3",
        "all frames twice and reordered: decides",
        plan(weather=Weather(1, 200, duplication=1.0), instances=3),
        all_decided_under_faults,
    ),
    Scenario(
        "M4",
        "2/2 partition for 60 s: nobody decides before it heals",
        plan(Partition(((0, 1), (2, 3)), 0, 60_000), faults_ms=60_000),
        nobody_decided_under_faults,
        5,
    ),
    Scenario(
        "M5",
        "3/1 partition: three decide, the fourth pulls after it heals",
        plan(Partition(((0, 1, 2), (3,)), 0, 10_000), faults_ms=10_000, instances=3),
        all_but(3),
    ),
    Scenario(
        "M6",
        "leader's outbound cut: round change; the leader decides too",
        plan(Cut((0,), ALL, 0, 20_000), faults_ms=20_000),
        in_rounds(2, 3),
    ),
    Scenario(
        "M7",
        "leader's inbound cut: others decide its value, it pulls after it heals",
        plan(Cut(ALL, (0,), 0, 10_000), faults_ms=10_000),
        all_but(0),
    ),
    Scenario(
        "M8",
        "two dead links for good, nobody lacks more than one peer: decides by relay",
        plan(
            Cut((0,), (2,), 0, 60_000),
            Cut((2,), (0,), 0, 60_000),
            Cut((1,), (3,), 0, 60_000),
            Cut((3,), (1,), 0, 60_000),
            faults_ms=60_000,
            instances=2,
        ),
        all_decided_under_faults,
    ),
    Scenario(
        "M9",
        "COMMITs lost: a later round proposes the prepared value again",
        plan(*slow(ALL, ALL, COMMIT, ms=60_000, until_ms=480), faults_ms=20_000),
        value_of(0),
    ),
    Scenario(
        "M10",
        "delays above the first timeout: decides once the rounds have grown",
        plan(weather=Weather(700, 900), timer=Timer("exponential", 300, 8_000), faults_ms=40_000),
        in_rounds(2, 9),
    ),
    Scenario(
        "M11",
        "all COMMITs to one node lost: it decides within one timeout",
        plan(
            *slow(ALL, (3,), COMMIT, ms=60_000, until_ms=20_000),
            faults_ms=20_000,
            timer=Timer("exponential", 2_000, 4_000),
        ),
        decided_by(2_100),
    ),
    Scenario(
        "M12",
        "one node's links take 750 ms: decides, nobody starves",
        plan(
            *(
                f
                for t in (1, 2, 3, 4)
                for f in (
                    *slow(ALL, (3,), t, ms=750, until_ms=20_000),
                    *slow((3,), ALL, t, ms=750, until_ms=20_000),
                )
            ),
            faults_ms=20_000,
            instances=3,
        ),
        all_decided_under_faults,
    ),
    Scenario(
        "M13",
        "a node stands still for 30 s: it rejoins",
        plan(Pause(2, 50, 30_000), faults_ms=40_000, instances=3),
        all_decided_under_faults,
    ),
    Scenario(
        "K18",
        "a node restarts while its peers are rounds ahead: it joins them",
        plan(
            Partition(((0, 1), (2, 3)), 0, 20_000),
            Crash(3, at_ms=700, down_ms=19_000),
            faults_ms=30_000,
        ),
        all_decided_under_faults,
    ),
    Scenario(
        "K19",
        "a node restarts after its peers decided: it pulls before its first timeout",
        plan(Crash(3, at_ms=1, down_ms=3_000), instances=3),
        decided_by(3_001 + FIRST_ROUND_MS),
    ),
    Scenario(
        "late",
        "a node that starts late catches up with many decisions",
        plan(LateStart(3, 4_000), instances=40, faults_ms=8_000),
        decided_by(6_000),
        5,
    ),
    Scenario(
        "B3",
        "an equivocating leader: one value",
        plan(Liar(0, "EquivocatingLeader"), faults_ms=20_000),
        all_decided_under_faults,
        40,
    ),
    Scenario(
        "B4",
        "n=7, an equivocating leader and a split voter: one value",
        plan(Liar(0, "EquivocatingLeader"), Liar(3, "SplitVoter"), nodes=7, faults_ms=20_000),
        all_decided_under_faults,
        40,
    ),
    Scenario(
        "B11",
        "n=4, a forger of justifications, certificates and others' votes while rounds change",
        replace(
            plan(
                Liar(2, "JustificationForger"),
                *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=5_000),
                instances=2,
                faults_ms=12_000,
            ),
            asks=tuple(Ask(0, place, 1) for place in ALL),
        ),
        lambda which, report: report.decided >= 2,
        12,
    ),
    Scenario(
        "B12",
        "the PRE-PREPARE reaches two peers just before the timeout",
        plan(*slow((0,), (2, 3), PP, ms=FIRST_ROUND_MS - 30, until_ms=400), faults_ms=20_000),
        in_rounds(1, 3),
    ),
    Scenario(
        "B13",
        "the leader always proposes at 90 % of the timer: decides",
        plan(Liar(0, "Delayer"), instances=4, faults_ms=20_000),
        all_decided_under_faults,
    ),
    Scenario(
        "B14",
        "invalid values: no PREPARE, the round changes",
        replace(plan(Liar(0, "InvalidProposer"), faults_ms=20_000), check_ms_max=20),
        in_rounds(2, 3),
    ),
    Scenario(
        "B15",
        "value bytes or COMMITs withheld: decides",
        plan(Liar(0, "Withholder"), instances=4, faults_ms=20_000),
        all_decided_under_faults,
    ),
    Scenario(
        "C22",
        "n=7, two silent and two slow: decides at the slow ones' pace",
        plan(
            Liar(0, "Silent"),
            Liar(4, "Silent"),
            *(
                f
                for t in (1, 2, 3, 4)
                for f in slow((1, 2), (0, 1, 2, 3, 4, 5, 6), t, ms=300, until_ms=20_000)
            ),
            nodes=7,
            faults_ms=20_000,
        ),
        all_decided_under_faults,
    ),
    Scenario(
        "C23",
        "twins: no fork, and a decision",
        plan(
            Liar(0, TWINS),
            Partition(((0, 1, 2), (3, 4)), 0, 1_500),
            Partition(((0, 1), (2, 3, 4)), 1_500, 4_000),
        ),
        lambda which, report: report.decided == 1,
        40,
    ),
    Scenario(
        "C23-5",
        "n=5, twins, three places on each side: no fork, for a quorum is four",
        plan(
            Liar(0, TWINS),
            Partition(((0, 1, 2), (3, 4, 5)), 0, 4_000),
            nodes=5,
            faults_ms=4_000,
        ),
        nobody_decided_under_faults,
    ),
]
