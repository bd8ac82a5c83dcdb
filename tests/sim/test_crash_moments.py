"""Power is lost around each vote of a kind, where forgetting it would show (SCENARIOS, group K).

A run without crashes tells at which crash points a node writes such a vote, or sends it to one more
peer; then it is played once more for each of them, with a crash there. The plans are such that a
node that is back is tempted to say something else. Which bugs each of these tests must find, the
mutants say (`mutants`): they are hunted with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from plans import ALWAYS_MS, asks, plan
from scenarios import ALL, COMMIT, RC, slow

from qbft.core import MessageType
from qbft.crypto.proposal import Proposal
from qbft.replica.authority import Authority
from qbft.replica.protocols import DecisionRecord, Record, VoteRecord
from qbft.sim.chronicle import Report
from qbft.sim.node import Node, WatchedReplica
from qbft.sim.plan import Crash, Liar, Plan, Timer, Weather
from qbft.sim.world import World
from qbft.transport import Frame

CALM = replace(plan(faults_ms=4_000, weather=Weather(1, 30)), sync_ms_max=3)
COMMITS_LATE = replace(
    CALM, faults=tuple(slow(ALL, ALL, COMMIT, ms=ALWAYS_MS, until_ms=450)), seed=1
)
"""All COMMIT in round 1 and nobody hears it, so that ROUND-CHANGEs follow COMMITs."""

TOO_SHORT = replace(CALM, weather=Weather(200, 700), timer=Timer("exponential", 400, 4_000))
"""The first round is too short, so that nodes change rounds."""

AROUND_A_COMMIT = {"before_commit", "syncing", "after_commit"}
EVERYWHERE = AROUND_A_COMMIT | {"before_send"}

Moment = tuple[int, int]
"""A place, and the number of one of its crash points."""


def moments(which: Plan, type_: MessageType | None) -> dict[Moment, str]:
    """The labels of the crash points around correct nodes' votes of a type; None: decisions."""
    found: dict[Moment, str] = {}
    at_commit, send = Node._at_commit, Node.send

    def note_commit(node: Node, label: str, records: Sequence[Record]) -> None:
        votes = {record.vote.type for record in records if isinstance(record, VoteRecord)}
        decides = any(isinstance(record, DecisionRecord) for record in records)
        if decides if type_ is None else type_ in votes:
            found[node.place, node.points] = label
        at_commit(node, label, records)

    async def note_send(node: Node, frame: Frame, to: int | None = None) -> None:
        if any(vote.type is type_ and vote.source == node.place for vote in frame.votes):
            copies = len(node.peers) if to is None else 1
            found.update({(node.place, node.points + n): "before_send" for n in range(copies)})
        await send(node, frame, to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "_at_commit", note_commit)
        patch.setattr(Node, "send", note_send)
        World(which).run()
    return {moment: label for moment, label in found.items() if moment[0] not in which.faulty}


def crashed(
    which: Plan, type_: MessageType | None, *, down_ms: int = 30, everyone: bool = False
) -> Iterator[Report]:
    """Play a plan again and again, with a crash at each of those moments."""
    for (place, number), label in sorted(moments(which, type_).items()):
        for kept in (False, True) if label == "syncing" else (False,):
            crash = Crash(place, None, number, down_ms, kept, everyone)
            report = World(replace(which, faults=(*which.faults, crash))).run()
            assert report.decided == which.instances
            assert report.happened[f"crash: {label}"] == 1
            yield report


def labels_of(reports: Iterator[Report]) -> set[str]:
    """At which sorts of crash points power was lost."""
    happened: Counter[str] = Counter()
    for report in reports:
        happened += report.happened
    return {label for label in EVERYWHERE if happened[f"crash: {label}"]}


def test_a_crash_around_a_prepare() -> None:
    """SCENARIOS K1 to K3: the leader shows both its values to who is back, which stays with one."""
    for seed in range(10):
        lied = replace(
            plan(Liar(0, "EquivocatingLeader"), timer=Timer("exponential", 2_000, 4_000)),
            sync_ms_max=3,
            seed=seed,
        )
        assert labels_of(crashed(lied, MessageType.PREPARE)) == EVERYWHERE


def test_a_crash_around_a_commit() -> None:
    """SCENARIOS K4 to K6: the COMMIT gets lost; the next ROUND-CHANGE shows what is prepared."""
    assert labels_of(crashed(COMMITS_LATE, COMMIT)) == EVERYWHERE


def test_a_crash_around_a_round_change() -> None:
    """SCENARIOS K7 to K9: no vote of a round below follows, and the ROUND-CHANGE is sent again."""
    for seed in range(2):
        assert labels_of(crashed(replace(TOO_SHORT, seed=seed), RC)) == EVERYWHERE


def test_a_crash_around_a_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    """SCENARIOS K10 to K12: the leader's PRE-PREPARE stands, whatever its client asks for then.

    What it had proposed is its input no more, for while it was down its topic was closed to whoever
    proposed that; else the journal would give it the same input again.
    """
    back: set[Authority] = set()
    build, admits = World.replica_of, Authority.admits

    def note(world: World, node: Node) -> WatchedReplica:
        replica = build(world, node)
        if node.life > 1:
            back.add(replica._authority)
        return replica

    def closed(authority: Authority, proposal: Proposal) -> bool:
        is_old = proposal.value.endswith(b"from 0 in life 1")
        return admits(authority, proposal) and not (is_old and authority in back)

    monkeypatch.setattr(World, "replica_of", note)
    monkeypatch.setattr(Authority, "admits", closed)
    again = tuple(ask for at_ms in range(20, 200, 20) for ask in asks(4, at_ms=at_ms))
    asked = replace(CALM, asks=(*CALM.asks, *again))
    assert labels_of(crashed(asked, MessageType.PRE_PREPARE)) == EVERYWHERE


def test_a_crash_around_a_decision() -> None:
    """SCENARIOS K13, K14: it decides the same value, after the restart or as it was kept.

    Clients read no answers in a world: of K14 this shows that the decision is kept, and made once.
    """
    places = 0
    for report in crashed(CALM, None):
        assert len({decision.value for decision in report.decisions}) == 1
        places += len({decision.place for decision in report.decisions}) == 4
    assert places


@pytest.mark.parametrize("late", [False, True], ids=["all hear the COMMITs", "none does"])
def test_a_crash_of_all_after_commits(*, late: bool) -> None:
    """SCENARIOS K15, K16: all fall around each COMMIT; what they are asked then changes nothing."""
    which = COMMITS_LATE if late else CALM
    again = tuple(ask for at_ms in range(20, 600, 40) for ask in asks(4, at_ms=at_ms))
    asked = replace(which, asks=(*which.asks, *again))
    assert labels_of(crashed(asked, COMMIT, everyone=True)) >= AROUND_A_COMMIT
