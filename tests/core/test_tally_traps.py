"""The traps of incremental tallies (REFERENCE, section 3), and what a step costs (DESIGN, cost)."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from engine_builders import (
    A,
    B,
    C,
    change,
    changes,
    commit,
    commits,
    feed,
    fired,
    new,
    prepare,
    prepares,
    propose,
    sent,
)

from qbft.core import Decide, Definition, Instance, Message, MessageType, Start, UponRule
from qbft.core.message_log import MessageLog


def test_carried_votes_leave_with_their_carrier() -> None:
    """REFERENCE section 3: an eviction takes back all that the evicted message brought."""
    for carried, last in (
        (prepares()[:2], prepare(2)),
        (commits()[:2], commit(2)),
        ((change(0, 2), change(1, 2)), change(2, 2)),
    ):
        engine = new(fifo=1, round_=1 if last.round == 1 else 2)
        feed(engine, commit(0, B, 8, carried), commit(0, B, 9))
        assert fired(engine.step(last)) == []


def test_a_vote_stays_until_the_last_that_holds_it_is_gone() -> None:
    """REFERENCE section 3: held by two carriers and directly, it counts references."""
    vote = prepare(1)
    engine = new(fifo=1)
    feed(engine, commit(0, B, 9, [vote]), commit(2, B, 9, [vote, vote]), vote)
    feed(engine, commit(1, B, 9), commit(0, B, 9), prepare(3))
    assert sent(engine.step(prepare(0))) == [commit(3)], "one carrier still holds it"

    engine = new(fifo=1)
    feed(engine, commit(0, B, 9, [vote]), commit(2, B, 9, [vote, vote]), vote)
    feed(engine, commit(1, B, 9), commit(0, B, 9), commit(2, B, 9), prepare(3))
    assert sent(engine.step(prepare(0))) == [], "none does"


def test_an_eviction_undoes_a_quorum_that_was_reached() -> None:
    """REFERENCE section 3: never latch; here the quorum is complete before its round begins."""
    engine = new(fifo=1)
    feed(engine, *commits(A, 2), commit(1, B, 9))
    feed(engine, propose(B, 2, changes()))
    assert engine.step(commit(0, A, 2)) == ()
    assert engine.step(commit(1, A, 2))[-1] == Decide(A, 2, commits(A, 2))


def test_a_duplicate_triggers_a_quorum_that_is_there_already() -> None:
    """REFERENCE section 3 and rule 14: tested on every receipt, not only when the count crosses."""
    engine = new()
    feed(engine, *commits(A, 2), commit(3, A, 2))
    assert fired(feed(engine, change(0, 2), change(1, 2))) == [UponRule.F_PLUS_1_ROUND_CHANGES]
    assert engine.step(commit(0, A, 2))[-1] == Decide(A, 2, commits(A, 2, range(4)))


def test_a_round_change_wipes_no_votes() -> None:
    """REFERENCE section 3: old rounds prove what is prepared, future rounds wait."""
    leader = new(1)
    feed(leader, *prepares(), prepare(0, C, 6), prepare(2, C, 6))
    assert fired(feed(leader, change(0, 6), change(2, 6))) == [UponRule.F_PLUS_1_ROUND_CHANGES]
    assert sent(leader.step(prepare(3, C, 6))) == [commit(1, C, 6)], "two had come in round 1"

    leader = new(1)
    feed(leader, *prepares(), change(0, 6), change(2, 6))
    [proposal] = sent(leader.step(change(1, 6, 1, A, prepares())))
    assert (proposal.round, proposal.value) == (6, A)


def test_what_is_prepared_is_frozen_at_its_moment() -> None:
    """REFERENCE section 3: neither a later PREPARE nor an eviction changes it."""
    engine = new(fifo=1)
    feed(engine, *prepares(), prepare(3))
    feed(engine, *(commit(source, B, 9) for source in range(3)))
    assert engine.prepared_justification == prepares()


def test_one_source_votes_for_several_values_once_each() -> None:
    """REFERENCE section 3: the value is part of what is counted, the source counts once in it."""
    engine = new()
    feed(engine, *(prepare(0, value) for value in (A, B, C, A, B)), prepare(1, B))
    assert sent(engine.step(prepare(2, B))) == [commit(3, B)]


def test_the_first_of_a_source_stands_for_it() -> None:
    """REFERENCE section 3: of messages that differ only in pr and pv, the first in the walk."""
    engine = new()
    first = Message(MessageType.COMMIT, "test/1", 0, 1, A, 5, C)
    feed(engine, commit(1), commit(0), first)
    assert feed(engine, commit(2))[-1] == Decide(A, 1, commits())

    # A carrier of a lower source comes first in the walk, whenever it arrived (N2).
    engine = new()
    feed(engine, commit(1), prepare(0, B, 9, [Message(MessageType.COMMIT, "test/1", 1, 1, A, 5)]))
    decide = feed(engine, commit(0), commit(2))[-1]
    assert isinstance(decide, Decide)
    assert [(c.source, c.prepared_round) for c in decide.commits] == [(1, 5), (0, 0), (2, 0)]


def test_the_reached_prepare_quorums_come_by_round_then_by_place() -> None:
    """REFERENCE N4: the highest round first; two values of a round as the walk meets them."""
    log = MessageLog(3, 100)
    for value, round_ in ((A, 1), (B, 2), (C, 3), (A, 3)):
        for source in (2, 1, 0):
            log.add(prepare(source, value, round_))
    log.add(prepare(0, B, 3))
    assert log.prepare_quorums() == [(3, C), (3, A), (2, B), (1, A)]


def opcodes(engine: Instance, message: Message) -> int:
    """Bytecode instructions that one step takes: a cost that no other process disturbs."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        engine.step(message)
    finally:
        sys.settrace(before)
    return count


def half_way(nodes: int, *votes: Message) -> Instance:
    """An engine that has heard these votes."""
    engine = Instance(Definition(nodes, lambda _, round_: round_ - 1), "test/1", nodes - 1)
    engine.step(Start())
    feed(engine, *votes)
    return engine


@pytest.mark.pure
@pytest.mark.parametrize("vote", [prepare, commit])
def test_a_vote_costs_the_same_among_4_and_among_100(vote: object) -> None:
    """DESIGN, cost: counted in instructions, for a vote that is not yet enough."""
    assert callable(vote)
    small = opcodes(half_way(4, vote(0)), vote(1))
    large = opcodes(half_way(100, *map(vote, range(60))), vote(60))
    assert small == large


@pytest.mark.pure
def test_a_first_proposal_costs_the_same_among_4_and_among_100() -> None:
    """DESIGN, cost: a round-1 PRE-PREPARE."""
    assert opcodes(half_way(4), propose(A)) == opcodes(half_way(100), propose(A))


@pytest.mark.pure
def test_a_proven_round_change_costs_what_it_carries() -> None:
    """REFERENCE section 3: a walk of the log would cost n times as much, seconds among 100."""

    def cost(nodes: int) -> int:
        quorum = -(-2 * nodes // 3)
        proof = prepares(A, 1, range(quorum))
        engine = half_way(nodes, *(change(s, 3, 1, A, proof) for s in range(nodes // 3 - 1)))
        return opcodes(engine, change(nodes // 2, 3, 1, A, proof))

    assert cost(100) < 2.6 * cost(40)
