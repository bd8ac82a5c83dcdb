"""Bugs that the reference shipped once, each a test, named by its commit or change (SCENARIOS 2).

The shutdown race of `c4236cb81` #1989 is the driver's; its tests are those of `run()`.
"""

from __future__ import annotations

import pytest
from engine_builders import (
    A,
    B,
    C,
    change,
    changes,
    commit,
    commits,
    decided,
    feed,
    fired,
    is_failed,
    is_unjustified,
    new,
    prepare,
    prepares,
    propose,
    proven,
    sent,
    timers,
)

from qbft.core import (
    Compared,
    Decide,
    InputValue,
    MessageType,
    TimerExpired,
    UponRule,
    max_faulty,
    quorum,
)
from qbft.core.instance import DECIDED_ANSWERS_MAX


def test_1921e775b_503_quorum_and_faulty_by_table() -> None:
    """Both were configured by hand; here the table for 1 to 22 validators."""
    assert [(n, quorum(n), max_faulty(n)) for n in range(1, 23)] == [
        (1, 1, 0),
        (2, 2, 0),
        (3, 2, 0),
        (4, 3, 1),
        (5, 4, 1),
        (6, 4, 1),
        (7, 5, 2),
        (8, 6, 2),
        (9, 6, 2),
        (10, 7, 3),
        (11, 8, 3),
        (12, 8, 3),
        (13, 9, 4),
        (14, 10, 4),
        (15, 10, 4),
        (16, 11, 5),
        (17, 12, 5),
        (18, 12, 5),
        (19, 13, 6),
        (20, 14, 6),
        (21, 14, 6),
        (22, 15, 7),
    ]


def test_051b60c43_504_one_round_change_with_the_prepared_value_is_enough() -> None:
    """J2 wanted a quorum of them; at the receiver and at the leader one is enough."""
    just = [change(0, 2, 1, A), change(1), change(2), *prepares()]
    assert sent(new(3).step(propose(A, 2, just))) == [prepare(3, A, 2)]
    leader = new(1, round_=2)
    assert [m.value for m in sent(feed(leader, proven(0), change(2), change(3)))] == [A]


def test_051b60c43_504_a_proof_holds_only_the_prepares_of_its_quorum() -> None:
    """The loop collected every PREPARE it met: other rounds, other values."""
    leader = new(1, round_=2)
    feed(leader, prepare(0, B), prepare(2, C), prepare(3, A, 4))
    [proposal] = sent(feed(leader, proven(0), change(2), change(3)))
    attached = [m for m in proposal.justification if m.type is MessageType.PREPARE]
    assert attached == list(prepares())


def test_051b60c43_504_old_rounds_are_not_trimmed() -> None:
    """Without the PREPAREs of the old round a quorum of ROUND-CHANGEs could not be justified."""
    leader = new(1, round_=1)
    feed(leader, *prepares())
    for _ in range(5):
        leader.step(TimerExpired())
    bare = prepare(0, B, 9, [change(0, 6, 1, A)])
    [proposal] = sent(feed(leader, bare, change(2, 6), change(3, 6)))
    assert (proposal.round, proposal.value) == (6, A)


def test_2558bb09d_507_justifications_take_no_place_in_the_buffer() -> None:
    """They are flattened where they are looked at, so that only received messages are trimmed."""
    engine = new(fifo=2)
    feed(engine, prepare(0), commit(0, B, 9, prepares(C, 8, range(4))))
    assert sent(feed(engine, prepare(1), prepare(2))) == [commit(3)]


def test_db999b979_508_counts_are_of_distinct_sources() -> None:
    """Everywhere: PREPARE, COMMIT, ROUND-CHANGE, F+1, and within a DECIDED."""
    for twice in (prepare, commit):
        engine = new()
        assert feed(engine, twice(0), twice(0), twice(1), twice(1)) == ()
    assert feed(new(), change(0, 5), change(0, 5), change(0, 6)) == ()
    assert feed(new(1, input_=B, round_=2), change(0), change(0), change(2)) == ()
    assert is_unjustified(new().step(decided(0, A, 1, [commit(0), commit(0), commit(1)])))
    assert new().step(decided(0, A, 1, commits()))[-1] == Decide(A, 1, commits())


def test_22dc97a18_513_a_timer_after_the_decision_does_nothing() -> None:
    """The timer's channel was still read."""
    engine = new()
    feed(engine, *commits())
    assert engine.step(TimerExpired()) == ()
    assert engine.round == 1


def test_22dc97a18_513_an_unjustified_quorum_of_round_changes_is_no_failure() -> None:
    """It panicked; it is an observation."""
    engine = new(1, input_=B, round_=2)
    effects = feed(engine, prepare(0, B, 9, [change(0, 2, 1, A)]), change(2), change(3))
    assert fired(effects) == [UponRule.UNJUST_QUORUM_ROUND_CHANGES]
    assert not is_failed(effects)


def test_473524076_532_commits_count_in_the_current_round_only() -> None:
    """A quorum for a future or a past round decides nothing by itself (the origin of D1)."""
    assert feed(new(), *commits(A, 2, range(4))) == ()
    assert feed(new(round_=3), *commits(A, 2, range(4))) == ()


def test_4b27eb264_536_each_rule_fires_once_in_a_round() -> None:
    """Issue 523: a fourth vote made a second COMMIT, a second proposal, a second PREPARE."""
    engine = new()
    effects = feed(engine, *prepares(A, 1, range(4)), propose(A), propose(A))
    assert [m.type for m in sent(effects)] == [MessageType.COMMIT, MessageType.PREPARE]
    leader = new(1, input_=B, round_=2)
    assert len(sent(feed(leader, *changes(2, sources=range(4))))) == 1


def test_7bf083e2b_535_unjustified_messages_are_not_kept() -> None:
    """Neither they nor what they carry count later."""
    engine = new(fifo=1)
    feed(engine, prepare(0), prepare(1))
    feed(engine, change(0, 2, 1, A, [prepare(2)]), decided(1, A, 1, [prepare(2)]))
    assert sent(engine.step(prepare(2))) == [commit(3)], "nor did they evict what was there"


def test_008b1bfaa_539_a_flood_of_future_rounds_evicts_only_its_senders_votes() -> None:
    """The buffer is per peer."""
    engine = new(fifo=5)
    feed(engine, prepare(0), prepare(1))
    feed(engine, *(prepare(2, A, round_) for round_ in range(2, 500)))
    assert sent(engine.step(prepare(2))) == [commit(3)]


def test_e8841bc8f_540_the_prepared_value_is_that_of_the_prepares() -> None:
    """Two values at the highest prepared round: both sides took one from a ROUND-CHANGE."""
    leader = new(1, round_=2)
    liar = prepare(0, C, 9, [change(0, 2, 1, B)])
    [proposal] = sent(feed(leader, liar, proven(2), change(3)))
    assert proposal.value == A
    assert change(0, 2, 1, B) in proposal.justification
    assert sent(new(3).step(proposal)) == [prepare(3, A, 2)]
    assert is_unjustified(new(3).step(propose(B, 2, proposal.justification)))


def test_cfa196ca1_628_a_timeout_lets_the_rules_fire_again() -> None:
    """The round grew without the memory of fired rules being cleared."""
    engine = new()
    feed(engine, propose(A), *prepares())
    feed(engine, TimerExpired())
    just = [*(m.stripped() for m in changes(2, 1, A)), *prepares()]
    assert sent(engine.step(propose(A, 2, just))) == [prepare(3, A, 2)]
    assert sent(feed(engine, *prepares(A, 2))) == [commit(3, A, 2)]


def test_f47d74c29_1505_a_rule_of_another_round_is_another_key() -> None:
    """Issue 1493: it panicked on the same rule for a different round."""
    engine = new()
    effects = feed(engine, propose(A), propose(B, 3, changes(3)), propose(C, 4, changes(4)))
    assert fired(effects) == [UponRule.JUSTIFIED_PRE_PREPARE] * 3
    assert [m.round for m in sent(effects)] == [1, 3, 4]


def test_34b558422_2139_a_late_input_is_proposed_when_it_comes() -> None:
    """The leader of round 1 starts without one."""
    assert sent(new(0).step(InputValue(A))) == [propose(A)]


def test_bc7410616_2144_a_later_leader_without_an_input_does_not_propose_no_value() -> None:
    """It waits with its proof in hand."""
    leader = new(1, round_=2)
    assert sent(feed(leader, *changes(sources=(0, 2, 3)))) == []
    assert [m.value for m in sent(leader.step(InputValue(B)))] == [B]


def test_7c4b6df6b_4011_a_prepared_round_change_needs_its_prepares() -> None:
    """From #3946 on, for twelve days, none at all was accepted as proof."""
    assert is_unjustified(new().step(change(0, 2, 1, A)))


def test_7c4b6df6b_4011_the_comparison_stands_before_prepare_and_not_before_commit() -> None:
    """Before COMMIT it would block a value that a quorum has prepared."""
    engine = new(compares=True)
    assert sent(engine.step(propose(A))) == []
    engine.step(Compared(matches=False))
    assert sent(feed(engine, *prepares())) == [commit(3)]


def test_4c61ba2f4_4372_without_the_comparison_a_proposal_is_prepared() -> None:
    """Commenting out the comparison removed the PREPARE too (`99e162018`, `5677c9910`)."""
    assert sent(new(compares=False).step(propose(A))) == [prepare(3)]


def test_a864e63ad_4557_one_laggard_draws_a_bounded_number_of_decideds() -> None:
    """One for each higher round, sixteen for each peer, however often it asks."""
    engine = new()
    feed(engine, *commits())
    asked = [change(0, round_) for round_ in range(1, 200) for _ in range(3)]
    assert len(sent(feed(engine, *asked))) == DECIDED_ANSWERS_MAX


@pytest.mark.parametrize("round_", [1, 4])
def test_82dc8dcb6_4624_an_equivocating_leader_draws_one_prepare(round_: int) -> None:
    """Also where the first of its proposals moves the round, which clears what has fired."""
    engine = new()
    just = changes(round_) if round_ > 1 else ()
    effects = feed(engine, propose(A, round_, just), propose(B, round_, just))
    assert sent(effects) == [prepare(3, A, round_)]
    assert timers(effects) == [round_]


def test_3e85e4206_4619_a_proposal_of_no_value_is_not_prepared() -> None:
    """Not in round 1, nor with a justified quorum, nor where the PREPAREs are for no value."""
    assert is_unjustified(new().step(propose(None)))
    assert is_unjustified(new().step(propose(None, 2, changes())))
    just = [change(0, 2, 1, None), change(1), change(2), *prepares(None)]
    assert is_unjustified(new().step(propose(None, 2, just)))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_f88888b83_4622_a_rogue_commit_in_a_decided_changes_nothing(place: int) -> None:
    """Value and round were read from the first COMMIT: one of round 2^63-2 stopped the node."""
    qcommit = list(commits())
    qcommit.insert(place, commit(3, B, 2**63 - 2))
    engine = new()
    assert engine.step(decided(0, A, 1, qcommit))[-1] == Decide(A, 1, tuple(qcommit))
    assert engine.round == 1
    [answer] = sent(engine.step(change(0, 2)))
    assert (answer.value, answer.round) == (A, 1)


def test_9eff40160_4628_after_a_mismatch_later_rounds_are_compared_and_prepared() -> None:
    """The mismatch lost the local value, and every later round blocked."""
    engine = new(compares=True)
    feed(engine, propose(B), Compared(matches=False))
    for round_ in range(2, 40):
        feed(engine, TimerExpired(), propose(A, round_, changes(round_)))
        assert sent(engine.step(Compared(matches=True))) == [prepare(3, A, round_)]


def test_24d8cc167_2869_prepare_in_round_2_decide_in_round_3() -> None:
    """A flaky test of theirs, checked by 100,000 runs: here each message has its place."""
    engine = new(2, input_=C, round_=2)
    feed(engine, propose(B, 2, changes(2)), *prepares(B, 2))
    [own] = sent(engine.step(TimerExpired()))
    assert own == change(2, 3, 2, B, prepares(B, 2))
    [proposal] = sent(feed(engine, change(0, 3), own, change(1, 3)))
    assert proposal.value == B
    feed(engine, proposal, *prepares(B, 3))
    assert feed(engine, *commits(B, 3))[-1] == Decide(B, 3, commits(B, 3))
