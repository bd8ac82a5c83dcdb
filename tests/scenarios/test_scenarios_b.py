"""Group B of the catalogue: a Byzantine leader."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import combinations

import pytest
from scenario_cluster import Plot, Stage, for_seeds, staged
from scenario_engine import (
    Process,
    commit,
    decisions,
    moves,
    nulls,
    pre_prepare,
    prepare,
    prepares,
    round_change,
    sent,
    unjustified,
)

from qbft.core import Message, MessageType

NEAR = (1, 30)


def test_b01_two_values_in_one_round_get_one_prepare() -> None:
    """SCENARIOS B1: an equivocating leader gets a PREPARE for the first value only."""
    process = Process(3)
    effects = process.take(pre_prepare(0, 1, "v1"), pre_prepare(0, 1, "v2"))
    assert sent(effects) == [prepare(3, 1, "v1")]


def test_b02_nor_when_the_first_one_changed_the_round() -> None:
    """SCENARIOS B2, #4624: the jump wipes the fired rules, and must not allow a second PREPARE."""
    process = Process(3)
    proof = nulls([0, 1, 2], 2)
    effects = process.take(pre_prepare(1, 2, "v1", *proof), pre_prepare(1, 2, "v2", *proof))
    assert moves(effects) == [2]
    assert sent(effects) == [prepare(3, 2, "v1")]


async def equivocate(stage: Stage, liars: Iterable[int], camps: dict[str, list[int]]) -> None:
    """Let the liars tell each camp its own value, completely, and now and then the other camp."""
    random = stage.random
    told = [
        (liar, to, message)
        for value, camp in camps.items()
        for to in stage.processes
        for liar in liars
        for message in (pre_prepare(0, 1, value), prepare(liar, 1, value), commit(liar, 1, value))
        if to in camp or (message.type is not MessageType.PRE_PREPARE and random.random() < 0.5)
    ]
    for liar, to, message in told:
        loop = asyncio.get_running_loop()
        loop.call_later(random.uniform(0, 1.5), stage.say, liar, to, message)
    await stage.ended.wait()


async def test_b03_a_split_of_two_to_one_never_forks() -> None:
    """SCENARIOS B3: v1 to two nodes, v2 to one: one value at most, and a decision in the end."""
    rounds = set()

    async def scenario(seed: int) -> None:
        async with staged(Plot(processes=(1, 2, 3), copy_delay_ms=NEAR), seed) as stage:
            honest = stage.random.sample(stage.processes, 3)
            await equivocate(stage, [0], {"v1": honest[:2], "v2": honest[2:]})
        rounds.update(stage.outcome[0])

    if await for_seeds(scenario) > 1:
        assert len(rounds) > 1, "the split always ended the same way: it tests nothing"


async def test_b04_two_liars_of_seven_split_three_to_two() -> None:
    """SCENARIOS B4: leader and helper against five honest nodes: agreement, and a decision."""
    rounds = set()

    async def scenario(seed: int) -> None:
        plot = Plot(nodes=7, processes=(2, 3, 4, 5, 6), copy_delay_ms=NEAR)
        async with staged(plot, seed) as stage:
            honest = stage.random.sample(stage.processes, 5)
            await equivocate(stage, [0, 1], {"v1": honest[:3], "v2": honest[3:]})
        rounds.update(stage.outcome[0])

    if await for_seeds(scenario) > 1:
        assert len(rounds) > 1, "the split always ended the same way: it tests nothing"


def is_refused(proposal: Message) -> bool:
    """Whether a process that has seen nothing yet drops the PRE-PREPARE as unjustified."""
    effects = Process(3).take(proposal)
    return unjustified(effects) == [proposal] and not sent(effects) and not moves(effects)


def test_b05_no_value_is_unjust() -> None:
    """SCENARIOS B5, #4619: None is no value to agree on."""
    assert is_refused(pre_prepare(0, 1, None))
    assert not is_refused(pre_prepare(0, 1, "v"))


def test_b06_another_than_the_leader_is_unjust() -> None:
    """SCENARIOS B6: only the round's leader proposes."""
    assert all(is_refused(pre_prepare(source, 1, "v")) for source in (1, 2, 3))
    assert is_refused(pre_prepare(0, 2, "v", *nulls([0, 1, 2], 2)))


@pytest.mark.parametrize(
    ("proof", "refused"),
    [
        ((), True),
        (nulls([0, 1], 3), True),
        (nulls([0, 1, 1], 3), True),
        (nulls([0, 1], 3) + nulls([3], 2), True),
        (nulls([0, 1, 3], 4), True),
        (nulls([0, 1, 3], 3), False),
    ],
    ids=["none", "Q-1", "duplicate source", "one of another round", "another round", "genuine"],
)
def test_b07_round_3_needs_a_quorum_of_round_changes(
    proof: tuple[Message, ...], refused: bool
) -> None:
    """SCENARIOS B7: none, Q-1, duplicate-source or other-round RCs prove nothing."""
    assert is_refused(pre_prepare(2, 3, "v", *proof)) is refused


LOCKED = (round_change(0, 3, 1, "v"), *nulls([1, 2], 3))
"""RCs of round 3, one of them prepared in round 1."""


def test_b08_a_proven_value_is_not_the_leaders_to_change() -> None:
    """SCENARIOS B8: with J2 the value is the prepared one."""
    proof = LOCKED + prepares([0, 1, 2], 1, "v")
    assert is_refused(pre_prepare(2, 3, "mine", *proof))
    assert not is_refused(pre_prepare(2, 3, "v", *proof))


def test_b09_prepares_below_a_prepared_round_are_unjust() -> None:
    """SCENARIOS B9: the PREPAREs must be of the highest prepared round in Qrc."""
    higher = (round_change(1, 3, 2, "w"), round_change(0, 3, 1, "v"), round_change(2, 3))
    assert is_refused(pre_prepare(2, 3, "v", *higher, *prepares([0, 1, 2], 1, "v")))
    assert not is_refused(pre_prepare(2, 3, "w", *higher, *prepares([0, 1, 2], 2, "w")))


@pytest.mark.parametrize(
    "proof",
    [
        (*prepares([0, 1], 1, "v"), prepare(2, 1, "w")),
        (*prepares([0, 1], 1, "v"), prepare(2, 2, "v")),
        prepares([0, 1, 1], 1, "v"),
        prepares([0, 1, 2, 2], 1, "v"),
        prepares([0, 1], 1, "v"),
        (),
    ],
    ids=["two values", "two rounds", "duplicate", "Q and a duplicate", "Q-1", "none"],
)
def test_b10_prepares_must_be_one_set(proof: tuple[Message, ...]) -> None:
    """SCENARIOS B10: mixed, duplicate or too few PREPAREs prove nothing."""
    assert is_refused(pre_prepare(2, 3, "v", *LOCKED, *proof))


def test_b11_j1_without_the_locked_node_cannot_be_built_after_a_decision() -> None:
    """SCENARIOS B11: a decision leaves too few genuine null RCs, however they are combined.

    The leader of round 2 lies; the others decided "v" in round 1 with or without it, and it takes
    whatever RCs there are, its own forged ones included.
    """
    honest = {index: Process(index) for index in (0, 2, 3)}
    for votes in (prepares([0, 1, 2], 1, "v"), [commit(index, 1, "v") for index in (0, 1, 2)]):
        effects = honest[0].take(*votes)
    assert decisions(effects)
    honest[2].take(*prepares([0, 1, 2], 1, "v"))  # locked: its COMMIT is among those that decided
    genuine = [sent(honest[index].time_out())[0] for index in (2, 3)]
    forged = [round_change(1, 2), round_change(1, 2, 1, "w"), round_change(1, 2, 1, "v")]
    pool = [change.stripped() for change in genuine] + forged
    extra = prepares([0, 1, 2], 1, "v")
    for size in range(len(pool) + 1):
        for chosen in combinations(pool, size):
            assert is_refused(pre_prepare(1, 2, "w", *chosen))
            assert is_refused(pre_prepare(1, 2, "w", *chosen, *extra))


def test_b11_genuine_null_round_changes_are_enough() -> None:
    """SCENARIOS B11: a J1 that leaves out a locked node is accepted if Q are null."""
    assert not is_refused(pre_prepare(1, 2, "w", *nulls([0, 1, 3], 2)))
    assert is_refused(pre_prepare(1, 2, "w", *nulls([1, 3], 2), round_change(2, 2, 1, "v")))
