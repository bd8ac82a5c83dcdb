"""The engine scenario table (MATRIX, table 1): 200 seeds a row.

Ids are 1 to 4 and leader(instance, round) = (instance + round) mod 4, so that id 0, which does not
exist, leads one round in four, and id 4 never leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from scenario_cluster import Plot, Stage, drops, for_seeds, play, staged

from qbft.core import Message, MessageType, max_faulty, quorum
from qbft.timers import TimerPolicy, constant, restarting_exponential

EXPONENTIAL = restarting_exponential(1_000)
CONSTANT = constant(1_000)
IDS = (1, 2, 3, 4)


def leader(instance: int, round_: int) -> int:
    """The table's leader."""
    return (instance + round_) % 4


@dataclass(frozen=True)
class Row:
    """One row: what happens, and the round that decides (None: any)."""

    instance: int
    round: int | None
    timer: TimerPolicy = EXPONENTIAL
    value: int | None = None
    """The value decided; None: that of the decided round's leader, or any where the round is."""
    lost_commits: tuple[int, ...] = ()
    start_ms: Mapping[int, int] = field(default_factory=dict)
    input_ms: Mapping[int, int] = field(default_factory=dict)
    jitter_ms: int = 0
    loss: float = 0.0
    fuzz: bool = False

    @property
    def plot(self) -> Plot:
        """The row as a plot."""
        only_leader = self.round == 1
        return Plot(
            nodes=4,
            leader=leader,
            processes=IDS,
            instance=self.instance,
            timer=self.timer,
            inputs={i: i for i in IDS if not only_leader or i == leader(self.instance, 1)},
            input_ms=self.input_ms,
            start_ms=self.start_ms,
            broadcast_delay_ms=(self.jitter_ms, 2 * self.jitter_ms),
            loss=self.loss,
            duplication=0.1,
            drops=drops(MessageType.COMMIT, *self.lost_commits),
        )


ROWS = {
    "happy 0": Row(0, 1),
    "happy 1": Row(1, 1),
    "prepare round 1, decide round 2": Row(0, 2, value=1, lost_commits=(1,)),
    "prepare round 2, decide round 3": Row(
        0, 3, CONSTANT, value=2, lost_commits=(1, 2), input_ms={1: 2_000}
    ),
    "leader late exp": Row(0, 2, start_ms={1: 2_000}),
    "leader down const": Row(0, 2, CONSTANT, start_ms={1: 2_000}),
    "very late exp": Row(3, 4, start_ms={1: 5_000, 2: 10_000}),
    "very late const": Row(1, None, CONSTANT, start_ms={1: 5_000, 2: 10_000}),
    "stagger start exp": Row(0, None, start_ms={2: 1_000, 3: 2_000, 4: 3_000}),
    "stagger start const": Row(0, None, CONSTANT, start_ms={2: 1_000, 3: 2_000, 4: 3_000}),
    "very delayed value exp": Row(3, 4, input_ms={1: 5_000, 2: 10_000}),
    "very delayed value const": Row(1, None, CONSTANT, input_ms={1: 5_000, 2: 10_000}),
    "stagger delayed value exp": Row(0, None, input_ms={2: 1_000, 3: 2_000, 4: 3_000}),
    "stagger delayed value const": Row(0, None, CONSTANT, input_ms={2: 1_000, 3: 2_000, 4: 3_000}),
    "round 1 leader no value, round 2 leader offline": Row(
        0, 3, CONSTANT, input_ms={1: 1_000}, start_ms={2: 2_000}
    ),
    "500 ms jitter exp": Row(3, None, jitter_ms=500),
    "200 ms jitter const": Row(3, None, CONSTANT, jitter_ms=200),
    "drop 10 % const": Row(1, None, CONSTANT, loss=0.1),
    "drop 30 % const": Row(1, None, CONSTANT, loss=0.3),
    "fuzz": Row(1, 1, CONSTANT, fuzz=True),
    "fuzz with late leader": Row(1, None, CONSTANT, fuzz=True, start_ms={1: 2_000, 2: 2_000}),
    "fuzz with very late leader": Row(
        1, None, CONSTANT, fuzz=True, start_ms={1: 10_000, 2: 10_000}
    ),
}


async def send_nonsense(stage: Stage) -> None:
    """Every 100 ms, whatever comes to mind, in the name of process 1."""
    random = stage.random
    while True:
        await asyncio.sleep(0.1)
        stage.broadcast(1, nonsense(random, stage.plot.instance))


def nonsense(random: Random, instance: object) -> Message:
    """A random message without justification; value 0 is no value."""
    return Message(
        MessageType(random.randint(1, 5)),
        instance,
        1,
        random.randint(0, 9),
        random.randint(0, 9) or None,
        random.randint(0, 9),
        random.randint(0, 9) or None,
    )


@pytest.mark.parametrize("name", ROWS)
async def test_row(name: str) -> None:
    """MATRIX table 1: all decide alike, in the row's round, the row's value."""
    row = ROWS[name]

    async def scenario(seed: int) -> None:
        async with staged(row.plot, seed) as stage:
            fuzzing = asyncio.create_task(send_nonsense(stage)) if row.fuzz else None
            try:
                await stage.ended.wait()
            finally:
                if fuzzing is not None:
                    fuzzing.cancel()
        rounds, values = stage.outcome
        assert len(values) == 1
        if row.round is not None:
            assert rounds == {row.round}
            assert values == {row.value or leader(row.instance, row.round)}

    await for_seeds(scenario)


SPLITS = {
    "no split": ({1: 1, 2: 1, 3: 1, 4: 1}, 1),
    "a follower differs": ({1: 1, 2: 3, 3: 1, 4: 1}, 1),
    "the leader differs": ({1: 3, 2: 1, 3: 1, 4: 1}, 2),
    "two against two": ({1: 1, 2: 1, 3: 3, 4: 3}, None),
}


@pytest.mark.parametrize("name", SPLITS)
async def test_chain_split(name: str) -> None:
    """MATRIX table 1, chain split: with the comparison on a minority's view is never decided."""
    local_values, round_ = SPLITS[name]
    plot = replace(Row(0, None).plot, inputs=local_values, local_values=local_values, rounds_max=10)

    async def scenario(seed: int) -> None:
        stage = await play(plot, seed)
        if round_ is None:
            assert not stage.decisions
            assert max(stage.rounds.values()) == 11
        else:
            assert stage.outcome == ({round_}, {1})

    await for_seeds(scenario)


@pytest.mark.parametrize(
    ("faulty", "sizes"),
    [(0, range(1, 4)), (1, range(4, 7)), (2, range(7, 10)), (3, range(10, 13)), (7, (22,))],
)
def test_faulty(faulty: int, sizes: range) -> None:
    """MATRIX table 1, formulas: F grows with every third process."""
    assert [max_faulty(n) for n in sizes] == [faulty] * len(sizes)


def test_quorum() -> None:
    """MATRIX table 1, formulas: Q for n = 1 to 22."""
    expected = [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15]
    assert [quorum(n) for n in range(1, 23)] == expected
