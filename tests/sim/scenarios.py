"""The catalogue's scenarios of networks and crashes as plans, each with what is demanded of it.

The oracle watches each of them; a demand is what the scenario says beyond that. They are tests of
the shipped code (`test_scenarios.py`) and hunters of mutants (`mutation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from plans import plan

from qbft.core import MessageType, UponRule
from qbft.core.messages import ROUND_MAX
from qbft.sim.byzantine import TWINS
from qbft.sim.chronicle import Report
from qbft.sim.plan import (
    Ask,
    Crash,
    Cut,
    DiskCorrupt,
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

PP, COMMIT, RC = MessageType.PRE_PREPARE, MessageType.COMMIT, MessageType.ROUND_CHANGE
ALL = (0, 1, 2, 3)
GROWING = Timer("exponential", 500, 4_000)
FIRST_ROUND_MS = 500
SLOW_MS = 300
"""What the frames of the slow ones of C22 take."""

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
    """Whether what the client of this place proposed was decided."""
    return lambda which, report: all(
        decision.value == f"{decision.instance} from {place} in life 1".encode()
        for decision in report.decisions
    )


def both(*demands: Demand) -> Demand:
    """Whether all of this is so."""
    return lambda which, report: all(demand(which, report) for demand in demands)


def decided_within_a_timeout_of_healing(which: Plan, report: Report) -> bool:
    """Whether only healing lets everyone decide, and one round at its longest is enough then."""
    return 0 < report.heal_ms <= which.timer.round_ms_max


def voted_once(which: Plan, report: Report) -> bool:
    """Whether no node said more than one PREPARE and one COMMIT for an instance of one round."""
    once = which.nodes * which.instances
    rules = (UponRule.JUSTIFIED_PRE_PREPARE, UponRule.QUORUM_PREPARES)
    return report.rounds_max == 1 and all(report.rules[rule.value] <= once for rule in rules)


def at_the_pace_of_the_slow(which: Plan, report: Report) -> bool:
    """Whether it took a round without leader, and four votes in a row of slow ones."""
    slowest_ms = FIRST_ROUND_MS + 4 * SLOW_MS
    return all(slowest_ms <= d.time_ms <= slowest_ms + 2 * SLOW_MS for d in report.decisions)


def in_place(which: Plan, report: Report) -> bool:
    """Whether each instance decided, before healing, on what was proposed for it and no other."""
    return report.heal_ms == 0 and all(
        isinstance(d.value, bytes) and d.value.startswith(f"{d.instance} from".encode())
        for d in report.decisions
    )


def leaves_evidence(which: Plan, report: Report) -> bool:
    """Whether a correct node has heard two votes that contradict each other, and kept them."""
    return report.happened["evidence"] > 0


def told_by(*liars: str) -> Demand:
    """Whether each of these liars has lied."""
    return lambda which, report: all(report.happened[f"lie told: {name}"] for name in liars)


LATE_MS = FIRST_ROUND_MS * 9 // 10
SLOWEST_MS = 20
"""What a frame takes in these plans, where nothing else is said (`plans.FAST`)."""


def late_where_it_leads(which: Plan, report: Report) -> bool:
    """Whether node 0, where it leads, costs 90 % of a round, and elsewhere nothing.

    What is late beside its PRE-PREPARE is three messages in a row, or a second round.
    """
    for decision in report.decisions:
        height = decision.instance.height
        took_ms = decision.time_ms - 20 * height
        first_ms = LATE_MS if height % which.nodes == 0 else 0
        if not first_ms <= took_ms <= first_ms + 4 * SLOWEST_MS:
            return False
    return report.heal_ms == 0


def in_round_1_by(time_ms: int) -> Demand:
    """Whether every node has decided by then, by the COMMITs of round 1."""
    return lambda which, report: all(
        decision.round == 1 and decision.time_ms <= time_ms for decision in report.decisions
    )


EVERY_MS = 1_000
"""How often the node of K20 falls."""


def served_each_time(which: Plan, report: Report) -> bool:
    """Whether node 3, each time it is back, has what it missed before its first timeout."""
    times = {d.instance.height: d.time_ms for d in report.decisions if d.place == 3}
    return all(
        EVERY_MS * height + 450 <= times[height] <= EVERY_MS * height + 450 + FIRST_ROUND_MS
        for height in range(which.instances)
    )


def lossy(loss: float, faults_ms: int = 20_000) -> Plan:
    """Nothing but loss, on all links."""
    return plan(weather=Weather(1, 30, loss=loss), instances=3, faults_ms=faults_ms)


SCENARIOS = [
    Scenario(
        "A22",
        "the COMMITs of round 1 come after every node's timeout: it decides all the same",
        plan(
            *slow(ALL, ALL, COMMIT, ms=FIRST_ROUND_MS + 50, until_ms=400),
            *slow(ALL, ALL, RC, ms=400, until_ms=1_000),
            weather=Weather(10, 14),
            faults_ms=3_000,
        ),
        in_round_1_by(800),
    ),
    Scenario("M1-10", "10 % loss: decides", lossy(0.1), all_decided_under_faults),
    Scenario("M1-30", "30 % loss: decides", lossy(0.3), all_decided_under_faults),
    Scenario(
        "M2",
        "50 % loss for 10 s, then heal: what had just begun decides within one round",
        replace(
            lossy(0.5, 10_000),
            asks=tuple(
                Ask(at_ms, place, height)
                for height, at_ms in enumerate((0, 5_000, 9_995))
                for place in ALL
            ),
        ),
        decided_within_a_timeout_of_healing,
    ),
    Scenario(
        "M3",
        "all frames twice and reordered: decides in round 1, with no vote too many",
        plan(
            weather=Weather(1, 200, duplication=1.0),
            instances=3,
            timer=Timer("exponential", 2_000, 4_000),
        ),
        voted_once,
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
        both(all_but(0), value_of(0)),
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
        both(in_rounds(2, 3), value_of(0)),
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
        "K16-value",
        "all fall after COMMITs, and who proposed is gone for good: the others kept its value",
        replace(
            plan(
                *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=400),
                DiskCorrupt(0, at_ms=301),
                Crash(1, at_ms=300, down_ms=100, everyone=True),
                faults_ms=3_000,
            ),
            adopts=False,
            asks=(Ask(0, 0, 0),),
        ),
        both(all_decided_under_faults, value_of(0)),
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
        "K20",
        "a node falls 20 times and misses a decision each time: it is served the last time too",
        replace(
            plan(
                *(Crash(3, at_ms=EVERY_MS * h + 50, down_ms=400) for h in range(20)),
                instances=20,
                faults_ms=20 * EVERY_MS + 500,
            ),
            asks=tuple(Ask(EVERY_MS * h + 100, p, h) for h in range(20) for p in (0, 1, 2)),
        ),
        served_each_time,
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
        both(all_decided_under_faults, told_by("EquivocatingLeader")),
        40,
    ),
    Scenario(
        "B4",
        "n=7, an equivocating leader and a split voter: one value",
        plan(Liar(0, "EquivocatingLeader"), Liar(3, "SplitVoter"), nodes=7, faults_ms=20_000),
        both(all_decided_under_faults, leaves_evidence, told_by("SplitVoter")),
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
        both(lambda which, report: report.decided >= 2, told_by("JustificationForger")),
        12,
    ),
    Scenario(
        "B12",
        "the PRE-PREPARE reaches two peers as the timers expire: decides within two more rounds",
        plan(
            *slow((0,), (1,), PP, ms=60_000, until_ms=400),
            *slow((0,), (2, 3), PP, ms=FIRST_ROUND_MS - 10, until_ms=400),
            faults_ms=20_000,
        ),
        in_rounds(2, 3),
    ),
    Scenario(
        "B13",
        "the leader always proposes at 90 % of the timer: decides, that much later and no more",
        plan(Liar(0, "Delayer"), instances=5, faults_ms=20_000),
        both(late_where_it_leads, told_by("Delayer")),
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
        both(all_decided_under_faults, told_by("Withholder")),
    ),
    Scenario(
        "B16",
        "an equivocating leader leaves evidence with correct nodes; nobody else is accused",
        plan(Liar(0, "EquivocatingLeader"), faults_ms=20_000),
        leaves_evidence,
        15,
    ),
    Scenario(
        "C13",
        "old votes are replayed all the time, small buffers: fresh ones are still counted",
        replace(
            plan(
                Liar(3, "Replayer"),
                *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=2_000),
                faults_ms=10_000,
            ),
            small_limits=True,
        ),
        both(in_rounds(2, 4), told_by("Replayer")),
    ),
    Scenario(
        "C14",
        "votes of other instances are replayed as votes of this: it decides on a value of its own",
        plan(
            Liar(3, "Replayer"),
            *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=2_000),
            instances=4,
            faults_ms=10_000,
        ),
        both(in_place, told_by("Replayer")),
        10,
    ),
    Scenario(
        "C17",
        "a liar floods instances that are not open, small buffers: others' votes are kept",
        replace(
            plan(
                Liar(3, "PhantomOpener"),
                Cut((0,), (2,), 0, 1_500),
                instances=2,
                faults_ms=8_000,
            ),
            small_limits=True,
        ),
        both(all_decided_under_faults, told_by("PhantomOpener")),
        10,
    ),
    Scenario(
        "C18",
        "ROUND-CHANGEs of the last round there is, of F peers: nobody jumps",
        plan(
            Liar(3, "RoundSpammer"),
            *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=2_000),
            instances=2,
            faults_ms=10_000,
        ),
        both(in_rounds(2, 4), told_by("RoundSpammer")),
    ),
    Scenario(
        "C18-3",
        "n=3, where one peer makes others jump: they decide in the last round there is",
        plan(
            Liar(2, "RoundSpammer"),
            *slow((0, 1, 2), (0, 1, 2), COMMIT, ms=60_000, until_ms=2_000),
            nodes=3,
            faults_ms=4_000,
        ),
        lambda which, report: report.heal_ms == 0 and report.rounds_max == ROUND_MAX,
        8,
    ),
    Scenario(
        "C21",
        "others' PRE-PREPAREs are handed on without their justification: nobody pays for it",
        plan(
            Liar(2, "JustificationForger"),
            *slow(ALL, ALL, COMMIT, ms=60_000, until_ms=2_000),
            faults_ms=10_000,
        ),
        both(in_rounds(1, 4), told_by("JustificationForger")),
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
                for f in slow((1, 2), (0, 1, 2, 3, 4, 5, 6), t, ms=SLOW_MS, until_ms=20_000)
            ),
            nodes=7,
            faults_ms=20_000,
        ),
        at_the_pace_of_the_slow,
    ),
    Scenario(
        "C23",
        "twins: no fork, and a decision",
        plan(
            Liar(0, TWINS),
            Partition(((0, 1, 2), (3, 4)), 0, 1_500),
            Partition(((0, 1), (2, 3, 4)), 1_500, 4_000),
        ),
        both(lambda which, report: report.decided == 1, leaves_evidence),
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
