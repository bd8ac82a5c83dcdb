"""Votes of others are handed on where links are dead (HARDENING D28, U9; SCENARIOS M8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    own_section,
    proposal,
    round_change,
    sent_to,
    vote,
)

from qbft.core import Message
from qbft.replica.limits import ReplicaLimits
from qbft.replica.turn import Turn

V = proposal(b"v")


def carry_between(
    rigs: list[Rig], step_ms: int, is_up: Callable[[int, int], bool] = lambda a, b: True
) -> None:
    """Let time pass at all, and carry each frame over the links that are up."""
    for rig in rigs:
        rig.now += step_ms
    for rig in rigs:
        for turn in rig.settle():
            for to, frame in turn.frames:
                for other in rigs:
                    if (
                        other is not rig
                        and to in {None, other.index}
                        and is_up(rig.index, other.index)
                    ):
                        other.replica.receive(rig.index, frame, other.now)


def stuck_rig(**limits: int) -> Rig:
    """Validator 1 in round 2 of an instance, whose votes it hands on."""
    rig = Rig(1, limits=ReplicaLimits(**limits))
    rig.receive(0, proposals=(V,))
    rig.wait(1_000)
    return rig


def handed_on(turns: Turn | list[Turn], peer: int) -> list[Message]:
    """The votes of others that a peer was given."""
    return [each for each in sent_to(turns, peer, "relayed") if each.source != 1]


def test_two_dead_links_do_not_stall_a_cluster() -> None:
    """M8, D28: A-C and B-D down for good: every node misses one other, and all decide.

    Without relaying only the leader ever sees a quorum of PREPAREs, and no round decides.
    """
    dead = ({0, 2}, {1, 3})
    rigs = [Rig(index) for index in range(4)]
    for rig in rigs:
        rig.receive((rig.index + 1) % 4, proposals=(V,))
    passed = 0
    while any(rig.disk.get(instance()) is None for rig in rigs):
        carry_between(rigs, 100, lambda a, b: {a, b} not in dead)
        passed += 100
        assert passed < 31_000
    assert {rig.disk.get(instance()).value for rig in rigs} == {b"v"}


def test_nothing_is_handed_on_before_the_timer_has_expired() -> None:
    """U9: on the happy path a vote travels once to each."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    turns = rig.wait(999)
    assert all(handed_on(turns, peer) == [] for peer in (0, 2, 3))


def test_what_is_new_is_handed_on_to_all_but_its_source_and_its_sender() -> None:
    """U9: once to each, at the next tick."""
    rig = stuck_rig()
    fresh = vote(PREPARE, 0, V, 2)
    rig.receive(0, own_section(fresh))
    rig.receive(2, relayed=(round_change(3, 2),))
    turns = rig.wait(1_900)
    assert handed_on(turns, 0) == [round_change(3, 2)]
    assert handed_on(turns, 2) == [fresh]
    assert handed_on(turns, 3) == [fresh]


def test_a_pre_prepare_that_is_handed_on_brings_its_value() -> None:
    """DESIGN, values: bytes travel with the PRE-PREPARE."""
    rig = stuck_rig()
    changes = [round_change(source, 2).stripped() for source in (0, 2, 3)]
    rig.receive(0, own_section(vote(PP, 1, V, 2)))
    other = proposal(b"w")
    rig.wait(2_000)
    rig.receive(2, proposals=(other,))
    changes = [round_change(source, 3).stripped() for source in (0, 1, 3)]
    rig.receive(2, own_section(vote(PP, 2, other, 3, justification=changes)))
    turns = rig.wait(600)
    assert [each.type for each in handed_on(turns, 3)] == [PP]
    assert other in sent_to(turns, 3, "proposals")


def test_past_votes_are_not_handed_on_but_for_commits() -> None:
    """D1: a COMMIT of any round counts for the collector; the rest would tell nobody anything."""
    rig = stuck_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V, 2), vote(COMMIT, 0, V, 2)))
    rig.wait(400)
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 9)))
    rig.replica.link_up(3, rig.now)
    assert {(each.type, each.round) for each in handed_on(rig.wait(600), 3)} == {
        (COMMIT, 2),
        (round_change(2, 9).type, 9),
    }


def test_everything_is_handed_on_again_over_a_new_link() -> None:
    """U9: the peer may have missed anything."""
    rig = stuck_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V, 2)))
    rig.wait(600)
    assert handed_on(rig.wait(600), 3) == []
    rig.replica.link_up(3, rig.now)
    turns = rig.wait(600)
    assert handed_on(turns, 3) == [vote(PREPARE, 0, V, 2)]
    assert handed_on(turns, 2) == []


@pytest.mark.bites("relayed_votes_per_tick_max")
def test_what_one_peer_is_given_at_a_tick_is_bounded() -> None:
    """The rest follows at the next ticks; an instance's votes are not parted."""
    rig = Rig(1, limits=ReplicaLimits(relayed_votes_per_tick_max=2))
    proposals = [proposal(b"v", height) for height in range(4)]
    rig.receive(0, proposals=tuple(proposals))
    rig.wait(1_000)
    for what in proposals:
        rig.receive(0, own_section(vote(PREPARE, 0, what, 2), vote(COMMIT, 0, what, 2)))
    turns = rig.wait(2_500)
    assert max(len(handed_on(turn, 3)) for turn in turns) == 2
    assert {each.instance for each in handed_on(turns, 3)} == {p.instance for p in proposals}


def test_of_votes_of_ever_higher_rounds_the_newest_is_handed_on() -> None:
    """U9, D28: a liar's votes must not become the others' work on an honest node's account.

    A PREPARE of each of many rounds is one vote at the tick, so that a tick's bound is exceeded by
    one instance's votes at most: one of each source and type.
    """
    rig = stuck_rig(relayed_votes_per_tick_max=2)
    for first in range(2, 502, 100):
        rig.receive(3, own_section(*(vote(PREPARE, 3, V, first + more) for more in range(100))))
    rig.receive(3, own_section(vote(COMMIT, 3, V, 400), vote(PREPARE, 3, V, 300)))
    assert handed_on(rig.wait(600), 0) == [vote(PREPARE, 3, V, 501), vote(COMMIT, 3, V, 400)]


def test_a_decided_instance_is_handed_on_no_more() -> None:
    """The certificate tells all (U1 to U4)."""
    rig = stuck_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V, 2)))
    rig.receive(2, certificates=(certificate(V, (0, 2, 3)),))
    assert rig.disk.get(instance()) is not None
    assert handed_on(rig.wait(2_000), 3) == []
    rig.replica.link_up(3, rig.now)
    assert handed_on(rig.wait(2_000), 3) == []


def test_where_there_are_many_they_take_turns() -> None:
    """docs/adr/022: not everybody hands everything to all, which made late nodes later.

    Within six ticks of thirteen nodes each peer is given each vote once, in each tick few of them.
    """
    rig = Rig(1, nodes=13)
    rig.receive(0, proposals=(V,))
    rig.wait(1_000)
    sources = (3, 4, 5, 6, 7, 8)
    for source in sources:
        rig.receive(source, own_section(vote(COMMIT, source, V, 2)))
    by_tick = [rig.wait(500) for _ in range(6)]
    assert all(len(handed_on(turns, 12)) == 1 for turns in by_tick)
    assert sorted(each.source for turns in by_tick for each in handed_on(turns, 12)) == [*sources]
    assert all(handed_on(turns, 12) == [] for turns in (rig.wait(500) for _ in range(6)))


@pytest.mark.parametrize("nodes", [4, 7, 10, 13, 16, 31])
def test_of_all_nodes_together_few_hand_on_the_same_at_once(nodes: int) -> None:
    """docs/adr/022: two or three in a tick, more only where 8 ticks would not be enough; U9."""
    ticks = min((nodes - 1) // 2, 8)
    given = []
    for index in (each for each in range(nodes) if each not in (0, nodes - 1)):
        rig = Rig(index, nodes=nodes)
        rig.receive(0, proposals=(V,))
        rig.wait(1_000)
        rig.receive(0, own_section(vote(COMMIT, 0, V, 2)))
        given += [
            tick
            for tick in range(ticks)
            for each in sent_to(rig.wait(500), nodes - 1, "relayed")
            if each.source == 0
        ]
    assert len(given) == nodes - 2
    assert all(given.count(tick) <= -(-(nodes - 2) // ticks) for tick in range(ticks))
