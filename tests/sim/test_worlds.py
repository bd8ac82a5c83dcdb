"""Whole clusters of shipped replicas under the oracle (SCENARIOS, section 0)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from plans import asks, plan

from qbft.core import InstanceId, Message, MessageType, UponRule
from qbft.crypto.signing import BatchHeader
from qbft.diagram import events as drawn
from qbft.replica.limits import ReplicaLimits
from qbft.replica.replica import Replica
from qbft.sim import world
from qbft.sim.authenticator import SimAuthenticator, content_of
from qbft.sim.byzantine import BEHAVIOURS, TWINS, behaviour
from qbft.sim.byzantine.false_witness import MARK_HEIGHT
from qbft.sim.chronicle import Event
from qbft.sim.network import Network
from qbft.sim.node import Node, WatchedReplica
from qbft.sim.oracle import Oracle, Violation
from qbft.sim.picture import diagram_events
from qbft.sim.plan import (
    Ask,
    Crash,
    DiskCorrupt,
    DiskLost,
    DiskRestored,
    LateStart,
    Liar,
    Partition,
    Plan,
    SlowType,
    Timer,
    Weather,
)
from qbft.sim.swarm import HAPPENS, Tally, draw, run_seed, run_seeds
from qbft.sim.world import World
from qbft.transport import Frame

FIRST_SEED = 0
SEEDS = 200
PIECES = 10
UNJUST = UponRule.UNJUST_QUORUM_ROUND_CHANGES.value
RESEND_MS = ReplicaLimits().resend_ms
ANYBODY = SimAuthenticator(0, 4)
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))

SEEDS_OF_MANY_SIZES = tuple(range(8))

ONE_ROUND = plan(faults_ms=3_000, weather=Weather(1, 30))
SEVERAL_ROUNDS = plan(
    faults_ms=5_000, weather=Weather(200, 700), timer=Timer("exponential", 400, 4_000)
)
"""The first round is too short, so that nodes change rounds while power fails."""

_seen: dict[int, Tally] = {}


def piece(number: int) -> Tally:
    """The runs of one piece of the fixed seeds, each played once for all tests."""
    if number not in _seen:
        size = SEEDS // PIECES
        first = FIRST_SEED + number * size
        _seen[number] = run_seeds(range(first, first + size))
    return _seen[number]


@pytest.mark.xdist_group("fixed seeds")
@pytest.mark.parametrize("number", range(PIECES))
def test_every_seed_keeps_the_oracle_and_decides_everywhere(number: int) -> None:
    """I1 to I8, I10, I11 hold at every step; after healing all decide within the bound (I9)."""
    tally = piece(number)
    assert not tally.violations
    assert tally.runs == SEEDS // PIECES


@pytest.mark.xdist_group("fixed seeds")
def test_the_swarm_meets_every_fault_and_every_rule() -> None:
    """What no run meets is not tested: each kind of fault, each liar, each upon rule happens.

    But for one rule. Of the ROUND-CHANGEs that a correct node was sent it has the proofs as well,
    and the gate of the wire lets bare ones pass only within a PRE-PREPARE, which proves them. What
    it takes is a leader that contradicts the ROUND-CHANGE of its own that it shows there, and a
    node that has heard neither the others' ROUND-CHANGEs nor the PREPAREs behind them: an
    observation, of which nothing follows. The tests of A12 stage it at the engine.
    """
    total = Tally()
    for number in range(PIECES):
        total.add(piece(number))
    assert set(total.rules) == {rule.value for rule in UponRule}
    assert [r for r, n in total.rules.items() if not n] == [UNJUST]
    assert set(total.happened) == set(HAPPENS), "what is counted has a row even where it is 0"
    assert {f"liar: {name}" for name in [*BEHAVIOURS, TWINS]} <= set(HAPPENS)
    assert all(total.happened.values())


@pytest.mark.parametrize("everyone", [False, True], ids=["one node", "all nodes"])
@pytest.mark.parametrize("kept", [False, True], ids=["torn", "kept"])
@pytest.mark.parametrize("calm", [ONE_ROUND, SEVERAL_ROUNDS], ids=["one round", "several rounds"])
def test_a_crash_at_every_point(calm: Plan, *, kept: bool, everyone: bool) -> None:
    """A crash before, in and after each commit, and before each copy of a frame is sent.

    SCENARIOS K21: of each node at each point of a whole run, and of all nodes together at every
    other point; what was being written is torn and truncated, or whole after all. Which of these
    points would show what was forgotten, `test_crash_moments.py` asks vote by vote.
    """
    calm = replace(calm, sync_ms_max=3)
    report = World(calm).run()
    assert (report.rounds_max > 1) == (calm.weather is SEVERAL_ROUNDS.weather)
    labels: Counter[str] = Counter()
    for node, points in enumerate(report.points):
        assert points > 10
        for number in range(node % 2 if everyone else 0, points, 2 if everyone else 1):
            crash = Crash(node, at_point=number, down_ms=300, kept=kept, everyone=everyone)
            crashed = World(replace(calm, faults=(crash,))).run()
            assert crashed.decided == 1
            labels.update(crashed.happened)
    assert {"crash: before_commit", "crash: syncing", "crash: after_commit"} <= set(labels)


def test_rounds_without_progress_never_shrink() -> None:
    """SCENARIOS A21: no PRE-PREPARE arrives for 80 rounds; each lasts as long as its timer says."""
    deaf = [
        SlowType(s, t, MessageType.PRE_PREPARE, 60_000, 0, 20_000)
        for s in range(4)
        for t in range(4)
        if s != t
    ]
    for kind in ("exponential", "linear"):
        timer = Timer(kind, 20, 200)
        which = plan(*deaf, faults_ms=20_000, weather=Weather(1, 5), timer=timer)
        story: list[Event] = []
        World(which, story=story).run()
        for place in range(4):
            entered = [e for e in story if e.kind == "enters round" and e.place == place]
            assert [e.round for e in entered] == list(range(2, len(entered) + 2))
            assert len(entered) > 80
            for one, other in pairwise(entered):
                lasts_ms = timer.policy()().deadline_ms(one.round, 0)
                assert lasts_ms <= other.time_ms - one.time_ms <= lasts_ms + 2 * RESEND_MS


def test_a_rolling_restart() -> None:
    """SCENARIOS K17: a node falls every 300 ms, in turn, 20 times; agreement all along.

    Clients ask all the while, so that most falls hit nodes at work: decisions come after each of
    many falls, and none needs more than healing.
    """
    heights = range(20)
    faults = tuple(Crash(number % 4, at_ms=300 * number + 50, down_ms=250) for number in heights)
    spread = tuple(Ask(300 * h + 40 * place, place, h) for h in heights for place in range(4))
    rolling = replace(plan(*faults, instances=20), asks=spread)
    for seed in range(10):
        report = World(replace(rolling, seed=seed)).run()
        assert report.decided == 20
        assert len({decision.time_ms // 300 for decision in report.decisions}) >= 10


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    """A run is a function of its seed (oracle I12), under any PYTHONHASHSEED (DESIGN, one step).

    Compared is the digest of every record journaled and every frame sent, with its time.
    """
    seeds = SEEDS_OF_MANY_SIZES
    assert len({draw(seed).nodes for seed in seeds}) >= 4
    here = [World(draw(seed), traced=True).run().digest for seed in seeds]
    assert [World(draw(seed), traced=True).run().digest for seed in seeds] == here
    assert len(set(here)) == len(seeds)
    program = (
        "from qbft.sim.swarm import draw\n"
        "from qbft.sim.world import World\n"
        f"print(*[World(draw(seed), traced=True).run().digest for seed in {seeds}])"
    )
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split() == here


def test_watching_a_run_does_not_change_it() -> None:
    """A story or a digest is a bystander: the run is the same without them."""
    for seed in range(10):
        plain = World(draw(seed, 4)).run()
        watched = World(draw(seed, 4), traced=True, story=[]).run()
        assert replace(watched, digest="") == plain


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_once_wrong_stays_right(path: Path) -> None:
    """A scenario file that once showed a failure is played again."""
    World(Plan.from_json(path.read_text(encoding="utf-8"))).run()


def test_a_plan_survives_being_written_down() -> None:
    """A scenario file says all that a plan says."""
    for seed in range(200):
        drawn = draw(seed)
        assert Plan.from_json(drawn.to_json()) == drawn


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        "null",
        '{"faults": [{}]}',
        '{"faults": [7]}',
        '{"faults": {}}',
        '{"colour": 1}',
        '{"nodes": "four"}',
        '{"nodes": 0}',
        '{"nodes": 100000}',
        '{"nodes": true}',
        '{"instances": 100000}',
        '{"faults_ms": -5}',
        '{"faults_ms": 1e3}',
        '{"faults_ms": 100000000000}',
        '{"timer": {"kind": "hourglass"}}',
        '{"timer": {"base_ms": 0}}',
        '{"weather": {"delay_ms_min": 50, "delay_ms_max": 1}}',
        '{"weather": {"loss": 1.5}}',
        '{"weather": {"loss": NaN}}',
        '{"asks": [{"at_ms": 0, "place": 0, "height": 7}]}',
        '{"asks": [{"at_ms": 0, "place": 7, "height": 0}]}',
        '{"asks": [{"at_ms": 0}]}',
        '{"faults": [{"fault": "Earthquake", "place": 0}]}',
        '{"faults": [{"fault": "Crash", "place": 99, "at_ms": 5}]}',
        '{"faults": [{"fault": "Crash", "place": 0, "at_point": -1}]}',
        '{"faults": [{"fault": "DiskCorrupt", "place": -1, "at_ms": 5}]}',
        '{"faults": [{"fault": "Pause", "place": 0, "start_ms": 9, "end_ms": 5}]}',
        '{"faults": [{"fault": "Partition", "groups": [[0], [9]], "start_ms": 0, "end_ms": 5}]}',
        '{"faults": [{"fault": "Cut", "sources": [0], "targets": "all", "start_ms": 0,'
        ' "end_ms": 5}]}',
        '{"faults": [{"fault": "Liar", "place": 0, "behaviour": "Charming"}]}',
        '{"faults": [{"fault": "Liar", "place": 4, "behaviour": "Silent"}]}',
        '{"faults": [{"fault": "Liar", "place": 0, "behaviour": "Twins"},'
        ' {"fault": "Liar", "place": 0, "behaviour": "Silent"}]}',
        '{"faults": [{"fault": "SlowType", "source": 0, "target": 1, "type": 9, "delay_ms": 5,'
        ' "start_ms": 0, "end_ms": 100}]}',
    ],
    ids=lambda text: text[:60] or "nothing",
)
def test_what_is_no_scenario_file_is_refused(text: str) -> None:
    """A ValueError that says so, whatever is in it; not a run that ends as if a node were wrong."""
    with pytest.raises(ValueError, match=r"."):
        Plan.from_json(text)


def test_an_exception_of_a_replica_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """I11: whatever arrives, a replica does not raise."""

    def broken(*given: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(Replica, "recover", broken)
    with pytest.raises(Violation, match="I11: KeyError"):
        World(ONE_ROUND).run()


def test_a_node_that_never_rests_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """I11: a run whose time stands still ends, and says so."""
    monkeypatch.setattr(Replica, "next_due_ms", property(lambda replica: 0))
    (violation,) = run_seed(3, 4).violations.values()
    assert violation.startswith("I11: 20000 events within millisecond ")


def test_what_is_genuine_was_signed_where_its_key_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forger puts others' names on votes all the time; none of them is genuine."""
    signed: set[tuple[object, ...]] = set()
    sign, carry = SimAuthenticator.sign, Network.carry
    signers: set[int] = set()
    forged = 0

    def note(key: SimAuthenticator, votes: Sequence[Message], *given: object) -> object:
        header = sign(key, votes, *given)  # type: ignore[arg-type]
        signed.update((vote.source, *content_of(vote)) for vote in votes)
        return header

    def check(network: Network, source: int, peer: int, frame: Frame, extra_ms: int = 0) -> None:
        nonlocal forged
        signers.add(source)
        for vote in (*frame.votes, *frame.relayed):
            is_genuine = ANYBODY.is_genuine(replace(vote, justification=()))
            forged += not is_genuine
            assert not is_genuine or (vote.source, *content_of(vote)) in signed
        carry(network, source, peer, frame, extra_ms)

    monkeypatch.setattr(SimAuthenticator, "sign", note)
    monkeypatch.setattr(Network, "carry", check)
    for name in sorted(BEHAVIOURS):
        World(plan(Liar(3, name), faults_ms=2_000)).run()
    assert signers == {0, 1, 2, 3}
    assert forged


class RecordingKey(SimAuthenticator):
    """A key that notes whose it is, and what it signs."""

    made: ClassVar[list[RecordingKey]]

    def __init__(self, validator: int, nodes: int) -> None:
        super().__init__(validator, nodes)
        self.validator = validator
        self.sources: set[int] = set()
        self.made.append(self)

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Note whose votes they are."""
        self.sources.update(vote.source for vote in votes)
        return super().sign(votes, store_id, sequence)


@pytest.mark.parametrize("name", sorted([*BEHAVIOURS, TWINS]))
def test_a_liar_has_no_key_but_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byzantine nodes hold their own keys, a twin too; each key signs votes of its validator."""
    RecordingKey.made = hands = []
    for module in (behaviour, world):
        monkeypatch.setattr(module, "SimAuthenticator", RecordingKey)
    running = World(plan(Liar(3, name), faults_ms=2_000))
    replica_of = running.replica_of
    keys: list[tuple[int, RecordingKey]] = []

    def note(node: Node) -> WatchedReplica:
        replica = replica_of(node)
        keys.append((node.validator, hands.pop()))
        return replica

    monkeypatch.setattr(running, "replica_of", note)
    running.run()
    validators = [validator for validator, _ in keys]
    assert set(validators) >= {0, 1, 2}
    assert [key.validator for _, key in keys] == validators
    assert validators.count(3) == {"Silent": 0, TWINS: 2}.get(name, 1)
    assert [key.validator for key in hands] == ([] if name == TWINS else [3])
    assert all(key.sources <= {key.validator} for key in (*hands, *(key for _, key in keys)))


def test_a_node_without_its_votes_decides_beside_a_false_witness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HARDENING W7: one peer remembers nothing and keeps nothing; the others' words are enough.

    What a liar says about memory and marks passes the gate as it is.
    """
    told: list[Frame] = []
    carry = Network.carry

    def note(network: Network, source: int, peer: int, frame: Frame, extra_ms: int = 0) -> None:
        if (source, peer) == (6, 5):
            told.append(frame)
        carry(network, source, peer, frame, extra_ms)

    monkeypatch.setattr(Network, "carry", note)
    lies = (Liar(6, "FalseWitness"), DiskLost(5, at_ms=30, down_ms=100))
    for seed in range(6):
        World(replace(plan(*lies, nodes=7, faults_ms=2_000), seed=seed)).run()
    assert any(frame.memory is not None and frame.memory.is_last for frame in told)
    assert any(frame.marks for frame in told)
    assert {mark.height for frame in told for mark in frame.marks} == {MARK_HEIGHT}


# --- who falls, and what is told of it -----------------------------------------------------------

FALLS = {
    "one that has not started": (
        (LateStart(2, 3_000), Crash(2, at_ms=500, down_ms=50)),
        [("starts", 3_000)],
    ),
    "all, and one has not started": (
        (LateStart(2, 3_000), Crash(0, at_ms=500, down_ms=50, everyone=True)),
        [("starts", 3_000)],
    ),
    "one that is down": (
        (Crash(2, at_ms=500, down_ms=2_000), Crash(2, at_ms=600, down_ms=50)),
        [("starts", 0), ("loses power", 500), ("starts", 2_500)],
    ),
    "one that is down for good": (
        (Crash(2, at_ms=500, down_ms=None), Crash(0, at_ms=600, down_ms=50, everyone=True)),
        [("starts", 0), ("loses power", 500)],
    ),
    "one that is down, then for good": (
        (Crash(2, at_ms=500, down_ms=2_000), Crash(2, at_ms=600, down_ms=None)),
        [("starts", 0), ("loses power", 500)],
    ),
    "one whose disk is lost": (
        (DiskLost(2, at_ms=500, down_ms=50),),
        [("starts", 0), ("loses power", 500), ("starts", 550)],
    ),
    "one that is down when its disk is lost": (
        (Crash(2, at_ms=500, down_ms=2_000), DiskLost(2, at_ms=600, down_ms=50)),
        [("starts", 0), ("loses power", 500), ("starts", 2_500)],
    ),
    "one whose disk is corrupt": (
        (DiskCorrupt(2, at_ms=500),),
        [("starts", 0), ("loses power", 500)],
    ),
    "a liar that never ran": ((Liar(2, "Silent"), Crash(0, at_ms=500, everyone=True)), []),
}


@pytest.mark.parametrize("name", FALLS)
def test_only_who_is_up_falls(name: str) -> None:
    """A crash starts nobody early, ends no downtime, and brings nobody back who is gone."""
    faults, lives = FALLS[name]
    story: list[Event] = []
    World(plan(*faults, faults_ms=5_000), story=story).run()
    told = [e for e in story if e.place == 2 and e.kind in {"starts", "loses power"}]
    assert [(e.kind, e.time_ms) for e in told] == lives


def test_what_finds_nobody_is_told_as_lost() -> None:
    """A frame that arrives at a node that is down, or at its next life, is drawn as a lost one."""
    story: list[Event] = []
    World(plan(Crash(2, at_ms=1, down_ms=1_000), faults_ms=3_000), story=story).run()
    sent = [e for e in story if e.kind == "sends" and e.peer == 2 and e.time_ms < 900]
    assert len(sent) > 3
    assert all(e.delay_ms is None for e in sent)
    assert all(e.delay_ms for e in story if e.kind == "sends" and e.peer != 2 and e.place != 2)


# --- negative controls ----------------------------------------------------------------------------


def test_amnesia_is_caught() -> None:
    """Negative control: nodes that forget their votes at a restart break I5, I6 and I7 (D4)."""
    missing = {"I5", "I6", "I7"}
    for seed in range(SEEDS):
        missing -= set(violations([replace(draw(seed, nodes=4), journal=False)]))
        if not missing:
            return
    raise AssertionError(f"never seen: {missing}")


def test_amnesia_of_f_plus_1_forks() -> None:
    """Negative control: two of four nodes forget their COMMITs, and another value is decided (D4).

    Node 0 alone learns that the first value is decided; then it is cut off.
    """
    pairs = [(s, t) for s in (0, 1, 2) for t in (1, 2) if s != t]
    deaf = [SlowType(*pair, MessageType.COMMIT, 60_000, 0, 300) for pair in pairs]
    sides = (Partition(((0, 1, 2), (3,)), 0, 300), Partition(((0,), (1, 2, 3)), 300, 6_000))
    restarts = [Crash(place, at_ms=300, down_ms=10) for place in (1, 2)]
    careful = replace(plan(*deaf, *sides, *restarts), asks=(*asks(4), *asks(4, at_ms=400)))
    assert not violations([careful])
    assert violations([replace(careful, journal=False)]) == {"I7": 1}
    lost = [DiskRestored(place, 0, at_ms=300, down_ms=10) for place in (1, 2)]
    assert violations([replace(careful, faults=(*deaf, *sides, *lost))]) == {"I1": 1}
    amnesiac = World(replace(careful, journal=False))
    amnesiac.oracle = Oracle(4, {0, 3})  # it lets the two forget, as it does what liars do
    with pytest.raises(Violation, match=r"^I1:"):
        amnesiac.run()


def test_more_liars_than_may_be_fork() -> None:
    """SCENARIOS C24: with f+1 Byzantine nodes the oracle reports a fork (I1)."""
    liars = (Liar(0, TWINS), Liar(1, TWINS))
    sides = Partition(((0, 1, 2), (3, 4, 5)), 0, 2_000)
    found = violations(replace(plan(*liars, sides), seed=seed) for seed in range(20))
    assert found["I1"]
    leaders = (Liar(0, "EquivocatingLeader"), Liar(1, "SplitVoter"))
    found = violations(replace(plan(*leaders), seed=seed) for seed in range(200))
    assert found["I1"]


def violations(plans: Iterable[Plan]) -> Counter[str]:
    """Which properties these plans violate, and how often."""
    found: Counter[str] = Counter()
    for each in plans:
        violation, _ = World.play(each)
        if violation is not None:
            found[str(violation).partition(":")[0]] += 1
    return found


# --- pictures -------------------------------------------------------------------------------------


def test_a_story_becomes_the_events_of_a_diagram() -> None:
    """Starts, rounds, timers, flights and decisions of one instance; a liar's votes are marked."""
    which = plan(
        Liar(0, "EquivocatingLeader"), Crash(3, at_ms=50, down_ms=100), instances=2, seed=3
    )
    story: list[Event] = []
    World(which, story=story).run()
    instance = InstanceId("sim", 0)
    shown = diagram_events(which, story, instance)
    kinds = {type(event) for event in shown}
    assert kinds >= {
        drawn.Started,
        drawn.Crashed,
        drawn.TimerStarted,
        drawn.MessageFlight,
        drawn.Decided,
        drawn.Note,
    }
    flights = [event for event in shown if isinstance(event, drawn.MessageFlight)]
    assert {flight.byzantine for flight in flights} == {True, False}
    decided = {event.node: event.value for event in shown if isinstance(event, drawn.Decided)}
    assert set(decided) == {1, 2, 3}
    assert len(set(decided.values())) == 1
    assert set(decided.values()) <= {flight.value for flight in flights}
