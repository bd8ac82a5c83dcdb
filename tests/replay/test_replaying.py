"""Replay: a record through the shipped engine again, drawn, and told to the simulator (issue 7)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded_runs import FIRST, plan, records, vote

from qbft.core import MessageType, RuleFired, Start
from qbft.diagram import Decided, MessageFlight, RoundEntered, TimerStarted, space_time_svg
from qbft.diagram.drawing import FLIGHTS_MAX
from qbft.replay.drawing import diagram_events
from qbft.replay.record import Entry, InstanceRecord
from qbft.replay.running import replayed
from qbft.replay.words import effects_in_words, entry_in_words
from qbft.sim.plan import Crash, LateStart, Liar, Plan, SlowType
from qbft.sim.retold import plan_of
from qbft.sim.world import World

CALM = plan()
CRASHED = plan(Crash(1, at_ms=25, down_ms=300), seed=3)
SILENT = plan(Liar(0, "Silent"), seed=2)
LYING = plan(Liar(0, "EquivocatingLeader"), seed=5)


@pytest.mark.parametrize("which", [CALM, CRASHED, SILENT, LYING])
def test_the_engine_does_again_what_it_did(which: Plan) -> None:
    """In every recorded life each step has the effects that were recorded, to the decision.

    DESIGN, one step: the same inputs give the same effects; what was recorded is all of them.
    """
    for record in records(which):
        steps = list(replayed(record))
        assert record.is_whole
        assert not any(step.differs for step in steps)
        assert [step.entry for step in steps] == list(record.entries)


def test_what_was_recorded_otherwise_is_shown() -> None:
    """An effect that the engine does not have again is told, at its very step."""
    record = records(CALM)[0]
    number = next(n for n, e in enumerate(record.entries) if e.effects and n > 3)
    entries = list(record.entries)
    entries[number] = replace(entries[number], effects=())
    steps = list(replayed(replace(record, entries=tuple(entries))))
    assert [n for n, step in enumerate(steps) if step.differs] == [number]


def test_a_record_without_its_beginning_is_replayed_as_far_as_it_goes() -> None:
    """Where earlier entries made way the engine starts with what is left, and nothing fails."""
    record = records(CALM)[0]
    rest = replace(record, entries=record.entries[-4:], dropped=9)
    assert not rest.is_whole
    assert len(list(replayed(rest))) == 4


def test_a_hostile_record_ends_its_engine_and_nothing_else() -> None:
    """What the gate of the wire would have refused makes the engine fail: the step says so."""
    nested = replace(vote(1, FIRST), justification=(vote(2, FIRST, nested=(vote(3, FIRST),)),))
    entries = (Entry(0, 0, Start()), Entry(1, 1, nested))
    steps = list(replayed(InstanceRecord(FIRST, 0, 4, 0, entries), compare=False))
    assert [effects_in_words(step.effects)[-1].startswith("fails") for step in steps][1]


def test_every_rule_is_told_in_words() -> None:
    """The table has, of each step, what came and what the engine did about it."""
    steps = list(replayed(records(SILENT)[0]))
    told = [entry_in_words(step.entry) for step in steps]
    done = [words for step in steps for words in effects_in_words(step.effects)]
    assert told[0] == "start"
    assert told[1] == "timer of round 1 runs for 500 ms"
    assert any(words.startswith("ROUND-CHANGE of 2, round 2") for words in told)
    assert any(words.startswith("enters round 2: ") for words in done)
    assert any(words.startswith("decides ") for words in done)


def test_arrows_have_both_ends_where_both_nodes_were_recorded() -> None:
    """With the records of all nodes each arrow is whole, and none points back in time."""
    events = diagram_events(records(CALM))
    flights = [event for event in events if isinstance(event, MessageFlight)]
    assert flights
    for flight in flights:
        assert flight.sent_ms is not None
        assert flight.received_ms is not None
        assert flight.sent_ms <= flight.received_ms
    assert {event.node for event in events if isinstance(event, Decided)} == {0, 1, 2, 3}
    assert any(isinstance(event, TimerStarted) for event in events)
    assert space_time_svg(events).startswith("<svg")


def test_one_record_draws_half_arrows() -> None:
    """Of one node alone it is known when messages came, and when its own left."""
    events = diagram_events(records(CALM)[1:2])
    flights = [event for event in events if isinstance(event, MessageFlight)]
    assert all((f.sent_ms is None) != (f.received_ms is None) for f in flights)
    assert {f.target for f in flights if f.source == 1} == {0, 2, 3}
    assert any(isinstance(event, RoundEntered) for event in events)


def test_a_file_full_of_messages_is_drawn_and_told_within_bounds() -> None:
    """One node of 256 that said 3,000 things: neither picture nor scenario grows with them."""
    said = tuple(Entry(n, 1, vote(1, FIRST, round_=n + 1)) for n in range(3_000))
    record = InstanceRecord(FIRST, 1, 256, 0, (Entry(0, 1, Start()), *said))
    flights = [e for e in diagram_events([record]) if isinstance(e, MessageFlight)]
    assert len(flights) == FLIGHTS_MAX
    assert len(plan_of([record, replace(record, validator=2)]).faults) < 1_000


@pytest.mark.parametrize("which", [CALM, CRASHED, LYING])
def test_a_case_becomes_a_scenario_that_runs(which: Plan) -> None:
    """What was recorded is written as a plan, survives its file, and the oracle is content."""
    told = plan_of(records(which))
    assert Plan.from_json(told.to_json()) == told
    assert told.nodes == which.nodes
    assert len(told.asks) >= 1
    World(told).run()


def test_a_silent_leader_is_silent_in_the_scenario_too() -> None:
    """A node of which nothing was heard starts late there; round 1 decides nothing, as it did."""
    told = plan_of(records(SILENT))
    assert [fault.place for fault in told.faults if isinstance(fault, LateStart)] == [0]
    assert told.timer.base_ms == SILENT.timer.base_ms
    rules = World(told).run().rules
    assert rules["round_timeout"] > 0


def test_who_said_two_things_lies_in_the_scenario_too() -> None:
    """Two values of one leader in one round make it an equivocating leader."""
    told = plan_of(records(LYING))
    assert Liar(0, "EquivocatingLeader") in told.faults


def test_a_slow_link_is_slow_in_the_scenario_too() -> None:
    """Votes of one type that took far longer than others on one link do so again."""
    slow = plan(SlowType(0, 2, int(MessageType.PRE_PREPARE), 400, 0, 2_000), seed=4)
    told = plan_of(records(slow))
    assert any(
        isinstance(fault, SlowType) and (fault.source, fault.target) == (0, 2)
        for fault in told.faults
    )


def test_the_rules_of_a_run_are_those_of_its_replay() -> None:
    """The replays of all nodes fire the rules that the run fired (timeouts are no rule fired)."""
    fired = {
        effect.rule.value
        for record in records(SILENT)
        for step in replayed(record)
        for effect in step.effects
        if isinstance(effect, RuleFired)
    }
    assert {"quorum_prepares", "quorum_commits"} <= fired
