"""Group C of the catalogue: a Byzantine replica."""

from __future__ import annotations

from itertools import permutations

import pytest
from scenario_cluster import Plot, for_seeds, staged
from scenario_engine import (
    Process,
    commit,
    commits,
    decided,
    decisions,
    moves,
    nulls,
    prepare,
    prepares,
    round_change,
    sent,
    sources,
    unjustified,
)

from qbft.core import Message, MessageType

HUGE_ROUND = 2**63 - 2


def test_c01_an_equivocator_counts_once_for_each_value() -> None:
    """SCENARIOS C1: COMMITs for v1 and v2 of one source: one vote for each, never two for one."""
    process = Process(3)
    votes = [commit(0, 1, "v1"), commit(0, 1, "v2"), commit(1, 1, "v1"), commit(2, 1, "v2")]
    assert not decisions(process.take(*votes, *votes))
    (decision,) = decisions(process.take(commit(2, 1, "v1")))
    assert (decision.value, sources(decision.commits)) == ("v1", [0, 1, 2])


def test_c01_two_against_two_never_decides() -> None:
    """SCENARIOS C1: an even split is no quorum, in whatever order it comes."""
    votes = [*commits([0, 1], 1, "v1"), *commits([2, 3], 1, "v2")]
    assert not any(decisions(Process(3).take(*order)) for order in permutations(votes))


def test_c02_copies_are_one_vote() -> None:
    """SCENARIOS C2: 100 copies of a COMMIT count once."""
    process = Process(3)
    assert not decisions(process.take(commit(0, 1, "v"), *[commit(1, 1, "v")] * 100))
    assert decisions(process.take(commit(2, 1, "v")))


@pytest.mark.parametrize(
    "rogue", [commit(3, 1, "w"), commit(3, 9, "v"), commit(3, HUGE_ROUND, "v")]
)
def test_c03_the_quorum_wins_wherever_the_rogue_stands(rogue: Message) -> None:
    """SCENARIOS C3, #4622: a minority value or round decides nothing, first or last."""
    for order in permutations([rogue, *commits([1, 2, 3], 1, "v")]):
        (decision,) = decisions(Process(3).take(*order))
        assert (decision.round, decision.value) == (1, "v")
        assert decision.commits == commits([1, 2, 3], 1, "v")


def test_c04_the_own_commit_may_be_the_minority() -> None:
    """SCENARIOS C4: it committed v1, a quorum commits v2: v2, without its own COMMIT."""
    process = Process(3)
    assert sent(process.take(*prepares([0, 1, 2], 1, "v1"))) == [commit(3, 1, "v1")]
    (decision,) = decisions(process.take(*commits([0, 1, 2], 1, "v2")))
    assert (decision.value, sources(decision.commits)) == ("v2", [0, 1, 2])


def test_c05_a_second_quorum_is_ignored() -> None:
    """SCENARIOS C5: decided is decided."""
    process = Process(3)
    process.take(*commits([0, 1, 2], 1, "v"))
    assert process.take(*commits([0, 1, 2], 1, "w"), *prepares([0, 1, 2], 1, "w")) == []
    assert process.take(decided(0, 2, "w", *commits([0, 1, 2], 2, "w"))) == []
    assert process.engine.decision is not None
    assert process.engine.decision.value == "v"


@pytest.mark.parametrize(
    "proof",
    [
        (),
        prepares([0, 1], 1, "v"),
        prepares([0, 1, 1], 1, "v"),
        prepares([0, 1, 2], 2, "v"),
        prepares([0, 1, 2], 1, "w"),
        commits([0, 1, 2], 1, "v"),
        (*prepares([0, 1, 2], 1, "v"), commit(3, 1, "v")),
    ],
    ids=["none", "Q-1", "duplicate", "round", "value", "not PREPAREs", "one bad"],
)
def test_c06_a_prepared_round_must_be_proven(proof: tuple[Message, ...]) -> None:
    """SCENARIOS C6, #4011: an unproven RC is unjust and leaves nothing in the log.

    Had it been logged, one more source would make F+1 and pull the process along.
    """
    process = Process(3)
    lie = round_change(1, 3, 1, "v", proof)
    assert unjustified(process.take(lie)) == [lie]
    assert process.take(round_change(2, 3)) == []
    assert moves(process.take(round_change(0, 3))) == [3]


@pytest.mark.parametrize(
    "proof",
    [
        commits([0, 1], 1, "v"),
        commits([0, 1, 2], 2, "v"),
        commits([0, 1, 2], 1, "w"),
        commits([0, 1, 1], 1, "v"),
        prepares([0, 1, 2], 1, "v"),
        (),
    ],
    ids=["Q-1", "round", "value", "duplicate", "not COMMITs", "none"],
)
def test_c08_a_decided_must_be_proven(proof: tuple[Message, ...]) -> None:
    """SCENARIOS C8: dropped; a good one after it still decides."""
    process = Process(3)
    lie = decided(0, 1, "v", *proof)
    assert unjustified(process.take(lie)) == [lie]
    assert decisions(process.take(decided(0, 1, "v", *commits([0, 1, 2], 1, "v"))))


@pytest.mark.parametrize("rogue", [commit(3, 1, "w"), commit(3, HUGE_ROUND, "v")])
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_c09_a_rogue_commit_in_a_decided_changes_nothing(position: int, rogue: Message) -> None:
    """SCENARIOS C9, #4622: first, middle or last, even of round 2^63-2: the quorum's value."""
    proof = list(commits([0, 1, 2], 1, "v"))
    proof.insert(position, rogue)
    process = Process(3)
    (decision,) = decisions(process.take(decided(0, 1, "v", *proof)))
    assert (decision.round, decision.value, decision.commits) == (1, "v", tuple(proof))
    assert process.engine.round == 1


def test_c10_a_decided_of_an_older_round_decides() -> None:
    """SCENARIOS C10: the process has moved on to round 5; the decision was made in round 1."""
    process = Process(3)
    process.time_out(4)
    (decision,) = decisions(process.take(decided(0, 1, "v", *commits([0, 1, 2], 1, "v"))))
    assert (decision.round, decision.value) == (1, "v")


async def test_c10_a_node_that_was_cut_off_learns_the_old_decision() -> None:
    """SCENARIOS C10: over `run()`, its ROUND-CHANGE is answered with round 1's DECIDED."""

    async def scenario(seed: int) -> None:
        plot = Plot(
            copy_delay_ms=(1, 30),
            drops=lambda source, to, message: to == 3 and message.type is not MessageType.DECIDED,
        )
        async with staged(plot, seed) as stage:
            await stage.ended.wait()
        assert stage.outcome == ({1}, {0})
        assert stage.rounds[3] == 1
        assert moves(stage.effects[3]) == [2, 1]

    await for_seeds(scenario)


def answers(process: Process, *messages: Message) -> list[Message]:
    """The DECIDEDs that a process sends upon messages."""
    return sent(process.take(*messages), MessageType.DECIDED)


def test_c11_answers_are_rationed() -> None:
    """SCENARIOS C11, #4557: duplicates and stale rounds get nothing, 16 rising ones of a source do.

    The RCs need not be justified; each source has its own count, and one's own are not answered.
    """
    process = Process(3)
    process.take(*commits([0, 1, 2], 1, "v"))
    assert len(answers(process, round_change(0, 5))) == 1
    assert not answers(process, round_change(0, 5), round_change(0, 4), round_change(0, 2))
    assert not answers(process, *nulls([3], 7), prepare(0, 9, "v"), commit(0, 9, "v"))
    rising = [round_change(0, round_, 1, "unproven") for round_ in range(6, 60)]
    assert len(answers(process, *rising)) == 15
    (answer,) = answers(process, round_change(1, 2))
    assert answer == decided(3, 1, "v", *commits([0, 1, 2], 1, "v"))


def test_c12_junk_of_one_peer_evicts_only_its_own() -> None:
    """SCENARIOS C12, #539: 120 junk COMMITs of a peer, and the others' votes still count."""
    process = Process(3)
    junk = [commit(1, 100 + number, "junk") for number in range(120)]
    assert not decisions(process.take(commit(0, 1, "v"), commit(2, 1, "v"), *junk))
    (decision,) = decisions(process.take(commit(1, 1, "v")))
    assert sources(decision.commits) == [0, 1, 2]
