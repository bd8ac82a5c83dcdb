"""Group A of the catalogue: the happy path, round changes and timers."""

from __future__ import annotations

from random import Random

import pytest
from scenario_cluster import Plot, drops, for_seeds, play, staged
from scenario_engine import (
    Process,
    commit,
    commits,
    decisions,
    fired,
    moves,
    nulls,
    pre_prepare,
    prepare,
    prepares,
    round_change,
    sent,
    sources,
    timers,
    unjustified,
)

from qbft.core import InputValue, MessageType, UponRule, quorum
from qbft.timers import constant

NEAR = (1, 30)
"""Delays of copies on a good network, in milliseconds."""


@pytest.mark.parametrize("instance", [0, 1])
async def test_a01_all_up_decide_in_round_1(instance: int) -> None:
    """SCENARIOS A1: everybody decides the value of round 1's leader."""

    async def scenario(seed: int) -> None:
        stage = await play(Plot(instance=instance, copy_delay_ms=NEAR), seed)
        assert stage.outcome == ({1}, {instance})

    await for_seeds(scenario)


SIZES = [1, 2, 3, 5, 6, 7, 10, 13]


@pytest.mark.parametrize("nodes", SIZES)
async def test_a02_exactly_a_quorum_decides(nodes: int) -> None:
    """SCENARIOS A2: any Q processes decide without the others (25 seeds for each of 8 sizes)."""

    async def scenario(seed: int) -> None:
        up = tuple(Random(seed).sample(range(nodes), quorum(nodes)))
        stage = await play(Plot(nodes=nodes, processes=up, copy_delay_ms=NEAR), seed)
        assert stage.has_decided

    await for_seeds(scenario, 25)


@pytest.mark.parametrize("nodes", [n for n in SIZES if n > 1])
async def test_a02_one_less_than_a_quorum_never_decides(nodes: int) -> None:
    """SCENARIOS A2: Q-1 processes go on and on, without a decision and without an error."""

    async def scenario(seed: int) -> None:
        up = tuple(Random(seed).sample(range(nodes), quorum(nodes) - 1))
        plot = Plot(nodes=nodes, processes=up, copy_delay_ms=NEAR, rounds_max=8)
        stage = await play(plot, seed)
        assert not stage.decisions
        assert max(stage.rounds.values()) == 9

    await for_seeds(scenario, 25)


async def test_a03_a_late_leader_costs_one_round() -> None:
    """SCENARIOS A3: the leader of round 1 starts 2 s late; round 2 decides leader 2's value."""

    async def scenario(seed: int) -> None:
        stage = await play(Plot(start_ms={0: 2_000}, copy_delay_ms=NEAR), seed)
        assert stage.outcome == ({2}, {1})

    await for_seeds(scenario)


async def test_a04_two_late_leaders_cost_two_or_three_rounds() -> None:
    """SCENARIOS A4: the first two leaders are 5 s and 10 s late; round 3 or 4 decides."""

    async def scenario(seed: int) -> None:
        stage = await play(Plot(start_ms={0: 5_000, 1: 10_000}, copy_delay_ms=NEAR), seed)
        rounds, values = stage.outcome
        assert rounds <= {3, 4}
        assert values == {round_ - 1 for round_ in rounds}

    await for_seeds(scenario)


async def test_a05_a_prepared_value_survives_the_round() -> None:
    """SCENARIOS A5: COMMITs of round 1 are lost; round 2 decides round 1's value, not its own."""

    async def scenario(seed: int) -> None:
        plot = Plot(drops=drops(MessageType.COMMIT, 1), copy_delay_ms=NEAR)
        stage = await play(plot, seed)
        assert stage.outcome == ({2}, {0})

    await for_seeds(scenario)


async def test_a06_prepared_in_round_2_decided_in_round_3() -> None:
    """SCENARIOS A6: with a constant timer, the value of round 2 is decided in round 3."""

    async def scenario(seed: int) -> None:
        plot = Plot(
            timer=constant(1_000),
            input_ms={0: 2_000},
            drops=drops(MessageType.COMMIT, 1, 2),
            copy_delay_ms=NEAR,
        )
        stage = await play(plot, seed)
        assert stage.outcome == ({3}, {1})

    await for_seeds(scenario)


@pytest.mark.parametrize(("late_ms", "round_"), [(500, 1), (1_500, 2)])
async def test_a07_late_input_counts_within_its_round(late_ms: int, round_: int) -> None:
    """SCENARIOS A7: the input that comes within the leader's round is proposed; after it, not."""

    async def scenario(seed: int) -> None:
        stage = await play(Plot(input_ms={0: late_ms}, copy_delay_ms=NEAR), seed)
        assert stage.outcome == ({round_}, {round_ - 1})
        assert len(sent(stage.effects[0], MessageType.PRE_PREPARE)) == (1 if round_ == 1 else 0)

    await for_seeds(scenario)


def test_a07_late_input_carries_the_cached_justification() -> None:
    """SCENARIOS A7: the proof gathered before the input came goes out with it, in its round."""
    leader = Process(1)
    leader.time_out()
    assert not sent(leader.take(*nulls([0, 2], 2)))
    (proposal,) = sent(leader.take(InputValue("mine")), MessageType.PRE_PREPARE)
    assert (proposal.round, proposal.value) == (2, "mine")
    assert proposal.justification == nulls([0, 1, 2], 2)


def test_a07_input_after_the_round_is_not_proposed() -> None:
    """SCENARIOS A7: the cached proof dies with its round."""
    leader = Process(1)
    leader.time_out()
    leader.take(*nulls([0, 2], 2))
    leader.time_out()
    assert leader.take(InputValue("mine")) == []


def test_a08_a_prepared_value_needs_no_input() -> None:
    """SCENARIOS A8: a leader without input proposes what J2 proves, at once."""
    leader = Process(1)
    leader.time_out()
    proof = prepares([0, 2, 3], 1, "v")
    leader.take(round_change(0, 2, 1, "v", proof))
    (proposal,) = sent(leader.take(round_change(2, 2, 1, "v", proof)), MessageType.PRE_PREPARE)
    assert proposal.value == "v"
    assert sources(proposal.justification) == [0, 1, 2, 0, 2, 3]


def test_a09_null_round_changes_come_first() -> None:
    """SCENARIOS A9: three null RCs before its own prepared one: the leader proposes its input."""
    leader = Process(1, input_value="mine")
    leader.take(pre_prepare(0, 1, "v"), *prepares([0, 2], 1, "v"))
    assert leader.engine.prepared_value == "v"
    leader.loops_back = False
    (own,) = sent(leader.time_out())
    assert own.prepared_value == "v"
    (proposal,) = sent(leader.take(*nulls([0, 2, 3], 2)))
    assert proposal.value == "mine"
    assert proposal.justification == nulls([0, 2, 3], 2)


def test_a10_the_prepared_round_change_wins() -> None:
    """SCENARIOS A10: RCs {pr=2 v2, null, null} with PREPAREs of round 2: v2 is proposed."""
    leader = Process(2, input_value="mine")
    leader.time_out(2)
    leader.take(round_change(0, 3))
    proposals = sent(
        leader.take(round_change(1, 3, 2, "v2", prepares([0, 1, 3], 2, "v2"))),
        MessageType.PRE_PREPARE,
    )
    assert [proposal.value for proposal in proposals] == ["v2"]


def test_a11_of_two_prepared_values_the_prepares_tell() -> None:
    """SCENARIOS A11, #540: two pvs at the highest pr; the PREPAREs' value goes, and is accepted.

    The liar's RC reaches the log unproven, nested in another message of the liar's.
    """
    leader = Process(1, input_value="mine")
    leader.time_out()
    lie = round_change(0, 2, 1, "lie")
    leader.take(commit(0, 1, "lie", lie))
    honest = round_change(2, 2, 1, "v", prepares([1, 2, 3], 1, "v"))
    (proposal,) = sent(leader.take(honest), MessageType.PRE_PREPARE)
    assert proposal.value == "v"
    assert lie in proposal.justification
    follower = Process(3)
    assert [m.value for m in sent(follower.take(proposal), MessageType.PREPARE)] == ["v"]


def test_a12_an_unjust_quorum_may_become_just() -> None:
    """SCENARIOS A12: after UnjustQuorumRoundChanges a justifying RC still fires the real rule."""
    leader = Process(1, input_value="mine")
    leader.loops_back = False
    leader.time_out()
    leader.take(commit(3, 1, "lie", round_change(3, 2, 1, "lie")))
    effects = leader.take(*nulls([0, 2], 2))
    assert fired(effects) == [UponRule.UNJUST_QUORUM_ROUND_CHANGES]
    effects = leader.take(round_change(1, 2))
    assert fired(effects) == [UponRule.QUORUM_ROUND_CHANGES]
    assert [m.value for m in sent(effects)] == ["mine"]


@pytest.mark.parametrize("rounds", [(2, 4), (4, 2)])
def test_a13_f_plus_1_round_changes_pull_to_the_lowest(rounds: tuple[int, int]) -> None:
    """SCENARIOS A13: RCs of F+1 sources for r+1 and r+3: go to r+1 and say so."""
    process = Process(0)
    assert not moves(process.take(round_change(1, rounds[0])))
    effects = process.take(round_change(2, rounds[1]))
    assert moves(effects) == timers(effects) == [2]
    assert sent(effects) == [round_change(0, 2)]


def test_a13_two_round_changes_of_one_source_do_not_pull() -> None:
    """SCENARIOS A13: F+1 messages are not F+1 sources."""
    process = Process(0)
    assert process.take(round_change(1, 2), round_change(1, 4)) == []


def test_a14_a_justified_pre_prepare_pulls_ahead() -> None:
    """SCENARIOS A14: PP for r+5: jump, restart the timer, PREPARE; no RC is sent."""
    process = Process(0)
    effects = process.take(pre_prepare(1, 6, "v", *nulls([1, 2, 3], 6)))
    assert moves(effects) == timers(effects) == [6]
    assert sent(effects) == [prepare(0, 6, "v")]


def test_a15_a_timer_after_the_decision_is_nothing() -> None:
    """SCENARIOS A15, #513: a tick that comes too late sends nothing."""
    process = Process(3)
    assert decisions(process.take(*commits([0, 1, 2], 1, "v")))
    assert process.time_out() == []


@pytest.mark.parametrize(
    "late",
    [
        (pre_prepare(0, 1, "v"),),
        prepares([0, 1, 2], 1, "v"),
        commits([0, 1, 2], 1, "v"),
    ],
    ids=["pre-prepare", "prepares", "commits"],
)
def test_a16_an_older_round_is_ignored(late: tuple[object, ...]) -> None:
    """SCENARIOS A16: PP, PREPAREs or COMMITs of the round before do nothing."""
    process = Process(3)
    process.time_out()
    assert process.take(*late) == []  # type: ignore[arg-type]


async def test_a16_commits_that_come_after_the_timeout_do_not_decide() -> None:
    """SCENARIOS A16, D1: over `run()`, the quorum completed 1 ms too late is no decision."""
    async with staged(Plot(processes=(3,))) as stage:
        await stage.reach_ms(500)
        stage.say(0, 3, commit(0, 1, "v"))
        stage.say(1, 3, commit(1, 1, "v"))
        await stage.reach_ms(1_001)
        stage.say(2, 3, commit(2, 1, "v"))
        await stage.reach_ms(2_000)
        assert stage.rounds == {3: 2}
        assert not stage.decisions


def test_a17_a_duplicate_pre_prepare_restarts_no_timer() -> None:
    """SCENARIOS A17: of several PPs of a round the first alone restarts the timer."""
    process = Process(3)
    effects = process.take(*[pre_prepare(0, 1, "v")] * 3)
    assert timers(effects) == [1]
    assert sent(effects) == [prepare(3, 1, "v")]


def test_a18_a_prepare_quorum_needs_no_pre_prepare() -> None:
    """SCENARIOS A18: PREPAREs first: COMMIT; the PP after them is PREPAREd all the same."""
    process = Process(3)
    assert sent(process.take(*prepares([0, 1, 2], 1, "v"))) == [commit(3, 1, "v")]
    assert sent(process.take(pre_prepare(0, 1, "v"))) == [prepare(3, 1, "v")]


async def test_a19_future_commits_decide_when_heard_again() -> None:
    """SCENARIOS A19: over `run()`, buffered COMMITs of a later round wait for a re-delivery."""
    async with staged(Plot(processes=(3,))) as stage:
        for message in (*commits([0, 1, 2], 2, "v"), *nulls([0, 1], 2)):
            stage.say(message.source, 3, message)
        await stage.reach_ms(500)
        assert stage.rounds == {3: 2}
        assert not stage.decisions
        stage.say(1, 3, commit(1, 2, "v"))
        await stage.ended.wait()
        assert stage.outcome == ({2}, {"v"})


def test_a20_a_fourth_round_change_brings_no_second_proposal() -> None:
    """SCENARIOS A20: the leader proposes once in its round."""
    leader = Process(1, input_value="mine")
    leader.time_out()
    assert len(sent(leader.take(*nulls([0, 2], 2)), MessageType.PRE_PREPARE)) == 1
    effects = leader.take(round_change(3, 2))
    assert not sent(effects)
    assert not unjustified(effects)
