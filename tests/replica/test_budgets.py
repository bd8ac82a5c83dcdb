"""A liar spends only its own budget inside an open instance (SCENARIOS C13; DESIGN, bounds)."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, permutations

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    sent_to,
    signed,
    vote,
    votes,
)

from qbft.core import Message, MessageType
from qbft.crypto.proposal import Proposal
from qbft.replica.budget import Account, LogTab, Tab, cost_of
from qbft.replica.collector import COMMITS_PER_SOURCE_MAX, CommitCollector
from qbft.replica.limits import ReplicaLimits
from qbft.replica.waiting import LaterVotes, SeenVotes, WaitingRoom

V, W = proposal(b"v"), proposal(b"w")


def tab(*peers: int, bytes_max: int = 1 << 20) -> tuple[Tab, dict[int, Account]]:
    """A tab, and the accounts of these peers."""
    accounts = {peer: Account(bytes_max) for peer in peers}
    return Tab(accounts), accounts


def opened_rig(index: int = 1, **limits: int) -> Rig:
    """A replica whose instance is open in round 1."""
    rig = Rig(index, limits=ReplicaLimits(**limits))
    rig.receive(0, proposals=(V,))
    return rig


# --- accounts -------------------------------------------------------------------------------------


@pytest.mark.bites("kept_bytes_per_peer_max")
def test_whoever_sends_pays_and_gets_it_back() -> None:
    """Everything comes back when an instance closes, so that no budget leaks away."""
    paid, accounts = tab(2, 3, bytes_max=100)
    assert paid.charge(2, 60)
    assert not paid.charge(2, 60)
    assert paid.charge(3, 60)
    paid.refund(2, 20)
    assert paid.charge(2, 60)
    paid.close()
    paid.close()
    assert [accounts[2].spent, accounts[3].spent] == [0, 0]


def test_one_account_serves_all_instances() -> None:
    """The bound is the peer's, however many instances it spreads over."""
    account = {2: Account(100)}
    first, second = Tab(account), Tab(account)
    assert first.charge(2, 80)
    assert not second.charge(2, 80)
    first.close()
    assert second.charge(2, 80)


def test_oneself_pays_nothing() -> None:
    """Own messages are not bounded by a peer's account."""
    paid, _ = tab(2)
    assert paid.charge(0, 1 << 40)
    paid.refund(0, 1 << 40)


# --- re-sent votes --------------------------------------------------------------------------------


def equivocations(source: int, count: int) -> list[Message]:
    """So many PREPAREs of one source in round 1, each for another value."""
    return [vote(PREPARE, source, proposal(b"x%d" % number)) for number in range(count)]


@pytest.mark.bites("seen_votes_per_source_max")
def test_a_liars_equivocations_do_not_use_up_others_deliveries() -> None:
    """DESIGN, late nodes: re-entry is bounded per source, not for all together."""
    rig = opened_rig(seen_votes_per_source_max=8)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    rig.receive(3, relayed=tuple(equivocations(3, 500)))
    rig.receive(2, relayed=(vote(PREPARE, 2, V),))
    assert kinds(rig.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    (opened,) = rig.replica._open.values()
    assert len(opened._seen._seen[3]) == 8


@pytest.mark.parametrize("replayed", [PREPARE, PP])
def test_a_replayed_vote_does_not_push_out_the_fresh_one(replayed: MessageType) -> None:
    """SCENARIOS C13: 200 replays of an honest peer's old message, and its fresh vote counts (D11).

    The engine keeps 100 messages of a source; a quorum that waits in it must survive them.
    """
    rig = opened_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V)))
    old = vote(replayed, 0, V)
    for _ in range(200):
        rig.receive(3, relayed=(old,))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    rig.receive(3, own_section(vote(PREPARE, 3, V)))
    assert ("COMMIT", 1) in kinds(rig.turns)


def test_old_votes_of_many_rounds_do_not_crowd_the_engine() -> None:
    """C13: a liar that collected an honest peer's votes of 120 rounds cannot evict its last."""
    rig = opened_rig()
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 131)))
    assert ("ROUND_CHANGE", 131) in kinds(rig.turns)
    rig.receive(0, own_section(vote(PREPARE, 0, V, 131)))
    for round_ in range(1, 121):
        rig.receive(3, relayed=(vote(PREPARE, 0, V, round_), vote(COMMIT, 0, W, round_)))
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V, 131)))
    assert ("COMMIT", 131) in kinds(rig.turns)


def test_a_known_vote_may_enter_again_in_the_next_round() -> None:
    """DESIGN, late nodes: once per content and round entered, and once from the source itself."""
    seen = SeenVotes(100)
    first = vote(PREPARE, 0, V)
    assert seen.admit(2, first)
    seen.note(2, first)
    assert not seen.admit(2, vote(PREPARE, 0, V))
    assert not seen.admit(3, first)
    assert seen.admit(0, first)
    assert seen.admit(2, vote(PREPARE, 0, W))
    seen.clear()
    assert seen.admit(2, first)


def late_rig() -> tuple[Rig, Message, list[Message]]:
    """Validator 1 of 7 in round 2, the first ROUND-CHANGE of validator 2, and 300 copies of it.

    The copies nest the same PREPAREs in other orders, and all of them are justified.
    """
    rig = Rig(1, 7)
    rig.receive(0, proposals=(V,))
    rig.wait(1_100)
    change = round_change(2, 2, prepared=V, prepares=(0, 2, 3, 4, 5, 6))
    orders = islice(permutations(change.justification), 300)
    return rig, change, [replace(change, justification=order) for order in orders]


def test_copies_of_a_vote_do_not_push_out_its_sources_others() -> None:
    """HARDENING D11: a liar's variants of an honest ROUND-CHANGE, justified, evict nothing.

    What a vote nests is not signed by its source. With 100 of them in the engine's log of that
    source, its PREPARE and COMMIT of the round would be gone, and six honest of seven stuck.
    """
    rig, change, copies = late_rig()
    rig.receive(2, own_section(change))
    rig.receive(2, own_section(vote(PREPARE, 2, V, 2)))
    for copy in copies[:150]:
        rig.receive(6, relayed=(copy,))
        rig.settle()
    for source in (3, 4, 5, 0):
        rig.receive(source, own_section(vote(PREPARE, source, V, 2)))
    assert ("COMMIT", 2) in kinds(rig.turns)
    rig.receive(2, own_section(vote(COMMIT, 2, V, 2)))
    for copy in copies[150:]:
        rig.receive(6, relayed=(copy,))
        rig.settle()
    for source in (3, 4, 5, 0):
        rig.receive(source, own_section(vote(COMMIT, source, V, 2)))
    assert rig.disk.get(instance()) is not None


def test_copies_that_waited_do_not_push_out_either() -> None:
    """D11: of the copies that every liar had waiting for a value's bytes one enters, and one more.

    More only from the source itself, which harms none but itself.
    """
    rig, _, copies = late_rig()
    (opened,) = rig.replica._open.values()
    opened.proposals.clear()
    for number, copy in enumerate(copies[:40]):
        rig.receive((3, 4, 5, 6)[number % 4], relayed=(copy,))
    assert len(opened.awaited) == 16
    rig.receive(0, proposals=(V,))
    assert len(opened.awaited) == 0
    assert len(opened._engine._log._fifos[2]) == 1


def test_a_copy_that_was_not_justified_uses_up_nothing() -> None:
    """SCENARIOS C21: a copy whose justification was stripped does not stand for the good one."""
    rig, change, _ = late_rig()
    for copy in (replace(change, justification=change.justification[:2]), change):
        rig.receive(6, relayed=(copy,))
    (opened,) = rig.replica._open.values()
    assert [m for _, m in opened._engine._log._fifos[2]] == [change]


def test_a_copy_that_found_no_room_may_come_again() -> None:
    """DESIGN, late nodes: only what the engine has accepted is known; what was refused is lacking.

    It is counted, and the sender is asked for it.
    """
    rig = Rig(1, limits=ReplicaLimits(kept_bytes_per_peer_max=3_000))
    rig.receive(2, proposals=(proposal(b"x"),))
    account = rig.replica._peers[0].account
    account.spent = 2_500
    proposed = vote(PP, 0, V)
    rig.receive(0, relayed=(proposed,))
    account.spent = 0
    turns = rig.wait(600)
    assert ("kept_budget", 0) in rig.rejected
    assert instance() in sent_to(turns, 0, "wanted_decisions")
    rig.receive(0, relayed=(proposed,), proposals=(V,))
    assert kinds(rig.turns) == [("PREPARE", 1)]


# --- what is in the engines' logs -----------------------------------------------------------------


def test_what_a_liars_votes_occupy_in_a_log_is_paid_for() -> None:
    """DESIGN, bounds: 100 messages of a source with their justifications may be megabytes."""
    rig = Rig(1, 31, limits=ReplicaLimits(kept_bytes_per_peer_max=1 << 20))
    rig.receive(0, proposals=(V,))
    rig.wait(1_100)
    change = round_change(30, 2, prepared=V, prepares=range(31))
    for _ in range(100):
        rig.receive(30, own_section(change))
        rig.settle()
    (opened,) = rig.replica._open.values()
    held = len(opened._engine._log._fifos[30])
    assert held == (1 << 20) // cost_of(change)
    assert rig.replica._peers[30].account.spent == held * cost_of(change)
    assert 30 in opened.lacking


@pytest.mark.bites("fifo_messages_max")
def test_a_long_lived_instance_pays_only_for_what_its_log_holds() -> None:
    """REFERENCE rule 14: of each source the oldest goes, and its sender gets it back."""
    rig = opened_rig()
    for round_ in range(2, 500):
        rig.receive(0, own_section(vote(COMMIT, 0, W, round_)))
    in_log = rig.replica._definition.fifo_messages_max + 1
    kept_later = ReplicaLimits().later_votes_per_source_max
    vote_size = cost_of(vote(COMMIT, 0, W))
    kept = (in_log + kept_later) * vote_size
    assert rig.replica._peers[0].account.spent == kept + len(V.value)


def test_unjustified_votes_leave_no_debt_and_no_credit() -> None:
    """What the engine drops occupies nothing, and what it holds stays paid for."""
    paid, accounts = tab(2)
    log = LogTab(paid, 3)
    good = round_change(2, 2, prepared=V)
    for _ in range(5):
        assert log.pay(2, good)
        assert log.pay(2, good)
        log.take_back(good)
    assert accounts[2].spent == 3 * cost_of(good)


def test_commits_of_past_rounds_are_paid_for_too() -> None:
    """They go to the collector only, once each (HARDENING D1, D11)."""
    rig = opened_rig()
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 131)))
    for _ in range(2):
        for round_ in range(1, 41):
            rig.receive(3, relayed=(vote(COMMIT, 0, W, round_),))
    (opened,) = rig.replica._open.values()
    assert len(opened._collector._kept[0]) == COMMITS_PER_SOURCE_MAX
    free = 8
    assert 0 < rig.replica._peers[3].account.spent <= (101 - free) * cost_of(vote(COMMIT, 0, W))


# --- later rounds ---------------------------------------------------------------------------------


def test_later_votes_come_again_when_their_round_is_entered() -> None:
    """DESIGN, late nodes: re-delivery of what was held (A19 cured)."""
    rig = opened_rig()
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, V, 2)))
    assert rig.disk.get(instance()).certificate.round == 2


def test_a_prepare_quorum_of_the_next_round_is_not_forgotten() -> None:
    """The engine waits for a trigger (D12); entering the round gives it one."""
    rig = opened_rig()
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V, 2)))
    assert kinds(rig.turns) == []
    assert kinds(rig.wait(1_000)) == [("ROUND_CHANGE", 2), ("COMMIT", 2)]


def test_an_unjustified_copy_leaves_nothing_behind() -> None:
    """SCENARIOS C21: the good copy is kept beside or after a bad one, from whomever it comes.

    The source of a relayed vote is not blamed for what others did to it.
    """
    rig = opened_rig(2)
    changes = [round_change(source, 2, prepared=V, prepares=(0, 1, 3)) for source in (0, 1, 3)]
    good = vote(PP, 1, V, 2, justification=[c.stripped() for c in changes])
    good = vote(PP, 1, V, 2, justification=[*good.justification, *votes(PREPARE, (0, 1, 3), V)])
    rig.receive(3, relayed=(vote(PP, 1, V, 2),))
    rig.receive(3, relayed=(good,))
    assert ("PREPARE", 2) in kinds(rig.turns)
    assert rig.rejected == []


def test_an_unjustified_vote_of_a_later_round_is_not_kept() -> None:
    """SCENARIOS C6, C21: not buffered, so that the good copy finds its place free."""
    rig = opened_rig()
    good = round_change(0, 9, prepared=V, prepares=(0, 2, 3))
    bad = signed(replace(good, justification=good.justification[:2]))
    rig.receive(3, relayed=(bad,))
    (opened,) = rig.replica._open.values()
    assert len(opened._later) == 0
    rig.receive(3, relayed=(good,))
    assert len(opened._later) == 1


@pytest.mark.bites("later_votes_per_source_max")
def test_the_lowest_rounds_make_way() -> None:
    """A replay of old future votes does not push out the newest (U9)."""
    paid, accounts = tab(2)
    later = LaterVotes(paid, 3)
    for round_ in (9, 5, 6, 7, 5, 5):
        later.keep(2, round_change(0, round_))
    assert len(later) == 3
    assert [m.round for m in later.enter(7)] == [7]
    assert [m.round for m in later.enter(9)] == [9]
    assert accounts[2].spent == 0


def test_later_votes_are_given_by_source() -> None:
    """Determinism: not in the order of arrival."""
    later = LaterVotes(tab(2)[0], 3)
    for source in (3, 0, 2):
        later.keep(2, vote(PREPARE, source, V, 4))
    assert [m.source for m in later.enter(4)] == [0, 2, 3]


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.bites("unsolicited_values_per_peer_max")
def test_a_liar_cannot_keep_the_leaders_value_out() -> None:
    """On an open prefix a liar's many values never fill the place of one that is waited for."""
    rig = Rig(1)
    for number in range(200):
        rig.receive(3, proposals=(proposal(b"junk %d" % number),))
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    rig.receive(0, proposals=(V,))
    assert kinds(rig.turns) == [("PREPARE", 1)]
    assert ("value_budget", 3) in rig.rejected


def test_a_value_that_is_waited_for_is_taken_from_anyone() -> None:
    """Even from a peer that has spent what it may give unasked."""
    rig = opened_rig(unsolicited_values_per_peer_max=0)
    rig.receive(0, own_section(vote(PP, 0, W)))
    rig.receive(3, proposals=(W,))
    assert kinds(rig.turns) == [("PREPARE", 1)]


def test_values_are_paid_in_bytes() -> None:
    """DESIGN, bounds: what one peer makes this node keep is bounded over all instances."""
    rig = Rig(1, limits=ReplicaLimits(kept_bytes_per_peer_max=10_000))
    for height in range(20):
        rig.receive(3, proposals=(Proposal(instance(height), bytes(4_000)),))
    kept = sum(len(opened.proposals) for opened in rig.replica._open.values())
    assert kept == 2
    rig.receive(2, proposals=(Proposal(instance(0), bytes(3_000)),))
    assert rig.rejected.count(("value_budget", 3)) == 18
    assert ("value_budget", 2) not in rig.rejected


def test_all_is_given_back_when_instances_are_decided() -> None:
    """No account leaks: after the decisions everybody can send again."""
    rig = Rig(1)
    for height in range(5):
        what = proposal(b"v", height)
        rig.receive(3, proposals=(what,))
        rig.receive(3, relayed=(round_change(3, 4, instance(height)),))
        rig.receive(2, own_section(round_change(2, 9, prepared=proposal(b"gone", height))))
        for source in (0, 2, 3):
            rig.receive(source, own_section(vote(COMMIT, source, what)))
    assert rig.replica.status().open_instances == 0
    assert [peer.account.spent for peer in rig.replica._peers.values()] == [0, 0, 0]
    assert [rig.replica._openings.count_of(peer) for peer in rig.replica._peers] == [0, 0, 0]


# --- what waits -----------------------------------------------------------------------------------


def test_copies_from_a_liar_do_not_fill_the_places_of_an_honest_sender() -> None:
    """Places are per sender and source: variants of an honest vote are its sender's cost."""
    room = WaitingRoom(tab(2, 3)[0], 2)
    for round_ in range(2, 50):
        room.hold(V.digest, 3, round_change(0, round_, prepared=V))
    assert room.hold(V.digest, 0, round_change(0, 2, prepared=V))
    assert (0, round_change(0, 2, prepared=V)) in room.release(V.digest)
    assert len(room) == 0


@pytest.mark.bites("waiting_per_source_max")
def test_the_newest_rounds_wait() -> None:
    """An honest source's later messages supersede its earlier ones."""
    room = WaitingRoom(tab(2)[0], 2)
    assert [room.hold(V.digest, 2, round_change(2, r, prepared=V)) for r in (2, 3, 4)] == [
        True,
        True,
        False,
    ]
    assert [message.round for _, message in room.release(V.digest)] == [3, 4]


def test_a_duplicate_does_not_wait_twice() -> None:
    """The same message again is no further message."""
    paid, accounts = tab(2)
    room = WaitingRoom(paid, 2)
    for _ in range(5):
        assert room.hold(V.digest, 2, round_change(2, 2, prepared=V))
    assert accounts[2].spent == cost_of(round_change(2, 2, prepared=V))


def test_a_sender_that_cannot_pay_is_asked_again() -> None:
    """What was dropped for want of budget is asked for later, so nothing stalls for good."""
    rig = opened_rig(kept_bytes_per_peer_max=3_000)
    rig.receive(2, own_section(round_change(2, 2, prepared=W)))
    turns = rig.wait(500)
    assert instance() in sent_to(turns, 2, "wanted_decisions")


# --- the collector --------------------------------------------------------------------------------


def test_a_late_quorum_decides() -> None:
    """SCENARIOS A22: a COMMIT quorum of round r, complete 1 ms after the local timeout (D1)."""
    rig = opened_rig()
    rig.receive(0, own_section(vote(COMMIT, 0, V)))
    rig.receive(2, own_section(vote(COMMIT, 2, V)))
    rig.wait(1_000)
    rig.now += 1
    rig.receive(3, own_section(vote(COMMIT, 3, V)))
    assert rig.disk.get(instance()).certificate.round == 1


def test_a_quorum_of_a_later_round_decides() -> None:
    """D1: any round but the engine's own."""
    rig = opened_rig()
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, V, 7)))
    assert rig.disk.get(instance()).certificate.round == 7


def test_relayed_commits_of_an_older_round_count() -> None:
    """What the engine would ignore is the collector's business."""
    rig = opened_rig()
    rig.wait(1_000)
    rig.receive(3, relayed=votes(COMMIT, (0, 2, 3), V))
    assert rig.disk.get(instance()).certificate.round == 1


def test_a_source_counts_once_for_a_value() -> None:
    """SCENARIOS C1, C2."""
    collector = CommitCollector(3)
    for _ in range(100):
        collector.add(vote(COMMIT, 0, V))
    collector.add(vote(COMMIT, 1, V))
    collector.add(vote(COMMIT, 1, W))
    collector.add(vote(COMMIT, 2, W))
    assert collector.quorum_outside(9) == ()
    collector.add(vote(COMMIT, 2, V))
    assert [c.source for c in collector.quorum_outside(9)] == [0, 1, 2]
    assert collector.quorum_outside(1) == ()


@pytest.mark.bites("commits_per_source_max")
def test_old_commits_do_not_push_out_fresh_ones() -> None:
    """C13: of one source the lowest rounds make way, in whatever order they come."""
    collector = CommitCollector(3)
    collector.add(vote(COMMIT, 0, V, 100))
    for round_ in range(1, 3 * COMMITS_PER_SOURCE_MAX):
        collector.add(vote(COMMIT, 0, V, round_))
    collector.add(vote(COMMIT, 1, V, 100))
    collector.add(vote(COMMIT, 2, V, 100))
    assert collector.quorum_outside(1)[0].round == 100


def test_a_quorum_that_loses_a_member_is_none() -> None:
    """Never latch "reached": an eviction can undo it (REFERENCE, traps)."""
    collector = CommitCollector(3)
    for source in range(3):
        collector.add(vote(COMMIT, source, V, 1))
    for round_ in range(2, 2 + COMMITS_PER_SOURCE_MAX):
        collector.add(vote(COMMIT, 0, W, round_))
    assert collector.quorum_outside(99) == ()


# --- what comes to nothing ------------------------------------------------------------------------


def forged(source: int, count: int) -> tuple[Message, ...]:
    """Votes whose signature is another validator's."""
    votes_ = equivocations(source, count)
    for each in votes_:
        each.proof.signature = vote(PREPARE, 3, V).proof.signature
    return tuple(votes_)


def test_who_wastes_work_has_to_wait() -> None:
    """HARDENING U7: false signatures cost this node time; above a small share their sender waits.

    The others do not, and it goes on later.
    """
    rig = opened_rig(waste_work_max=100, waste_work_per_ms=1)
    rig.receive(3, relayed=forged(0, 200))
    counted = len(rig.rejected)
    assert 50 <= counted < 60
    rig.turn()
    assert len(rig.rejected) == counted
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    assert kinds(rig.turns) == [("PREPARE", 1)]
    due = rig.replica.next_due_ms
    assert due is not None
    assert rig.now < due <= rig.now + 10
    rig.wait(500)
    assert len(rig.rejected) == 200


def test_honest_work_is_no_waste() -> None:
    """Whatever is genuine and new may take all the time there is."""
    rig = Rig(1, limits=ReplicaLimits(waste_work_max=10, waste_work_per_ms=0.001))
    for height in range(200):
        rig.receive(0, own_section(vote(PREPARE, 0, proposal(b"v", height))))
    assert len(rig.replica._held) == 200


@pytest.mark.bites("opened_bytes_burst_max")
def test_what_one_peer_opens_is_paced() -> None:
    """DESIGN, bounds: opens are budgeted per peer; the rest waits, or is asked for later."""
    limits = ReplicaLimits(
        opened_bytes_burst_max=50_000, opened_bytes_per_ms=200, waiting_openings_max=8
    )
    rig = Rig(1, limits=limits)
    flood = tuple(proposal(b"junk", height) for height in range(100))
    rig.receive(3, proposals=flood)
    opened = rig.replica.status().open_instances
    assert opened == 50_000 // (4_096 + 4)
    assert ("open_budget", 3) in rig.rejected
    rig.receive(2, proposals=(proposal(b"v", 1_000),))
    assert rig.replica.status().open_instances == opened + 1
    rig.wait(600)  # no round timer has run out: that would make it ask as well
    assert rig.replica.status().open_instances > opened + 1
    asked = sent_to(rig.turns, 3, "wanted_decisions")
    assert set(asked) == {
        instance(height) for height in range(100) if not rig.replica.is_open(instance(height))
    }


def test_looking_things_up_is_paced_too() -> None:
    """What is not here costs a look into the store as well."""
    rig = Rig(1, limits=ReplicaLimits(pull_bytes_burst_max=80_000, pull_bytes_per_ms=1))
    looked = []
    get = rig.disk.get
    rig.disk.get = lambda which: looked.append(which) or get(which)  # type: ignore[method-assign]
    rig.receive(3, wanted_decisions=tuple(instance(height) for height in range(200)))
    assert len(looked) == 80_000 // ReplicaLimits().asked_bytes_min
