"""Rules 1 to 33 of the reference engine, one hand-written test each, named by its number.

Four validators, of whom `process` 3 is under test unless told; see `engine_builders`.
"""

from __future__ import annotations

import pytest
from engine_builders import (
    INSTANCE,
    A,
    B,
    C,
    change,
    changes,
    commit,
    commits,
    decided,
    definition,
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
    Broadcast,
    Compare,
    Compared,
    Decide,
    InputValue,
    Instance,
    Message,
    MessageType,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    max_faulty,
    quorum,
)
from qbft.core.instance import DECIDED_ANSWERS_MAX


def test_rule_01_an_engine_begins_in_round_1_with_nothing_prepared_and_nothing_decided() -> None:
    """REFERENCE rule 1: the state of a run."""
    engine = Instance(definition(), INSTANCE, 3)
    assert engine.round == 1
    assert (engine.prepared_round, engine.prepared_value) == (0, None)
    assert engine.prepared_justification == ()
    assert engine.decision is None


def test_rule_02_quorum_and_faulty_are_computed_in_integers() -> None:
    """REFERENCE rule 2: ceil(2n/3) and floor((n-1)/3); without validators 0 and -1."""
    for nodes in range(5000):
        assert 3 * (quorum(nodes) - 1) < 2 * nodes <= 3 * quorum(nodes)
        assert 3 * max_faulty(nodes) <= nodes - 1 < 3 * (max_faulty(nodes) + 1)
    assert (quorum(0), max_faulty(0)) == (0, -1)
    assert (definition(7).quorum, definition(7).faulty) == (5, 2)


def test_rule_03_strangers_and_odd_rounds_are_not_checked_but_what_cannot_be_kills() -> None:
    """REFERENCE rule 3: membership and ranges belong to the boundary; two things end the engine."""
    engine = new()
    assert fired(feed(engine, *prepares(A, sources=(77, -1, 10**9)))) == [UponRule.QUORUM_PREPARES]
    assert feed(engine, prepare(0, A, round_=-5), prepare(0, A, round_=0)) == ()
    nested = prepare(1, A, just=[change(2, 2, 1, A, prepares())])
    _is_killed_by(nested)


@pytest.mark.pure
def test_rule_03_a_type_that_does_not_exist_kills() -> None:
    """REFERENCE rule 3; compiled, the engine has no such message: it cannot be made."""
    _is_killed_by(Message(6, INSTANCE, 0, 1))  # type: ignore[arg-type]


def _is_killed_by(deadly: Message) -> None:
    engine = new()
    assert is_failed(engine.step(deadly))
    assert feed(engine, *prepares(), TimerExpired(), Start(), InputValue(A)) == ()


def test_rule_04_each_type_sends_exactly_its_fields_and_nests_bare_messages() -> None:
    """REFERENCE rule 4: what is in the fields of each message sent."""
    leader = new(0, input_=A)
    assert sent(Instance(definition(), INSTANCE, 0).step(Start())) == []
    assert sent(leader.step(propose(A))) == [prepare(0)]
    assert sent(feed(leader, *prepares())) == [commit(0)]
    assert sent(leader.step(TimerExpired())) == [change(0, 2, 1, A, prepares())]

    prepared = new(1, input_=B, round_=2)
    others = [proven(source) for source in (0, 2, 3)]
    [second] = sent(feed(prepared, *others))
    assert second == propose(A, 2, [*(m.stripped() for m in others), *prepares()])
    assert all(nested.justification == () for nested in second.justification)

    done = new()
    feed(done, *commits())
    assert sent(done.step(change(0))) == [decided(3, A, 1, commits())]


def test_rule_05_a_vote_of_ones_own_counts_when_it_comes_back() -> None:
    """REFERENCE rule 5: two PREPAREs are there already; the own one, on its way back, is third."""
    engine = new()
    feed(engine, prepare(1), prepare(2))
    [own] = sent(engine.step(propose(A)))
    assert own == prepare(3)
    assert sent(engine.step(own)) == [commit(3)]


def test_rule_06_no_value_as_input_ends_the_engine_and_a_second_input_is_not_read() -> None:
    """REFERENCE rule 6. A failing broadcast is the driver's to report."""
    engine = new()
    assert is_failed(engine.step(InputValue(None)))
    assert feed(engine, propose(A)) == ()

    engine = new(0, input_=A)
    assert feed(engine, InputValue(B), InputValue(None)) == ()
    assert sent(feed(engine, *changes(1, sources=(1, 2, 3)))) == [
        propose(A, 1, changes(1, sources=(1, 2, 3)))
    ]


def test_rule_07_the_leader_of_round_1_proposes_at_once_or_when_its_input_comes() -> None:
    """REFERENCE rule 7. With the input first, the proposal precedes the timer."""
    early = Instance(definition(), INSTANCE, 0)
    assert early.step(InputValue(A)) == ()
    assert early.step(Start()) == (Broadcast(propose(A)), StartTimer(1))

    late = Instance(definition(), INSTANCE, 0)
    assert late.step(Start()) == (StartTimer(1),)
    assert late.step(InputValue(A)) == (Broadcast(propose(A)),)

    follower = Instance(definition(), INSTANCE, 1)
    assert follower.step(Start()) == (StartTimer(1),)
    assert follower.step(InputValue(A)) == ()


def test_rule_08_a_late_input_goes_out_with_the_proof_kept_for_it_and_only_in_its_round() -> None:
    """REFERENCE rule 8: the kept justification, the current round; void once the round ends."""
    waiting = new(1, round_=2)
    assert sent(feed(waiting, *changes(sources=(0, 2, 3)))) == []
    assert sent(waiting.step(InputValue(B))) == [propose(B, 2, changes(sources=(0, 2, 3)))]
    assert waiting.step(InputValue(C)) == ()

    late = new(1, round_=2)
    feed(late, *changes(sources=(0, 2, 3)), TimerExpired())
    assert late.step(InputValue(B)) == ()

    ended = new(0)
    feed(ended, *commits(B))
    assert sent(ended.step(InputValue(A))) == [propose(A)], "the cache outlives a decision (D25)"


def test_rule_09_after_the_decision_only_anothers_round_change_is_answered() -> None:
    """REFERENCE rule 9: with the decision at its round, justified or not; nothing else counts."""
    engine = new()
    feed(engine, *commits(A, 5), decided(0, A, 5, commits(A, 5)))
    deaf = [propose(B, 6), prepare(0, B, 5), commit(0, B, 5), decided(0, B, 7, commits(B, 7))]
    assert feed(engine, *deaf, change(3, 9)) == ()
    unjustified = change(0, 2, pr=1, pv=B)
    assert sent(engine.step(unjustified)) == [decided(3, A, 5, commits(A, 5))]


def test_rule_10_a_source_is_answered_for_rising_rounds_and_sixteen_times_at_most() -> None:
    """REFERENCE rule 10. Deciding itself broadcasts nothing; the count is per source."""
    engine = new()
    assert sent(feed(engine, *commits())) == []
    assert len(sent(engine.step(change(0, 4)))) == 1
    assert feed(engine, change(0, 4), change(0, 3), change(0, 0)) == ()
    rising = [change(0, round_) for round_ in range(5, 40)]
    assert len(sent(feed(engine, *rising))) == DECIDED_ANSWERS_MAX - 1
    assert feed(engine, change(1, 0)) == ()
    assert len(sent(engine.step(change(1, 1)))) == 1


def test_rule_11_justify_then_log_then_classify_then_act_once_per_rule_and_round() -> None:
    """REFERENCE rule 11: the order; the key holds no value; the rule is told at the old round."""
    engine = new()
    assert engine.step(decided(1, A, 1, commits()[:2])) == (
        Unjustified(decided(1, A, 1, commits()[:2])),
    )
    assert feed(engine, commit(2)) == (), "what was unjustified left no vote behind"

    engine = new()
    assert feed(engine, *prepares(A)) == (
        RuleFired(UponRule.QUORUM_PREPARES, 1),
        Broadcast(commit(3, A)),
    )
    assert feed(engine, *prepares(B)) == (), "the value is not part of the key"
    effects = engine.step(propose(B, 2, changes()))
    assert effects[:2] == (
        RuleFired(UponRule.JUSTIFIED_PRE_PREPARE, 1),
        RoundChanged(1, 2, UponRule.JUSTIFIED_PRE_PREPARE),
    )
    assert engine.step(propose(C, 2, changes())) == (), "only this key is added again"
    feed(engine, *commits(B, 2))
    assert engine.step(TimerExpired()) == (), "a timeout after the decision"


def test_rule_12_the_timer_moves_to_the_next_round_and_lets_rules_fire_again() -> None:
    """REFERENCE rule 12: change, new timer, ROUND-CHANGE; entering the same round keeps all."""
    engine = new()
    engine.step(propose(A))
    assert engine.step(TimerExpired()) == (
        RoundChanged(1, 2, UponRule.ROUND_TIMEOUT),
        StartTimer(2),
        Broadcast(change(3, 2)),
    )
    again = engine.step(propose(A, 2, changes()))
    assert fired(again) == [UponRule.JUSTIFIED_PRE_PREPARE]
    assert not [effect for effect in again if isinstance(effect, RoundChanged)]
    assert engine.step(propose(A, 2, changes())) == ()


def test_rule_13_which_events_start_a_timer() -> None:
    """REFERENCE rule 13: start, justified PRE-PREPARE, timeout, F+1 jump, and no others."""
    engine = Instance(definition(), INSTANCE, 3)
    assert timers(engine.step(Start())) == [1]
    assert timers(engine.step(propose(A))) == [1]
    assert timers(feed(engine, *prepares())) == []
    assert timers(engine.step(TimerExpired())) == [2]
    assert timers(feed(engine, change(0, 3), change(1, 3))) == [3]
    assert timers(engine.step(TimerExpired())) == [4]
    leads = feed(engine, InputValue(B), *changes(4))
    assert fired(leads) == [UponRule.QUORUM_ROUND_CHANGES]
    assert timers(leads) == []
    assert feed(engine, *commits(A, 4))[-2:] == (StopTimer(), Decide(A, 4, commits(A, 4)))

    comparing = new(compares=True)
    feed(comparing, propose(A))
    assert timers(comparing.step(TimerExpired())) == [2]


def test_rule_14_the_last_messages_of_each_source_count_duplicates_and_all() -> None:
    """REFERENCE rule 14: append, evict, classify; all types and rounds share the places."""
    engine = new(fifo=2)
    feed(engine, prepare(0), commit(0, B, 9), prepare(1))
    assert sent(engine.step(prepare(2))) == [commit(3)], "two messages of source 0 fit"

    engine = new(fifo=2)
    feed(engine, prepare(0), commit(0, B, 9), commit(0, B, 9), prepare(1))
    assert engine.step(prepare(2)) == (), "a duplicate took the place of its PREPARE"
    assert sent(engine.step(prepare(0))) == [commit(3)]

    nothing_kept = new(fifo=0)
    assert feed(nothing_kept, *prepares(), *commits()) == ()
    assert sent(nothing_kept.step(propose(A))) == [prepare(3)], "it is acted on all the same"


def test_rule_15_what_a_message_carries_votes_for_its_own_source() -> None:
    """REFERENCE rule 15: in any type, without a place of its own, gone with its carrier."""
    for carrier in (
        commit(0, B, 1, prepares()[:2]),
        change(0, 2, 0, None),
        prepare(0, B, 1, prepares()[:2]),
        propose(B, 1, prepares()[:2]),
    ):
        engine = new(fifo=1)
        engine.step(carrier)
        counted = sent(engine.step(prepare(2)))
        assert counted == ([commit(3)] if carrier.justification else [])
    engine = new(fifo=1)
    feed(engine, commit(0, B, 1, prepares()[:2]), commit(0, B, 9))
    assert engine.step(prepare(2)) == ()


def test_rule_16_a_source_counts_once_for_each_value() -> None:
    """REFERENCE rule 16: filter by value first, then the first of each source."""
    engine = new()
    feed(engine, commit(0, B), commit(0, A), commit(0, A), commit(1, A))
    assert feed(engine, commit(1, A), commit(0, A)) == (), "duplicates do not inflate"
    assert feed(engine, commit(2, A))[-1] == Decide(A, 1, commits(A))


def test_rule_17_prepare_and_commit_need_no_justification() -> None:
    """REFERENCE rule 17: whatever is attached is accepted, and counts."""
    engine = new()
    odd = [change(1, 7, 3, B), decided(2), propose(C, 4)]
    assert not is_unjustified(feed(engine, prepare(0, just=odd), commit(0, just=odd)))
    assert sent(engine.step(prepare(1, just=[prepare(2)]))) == [commit(3)]


@pytest.mark.parametrize(
    "bad",
    [
        change(0, 2, 1, None),
        change(0, 2, 0, A),
        change(0, 2, 1, A),
        change(0, 2, 1, A, prepares()[:2]),
        change(0, 2, 1, A, [*prepares(), prepare(2)]),
        change(0, 2, 1, A, [*prepares(), commit(3)]),
        change(0, 2, 1, A, [*prepares(), prepare(3, A, 2)]),
        change(0, 2, 1, A, [*prepares(), prepare(3, B)]),
        change(0, 2, 1, A, prepares(B)),
        change(0, 2, 0, None, prepares()),
    ],
)
def test_rule_18_a_round_change_is_null_or_proven_by_all_that_it_carries(bad: Message) -> None:
    """REFERENCE rule 18: one bad element rejects all; own value and pr < round are not asked."""
    assert is_unjustified(new().step(bad))
    for good in (
        change(0),
        proven(0),
        change(0, 2, 9, A, prepares(A, 9)),
        change(0, 1),
        Message(MessageType.ROUND_CHANGE, INSTANCE, 0, 2, C),
    ):
        assert not is_unjustified(new().step(good))


def test_rule_19_decided_needs_its_own_commits_and_keeps_the_rest() -> None:
    """REFERENCE rule 19: a quorum of distinct sources; extra messages go along verbatim."""
    rogue = commit(3, B, 7)
    for bad in (
        commits()[:2],
        [*commits()[:2], commit(1)],
        [*commits()[:2], rogue],
        commits(B),
        commits(A, 2),
        prepares(),
    ):
        assert is_unjustified(new().step(decided(0, A, 1, bad)))
    for verbatim in ([rogue, *commits()], [*commits(), rogue], [*commits(), commit(2)]):
        assert new().step(decided(0, A, 1, verbatim))[-1] == Decide(A, 1, tuple(verbatim))


def test_rule_20_a_pre_prepare_is_the_leaders_has_a_value_and_a_reason() -> None:
    """REFERENCE rule 20: round 1, or the round after a failed comparison, or a justified Qrc."""
    assert not is_unjustified(new().step(propose(A, 1, [change(0, 9)])))
    assert is_unjustified(new().step(propose(A, source=1)))
    assert is_unjustified(new().step(propose(None)))
    assert is_unjustified(new().step(propose(A, 2)))
    assert not is_unjustified(new().step(propose(A, 2, changes())))

    engine = new(compares=True)
    for round_ in (1, 2):
        feed(engine, propose(B, round_), Compared(matches=False))
    assert is_unjustified(engine.step(propose(B, 2))), "the later failure replaced the earlier"
    assert not is_unjustified(engine.step(propose(B, 3)))
    engine.step(Compared(matches=True))
    assert not is_unjustified(engine.step(propose(C, 3))), "and it is never reset"


def test_rule_21_what_a_receiver_takes_as_a_justified_quorum() -> None:
    """REFERENCE rule 21: J1 leaves the value free; J2 fixes it to the PREPAREs' value."""
    null, one = changes(), change(0, 2, 1, A)

    def taken(value: object, *just: Message) -> bool:
        return not is_unjustified(new().step(propose(value, 2, just)))

    assert taken(C, *null)
    assert not taken(C, *null[:2])
    assert not taken(C, *null[:2], null[1])
    assert not taken(C, *changes(3))
    assert taken(A, one, *null[1:], *prepares())
    assert not taken(C, one, *null[1:], *prepares()), "the value is fixed"
    assert not taken(A, one, *null[1:]), "no PREPAREs"
    assert not taken(A, one, *null[1:], *prepares()[:2])
    assert not taken(A, one, *null[1:], *prepares(), prepare(2))
    assert not taken(A, one, *null[1:], *prepares(), prepare(3, B))
    assert not taken(A, change(0, 2, 3, A), one, *null[1:], *prepares()), "first of source 0 is 3"
    assert taken(A, one, change(0, 2, 3, A), *null[1:], *prepares())
    assert not taken(A, change(0, 2, 1, B), *null[1:], *prepares()), "no exact match"
    assert taken(A, one, change(1, 2, 1, B), null[2], *prepares()), "another value is tolerated"
    assert taken(C, change(0, 2, 1, None), *null[1:], *prepares(None)), "no value fixes nothing"


def test_rule_22_what_a_leader_takes_as_proof() -> None:
    """REFERENCE rule 22: J1 first, whoever is prepared; else a PREPARE quorum that fits, whole."""
    leader = new(1, input_=B, round_=2)
    [proposal] = sent(feed(leader, proven(0), change(2), change(0), change(3)))
    assert proposal == propose(B, 2, changes(sources=(0, 2, 3))), "J1, source 0 prepared or not"

    leader = new(1, input_=B, round_=2)
    feed(leader, *prepares(A, sources=range(4)), change(0), change(2))
    [proposal] = sent(leader.step(proven(3)))
    exact = [change(0), change(2), change(3, 2, 1, A)]
    assert proposal == propose(A, 2, [*exact, *prepares(A, sources=range(4))]), "not cut to Q"

    leader = new(1, input_=B, round_=2)
    feed(leader, prepare(0, C, 9, [change(0, 2, 4, C)]), proven(0), change(2))
    [proposal] = sent(leader.step(change(3)))
    assert proposal.value == A, "of source 0 the first that fits counts, not the very first"

    leader = new(1, input_=B, round_=2)
    feed(leader, prepare(0, C, 9, [change(0, 2, 1, B)]), proven(0), change(2))
    assert sent(leader.step(change(3))) == [], "the exact match must be the first that fits"


def test_rule_23_decided_counts_in_any_round_and_a_pre_prepare_from_its_own_on() -> None:
    """REFERENCE rule 23: a lower round's DECIDED decides, its PRE-PREPARE does nothing."""
    assert new(round_=4).step(decided(0, A, 2, commits(A, 2)))[-1] == Decide(A, 2, commits(A, 2))
    assert new(round_=4).step(propose(A, 3, changes(3))) == ()
    assert sent(new(round_=2).step(propose(A, 9, changes(9)))) == [prepare(3, A, 9)]


def test_rule_24_prepares_and_commits_count_in_the_round_they_are_for() -> None:
    """REFERENCE rule 24: no PRE-PREPARE needed; other rounds wait; no value is a vote like any."""
    assert sent(feed(new(), *prepares())) == [commit(3)]
    assert feed(new(round_=2), *prepares(A, 1), *commits(A, 1)) == ()
    engine = new()
    assert feed(engine, *commits(A, 2), *prepares(A, 2)) == ()
    assert fired(feed(engine, TimerExpired())) == [], "entering the round is no trigger"
    assert engine.step(commit(0, A, 2))[-1] == Decide(A, 2, commits(A, 2))

    engine = new()
    assert feed(engine, prepare(0, None), prepare(1, A), prepare(2, None)) == ()
    assert sent(engine.step(prepare(1, None))) == [commit(3, None)]


def test_rule_25_round_changes_gather_and_an_unjust_quorum_is_told_once_by_everyone() -> None:
    """REFERENCE rule 25: justified is asked before who leads; the unjust key is its own."""
    unproven = prepare(0, B, 9, [change(0, 2, 1, A)])
    leader, other = new(1, input_=B, round_=2), new(2, round_=2)
    for engine in (leader, other):
        assert feed(engine, change(1, 1), unproven, change(2)) == (), "an old one, then two of Q"
        assert fired(engine.step(change(3))) == [UponRule.UNJUST_QUORUM_ROUND_CHANGES]
        assert feed(engine, change(2), change(3)) == ()
    assert sent(leader.step(change(1))) == [propose(B, 2, changes(sources=(1, 2, 3)))]
    assert other.step(change(1)) == (), "justified now, but led by another"
    assert leader.step(change(1)) == ()


def test_rule_26_f_plus_1_sources_ahead_pull_to_the_lowest_of_their_rounds() -> None:
    """REFERENCE rule 26: of each its highest so far; N2, N3: sources ascending, F+1 of them."""
    assert feed(new(), change(0, 2), change(0, 3)) == (), "two rounds of one source"
    engine = new()
    feed(engine, *prepares())
    effects = feed(engine, change(1, 3), change(1, 6), change(2, 4))
    assert effects == (
        RuleFired(UponRule.F_PLUS_1_ROUND_CHANGES, 1),
        RoundChanged(1, 4, UponRule.F_PLUS_1_ROUND_CHANGES),
        StartTimer(4),
        Broadcast(change(3, 4, 1, A, prepares())),
    )
    assert fired(feed(engine, change(1, 5), change(2, 5))) == [UponRule.F_PLUS_1_ROUND_CHANGES]
    assert engine.round == 5


def test_rule_27_a_justified_pre_prepare_moves_restarts_and_prepares_once() -> None:
    """REFERENCE rule 27: round, key again, timer, PREPARE."""
    engine = new()
    assert engine.step(propose(A, 3, changes(3))) == (
        RuleFired(UponRule.JUSTIFIED_PRE_PREPARE, 1),
        RoundChanged(1, 3, UponRule.JUSTIFIED_PRE_PREPARE),
        StartTimer(3),
        Broadcast(prepare(3, A, 3)),
    )
    assert engine.step(propose(B, 3, changes(3))) == ()


def test_rule_28_a_prepare_quorum_commits_and_freezes_what_proves_it() -> None:
    """REFERENCE rule 28: before any PRE-PREPARE, and even where PREPARE then goes elsewhere."""
    engine = new()
    feed(engine, prepare(2), prepare(1), prepare(2))
    assert sent(engine.step(prepare(0))) == [commit(3, A)]
    assert (engine.prepared_round, engine.prepared_value) == (1, A)
    assert sent(engine.step(propose(B))) == [prepare(3, B)], "COMMIT a, then PREPARE b"
    engine.step(prepare(3))
    assert engine.prepared_justification == prepares(), "a fourth comes too late"
    everyone = new()
    feed(everyone, prepare(3, A, 2), prepare(2, A, 2), prepare(1, A, 2), TimerExpired())
    everyone.step(prepare(0, A, 2))
    assert len(everyone.prepared_justification) == 4, "all there are at that moment"


def test_rule_29_deciding_changes_round_stops_the_timer_and_happens_once() -> None:
    """REFERENCE rule 29: also back to an earlier round, with the deciding rule as the reason."""
    engine = new(round_=3)
    qcommit = (commit(3, B, 1), *commits(A, 2))
    assert engine.step(decided(0, A, 2, qcommit)) == (
        RuleFired(UponRule.JUSTIFIED_DECIDED, 3),
        RoundChanged(3, 2, UponRule.JUSTIFIED_DECIDED),
        StopTimer(),
        Decide(A, 2, qcommit),
    )
    assert engine.decision == Decide(A, 2, qcommit)
    assert feed(engine, *commits(B, 2), decided(0, B, 2, commits(B, 2))) == ()

    engine = new()
    assert feed(engine, *commits(A)) == (
        RuleFired(UponRule.QUORUM_COMMITS, 1),
        StopTimer(),
        Decide(A, 1, commits()),
    )


def test_rule_30_a_leader_proposes_what_is_prepared_else_its_own() -> None:
    """REFERENCE rule 30: the prepared value needs no input; a failed comparison of it does."""
    no_input = new(1, round_=2)
    assert [m.value for m in sent(feed(no_input, change(0), change(2), proven(3)))] == [A]

    failed = new(1, compares=True, input_=B)
    feed(failed, propose(A), Compared(matches=False), TimerExpired())
    [proposal] = sent(feed(failed, change(0), change(2), proven(3)))
    assert proposal.value == B
    assert [m.type for m in proposal.justification].count(MessageType.PREPARE) == 3

    waiting = new(1, compares=True)
    feed(waiting, propose(A), Compared(matches=False), TimerExpired())
    assert sent(feed(waiting, change(0), change(2), proven(3))) == []
    assert [m.value for m in sent(waiting.step(InputValue(C)))] == [C]


def test_rule_31_which_value_wins() -> None:
    """REFERENCE rule 31: the highest prepared one; none prepared, the leader's; else nothing."""
    leader = new(1, input_=C, round_=6)
    pulls = [proven(0, 6, 1, A), proven(2, 6, 4, B), change(3, 6)]
    assert [m.value for m in sent(feed(leader, *pulls))] == [B]
    leader = new(1, input_=C, round_=6)
    assert [m.value for m in sent(feed(leader, *changes(6)))] == [C]
    leader = new(1, round_=6)
    assert sent(feed(leader, *changes(6))) == []
    follower = new(2, input_=C, round_=6)
    assert [m.value for m in sent(feed(follower, propose(A, 6, changes(6))))] == [A]


def test_rule_32_the_comparison_blocks_and_ends_by_verdict_or_timer() -> None:
    """REFERENCE rule 32: no PREPARE on a mismatch, and the round goes on; the timer ends it."""
    engine = new(compares=True)
    assert engine.step(propose(A))[1:] == (StartTimer(1), Compare(propose(A)))
    assert engine.step(Compared(matches=True)) == (Broadcast(prepare(3)),)

    engine = new(compares=True)
    engine.step(propose(A))
    assert engine.step(Compared(matches=False)) == ()
    assert engine.round == 1

    engine = new(compares=True)
    engine.step(propose(A))
    assert sent(engine.step(TimerExpired())) == [change(3, 2)]
    assert engine.step(Compared(matches=True)) == (), "a verdict that comes too late"
    assert is_unjustified(engine.step(propose(A, 2))), "and a timeout is no mismatch"

    engine = new(compares=True)
    engine.step(propose(A))
    assert is_failed(engine.step(prepare(0))), "the driver must hold what arrives meanwhile"


def test_rule_33_the_comparison_gates_only_the_own_prepare() -> None:
    """REFERENCE rule 33: COMMIT and the decision come all the same; off, the verdict is yes."""
    engine = new(compares=True)
    feed(engine, propose(A), Compared(matches=False))
    assert sent(feed(engine, *prepares())) == [commit(3)]
    assert feed(engine, *commits())[-1] == Decide(A, 1, commits())

    engine = new(compares=True)
    feed(engine, propose(A), Compared(matches=False))
    assert engine.step(decided(0, A, 1, commits()))[-1] == Decide(A, 1, commits())
    assert sent(new().step(propose(A))) == [prepare(3)]
