"""The buffers of votes whose instance is not open (SCENARIOS C13 and C17; DESIGN, bounds)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    sent_to,
    vote,
    votes,
)

from qbft.core import Message
from qbft.replica.budget import cost_of
from qbft.replica.held import HeldVotes
from qbft.replica.limits import ReplicaLimits

V = proposal(b"v")
LIMITS = ReplicaLimits(held_votes_per_peer_max=4)


def held(**limits: int) -> HeldVotes:
    """Buffers of four votes each."""
    return HeldVotes(3, ReplicaLimits(**{"held_votes_per_peer_max": 4, **limits}))


def test_a_flood_spends_only_its_senders_buffer() -> None:
    """SCENARIOS C17: others' messages are still queued."""
    buffers = held()
    buffers.add(2, instance(0), vote(PREPARE, 2, V))
    for height in range(1, 100):
        buffers.add(3, instance(height), vote(PREPARE, 3, proposal(b"x", height)))
    assert buffers.release(instance(0)) == [(2, vote(PREPARE, 2, V))]
    assert len(buffers) == 4


def test_a_flood_of_commits_does_not_stop_the_count_of_others() -> None:
    """C17: a liar's COMMITs for a thousand instances do not hide an honest quorum."""
    buffers = held()
    buffers.add(0, instance(), vote(COMMIT, 0, V))
    buffers.add(2, instance(), vote(COMMIT, 2, V))
    for height in range(1, 1000):
        buffers.add(3, instance(height), vote(COMMIT, 3, proposal(b"x", height)))
    buffers.add(1, instance(), vote(COMMIT, 1, V))
    quorum = buffers.commit_quorum(instance(), 1, V.digest)
    assert [commit.source for commit in quorum] == [0, 1, 2]


def test_a_replayed_vote_takes_no_second_place() -> None:
    """SCENARIOS C13: 200 replays of an old message do not push out the fresh one (U9)."""
    buffers = held()
    buffers.add(2, instance(1), vote(PREPARE, 2, V))
    for _ in range(200):
        buffers.add(2, instance(0), vote(PREPARE, 3, V))
    assert len(buffers) == 2
    assert buffers.drain_missed(instance(1)) == []
    buffers = held(held_bytes_per_peer_max=2_000)
    for _ in range(200):
        buffers.add(2, instance(0), vote(PREPARE, 3, V))
    assert len(buffers) == 1


@pytest.mark.bites("held_votes_per_peer_max")
def test_the_oldest_of_the_same_sender_goes_and_is_remembered() -> None:
    """On opening an instance of which held votes were dropped they are asked for."""
    buffers = held()
    for height in range(6):
        buffers.add(3, instance(height), vote(PREPARE, 3, proposal(b"x", height)))
    assert instance(1) not in buffers
    assert instance(2) in buffers
    assert buffers.drain_missed(instance(1)) == [3]
    assert buffers.drain_missed(instance(1)) == []
    assert buffers.drain_missed(instance(5)) == []
    assert buffers.missed_of(3, 10) == [instance(0)]
    assert not buffers.has_missed


@pytest.mark.bites("missed_instances_per_peer_max")
def test_forgotten_drops_are_asked_for_everywhere_until_the_link_is_new() -> None:
    """The memory of drops is bounded; what it forgot is asked for at every opening."""
    buffers = held(missed_instances_per_peer_max=1)
    for height in range(6):
        buffers.add(3, instance(height), vote(PREPARE, 3, proposal(b"x", height)))
    assert buffers.drain_missed(instance(77)) == [3]
    buffers.forget_missed(3)
    assert buffers.drain_missed(instance(77)) == []


@pytest.mark.bites("held_bytes_per_peer_max")
def test_justifications_count_in_bytes() -> None:
    """DESIGN, bounds: in counts and bytes. A ROUND-CHANGE with its PREPAREs occupies more."""
    change = round_change(2, 2, prepared=V)
    assert cost_of(change) == 4 * cost_of(change.justification[0])
    buffers = held(held_bytes_per_peer_max=2 * cost_of(change))
    for height in range(3):
        buffers.add(2, instance(height), round_change(2, 2, prepared=proposal(b"v", height)))
    assert len(buffers) == 2


class Watched:
    """A vote that counts how often it is looked at."""

    def __init__(self, vote: Message) -> None:
        self._vote = vote
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        """Look at the vote itself."""
        self.looks += 1
        return getattr(self._vote, name)


def test_who_proposed_is_known_without_a_look_at_what_is_held() -> None:
    """HARDENING U7: it is asked for every proposal, while a liar has its buffer full of votes."""
    buffers = held(held_votes_per_peer_max=100)
    watched = [Watched(round_change(3, round_)) for round_ in range(2, 102)]
    for each in watched:
        buffers.add(3, instance(), cast("Message", each))
    looks = sum(each.looks for each in watched)
    assert not buffers.has_pre_prepare(0, instance())
    assert sum(each.looks for each in watched) == looks


def test_who_proposed_is_known_for_as_long_as_it_is_held() -> None:
    """A PRE-PREPARE of the first round counts, by its source, until its last copy has gone."""
    buffers = held()
    for sender in (0, 2):
        buffers.add(sender, instance(), vote(PP, 0, V))
    buffers.add(0, instance(), vote(PP, 0, V))
    buffers.add(3, instance(), vote(PP, 3, V, 2))
    assert [source for source in range(4) if buffers.has_pre_prepare(source, instance())] == [0]
    for sender in (0, 2):
        assert buffers.has_pre_prepare(0, instance())
        for height in range(1, 5):
            buffers.add(sender, instance(height), vote(PREPARE, sender, proposal(b"x", height)))
    assert instance() in buffers
    assert not buffers.has_pre_prepare(0, instance())


def test_what_is_held_of_a_source_is_found_without_a_look_at_others() -> None:
    """HARDENING W7: a peer without its votes asks for them while others have their buffers full."""
    buffers = held(held_votes_per_peer_max=100)
    watched = [
        Watched(vote(PREPARE, source, proposal(b"x", height), round_))
        for source in (0, 2)
        for height in range(5)
        for round_ in range(1, 21)
    ]
    for each in watched:
        buffers.add(each.source, instance(each.source + 10), cast("Message", each))
        buffers.add(1, instance(1), vote(PREPARE, 1, V))
    looks = sum(each.looks for each in watched)
    assert buffers.instances_of(1) == {instance(1): vote(PREPARE, 1, V)}
    assert sum(each.looks for each in watched) == looks


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(0, 2),
            st.integers(1, 2),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_what_is_held_of_a_source_is_what_it_was_added_of(
    steps: list[tuple[int, int, int, int, bool]],
) -> None:
    """Dropped, replaced and released votes leave nothing behind, so that it takes no more memory.

    The newest vote of each instance is given, whoever sent it.
    """
    buffers = held()
    known: dict[tuple[int, int, int, int], None] = {}
    for sender, source, height, round_, is_released in steps:
        if is_released:
            buffers.release(instance(height))
            known = {key: None for key in known if key[2] != height}
            continue
        buffers.add(sender, instance(height), vote(PREPARE, source, V, round_))
        known.pop((sender, source, height, round_), None)
        known[sender, source, height, round_] = None
        of_sender = [key for key in known if key[0] == sender]
        for key in of_sender[:-4]:
            del known[key]
    for of in range(4):
        newest = {instance(h): vote(PREPARE, of, V, r) for _, s, h, r in known if s == of}
        assert buffers.instances_of(of) == newest
    for height in range(3):
        buffers.release(instance(height))
    assert not any(buffers._by_source.values())


def test_dropping_keeps_the_counts_right() -> None:
    """What was dropped neither opens nor decides any more."""
    buffers = held(held_votes_per_peer_max=1)
    buffers.add(2, instance(), round_change(2, 2))
    buffers.add(3, instance(), round_change(2, 2))
    buffers.add(3, instance(), round_change(3, 2))
    assert buffers.round_change_sources(instance()) == 2
    buffers.add(3, instance(5), round_change(3, 2, instance(5)))
    assert buffers.round_change_sources(instance()) == 1
    for source in (0, 1, 2):
        buffers.add(source, instance(), vote(COMMIT, source, V))
    assert len(buffers.commit_quorum(instance(), 1, V.digest)) == 3
    buffers.add(2, instance(6), round_change(2, 2, instance(6)))
    assert buffers.commit_quorum(instance(), 1, V.digest) == ()
    buffers.forget(instance())
    buffers.forget(instance(5))
    buffers.forget(instance(6))
    assert len(buffers) == 0


@pytest.mark.bites("held_work_at_open_max")
def test_what_liars_had_held_is_taken_in_over_several_turns() -> None:
    """DESIGN, async: ten liars' held ROUND-CHANGEs must not make the opening a turn of a second.

    Those of the honest, which came after, are among them, and nothing is lost.
    """
    rig = Rig(1, 7, limits=ReplicaLimits(turn_work_max=50, held_work_at_open_max=20))
    last = vote(PREPARE, 3, V)
    for start in range(2, 302, 100):
        junk = [round_change(3, r) for r in range(start, start + 100)]
        rig.receive(3, own_section(*junk))
        rig.settle()
    rig.receive(3, own_section(last))
    turns = [rig.receive(0, proposals=(V,)), *rig.settle()]
    assert len(turns) == 6
    assert len(rig.replica._held) == 0
    (opened,) = rig.replica._open.values()
    assert last in [message for _, message in opened._engine._log._fifos[3]]


def test_what_was_held_and_comes_after_the_decision_changes_nothing() -> None:
    """The instance may be decided before the last of its held votes was taken in."""
    rig = Rig(1, limits=ReplicaLimits(held_work_at_open_max=1, turn_work_max=1))
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V), vote(PREPARE, source, V, 2)))
        rig.settle()
    rig.receive(0, proposals=(V,))
    rig.receive(0, certificates=(certificate(V, (0, 2, 3)),))
    rig.settle()
    assert rig.disk.get(instance()) is not None
    assert len(rig.replica._open) == len(rig.replica._held) == 0


def test_the_replica_asks_for_what_it_had_dropped() -> None:
    """DESIGN, late nodes: on opening it asks the sender, who answers with its current votes."""
    rig = Rig(1, limits=LIMITS)
    for height in range(6):
        rig.receive(3, own_section(vote(PREPARE, 3, proposal(b"v", height))))
    turn = rig.receive(0, proposals=(V,))
    assert sent_to(turn, 3, "wanted_decisions") == [instance()]
    assert sent_to(turn, 2, "wanted_decisions") == []


def test_a_flood_before_the_start_does_not_cost_an_honest_vote() -> None:
    """SCENARIOS C17, at the replica: votes of two honest peers survive 5,000 of a liar's."""
    rig = Rig(1, limits=LIMITS)
    for source in (0, 2):
        rig.receive(source, own_section(vote(PREPARE, source, V)))
    for height in range(1, 5_000):
        rig.receive(3, own_section(vote(PREPARE, 3, proposal(b"x", height))))
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    assert kinds(rig.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    assert rig.replica.status().held_votes <= 4


def test_relayed_votes_are_paid_by_whoever_relays_them() -> None:
    """U9: they are paid from the relaying peer's budget."""
    buffers = held()
    for height in range(10):
        for commit in votes(COMMIT, (0, 1), proposal(b"x", height)):
            buffers.add(3, instance(height), commit)
    buffers.add(0, instance(0), vote(COMMIT, 0, V))
    assert len(buffers) == 5
