"""Re-sending and acknowledging (HARDENING D5, U5; DESIGN, reliable links)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    carry_until_decided,
    instance,
    kinds,
    letters,
    link_all,
    own_section,
    proposal,
    round_change,
    sent_to,
    signed_by,
    vote,
)

from qbft.core import Message
from qbft.crypto.proposal import Proposal
from qbft.replica.limits import ReplicaLimits
from qbft.replica.outbox import FRAME_VOTES_MAX
from qbft.replica.turn import Turn
from qbft.transport import Frame

V = proposal(b"v")


def resent(turns: Turn | Sequence[Turn], peer: int) -> list[Message]:
    """The votes sent again to a peer."""
    return sent_to(turns, peer, "relayed")


def covers(turns: Turn | Sequence[Turn], peer: int) -> list[int]:
    """The promises made to a peer."""
    return [frame.covers for frame in letters(turns, peer) if frame.covers]


def voting_rig(**limits: int) -> Rig:
    """Validator 1, which has PREPAREd v; its vote has number 1."""
    rig = Rig(1, limits=ReplicaLimits(**limits))
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    assert kinds(rig.turns) == [("PREPARE", 1)]
    return rig


def test_an_unacknowledged_vote_is_sent_again_and_again_at_a_pace() -> None:
    """U5: until decided, at every 500 ms, with the proposal, the very same vote."""
    rig = voting_rig()
    (own,) = signed_by(rig.turns)
    turns = rig.wait(999)
    assert [v.proof.signature for v in resent(turns, 3)] == [own.proof.signature]
    assert sent_to(turns, 3, "proposals") == [V]
    assert covers(turns, 3) == [1]


def test_an_acknowledged_vote_is_not_sent_again() -> None:
    """U5: incrementally, per peer."""
    rig = voting_rig()
    rig.wait(500)
    rig.receive(3, acknowledged=1)
    turns = rig.wait(499)
    assert resent(turns, 3) == []
    turns = rig.wait(1)
    assert resent(turns, 3) == []
    assert [v.type for v in resent(turns, 2)] == [PREPARE]


def test_a_frame_that_covers_is_acknowledged() -> None:
    """The receiver lacks none of the sender's current votes up to there, and says so."""
    rig = voting_rig()
    turn = rig.receive(0, relayed=(vote(PREPARE, 0, V),), covers=17)
    assert [frame.acknowledged for frame in letters(turn, 0)] == [17]


def test_what_was_dropped_is_not_acknowledged() -> None:
    """U5: a frame that this node had no room for breaks the chain of what the peer covers.

    The next frame covers only what follows; all is acknowledged when the lost one came again.
    """
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=8, waiting_work_per_peer_max=10))
    rig.receive(2, proposals=(V,))
    busy = tuple(vote(PREPARE, 0, proposal(b"q", 9), r) for r in range(1, 18))
    lost = Frame(relayed=(vote(PREPARE, 0, V), *busy[1:6]), covers=50)
    after = Frame(relayed=(vote(COMMIT, 0, V),), covers=51, covers_after=50)
    rig.replica.receive(0, Frame(relayed=busy), 0)
    for frame in (lost, after):
        rig.replica.receive(0, frame, 0)
    assert rig.rejected == [("overloaded", 0)]
    assert [f.acknowledged for f in letters(rig.settle(), 0) if f.acknowledged] == []
    rig.replica.receive(0, lost, 0)
    rig.replica.receive(0, after, 0)
    assert [f.acknowledged for f in letters(rig.settle(), 0) if f.acknowledged][-1] == 51


def test_each_letter_promises_what_it_holds() -> None:
    """U5: where the votes to be sent again fill several letters, none promises for another."""
    rig = voting_rig()
    for height in range(1, 5):
        what = proposal(b"v", 4 * height)
        rig.receive(0, own_section(vote(PP, 0, what), proposals=(what,)))
    outbox = rig.replica._outbox
    outbox.to(3).relayed.extend([vote(PREPARE, 1, V)] * (FRAME_VOTES_MAX - 2))
    rig.replica.link_up(3, rig.now)
    promises = [(f.covers_after, f.covers) for f in letters(rig.turn(), 3) if f.covers]
    assert promises == [(0, 2), (2, 5)]


def test_a_new_link_begins_from_nothing() -> None:
    """An acknowledgement belongs to one life of a process: a restarted peer acknowledges 0."""
    rig = voting_rig()
    rig.wait(500)
    rig.receive(3, acknowledged=1)
    rig.replica.link_up(3, rig.now)
    assert [v.type for v in resent(rig.turn(), 3)] == [PREPARE]


def test_a_word_from_the_life_before_counts_for_nothing() -> None:
    """A stale acknowledgement, read after the link came up anew, must not hide what is lost.

    Frames that the peer sent before it crashed may still wait here when its new link is reported.
    """
    rig = voting_rig(resend_votes_per_frame_max=1)
    for height in (1, 2, 3):
        rig.receive(2, proposals=(proposal(b"v", height),))
        rig.wait(1_000)
    rig.replica.link_up(3, rig.now)
    sent = covers(rig.turn(), 3)[0]
    rig.receive(3, acknowledged=10**6)
    assert rig.replica._peers[3].acknowledged == sent


@pytest.mark.bites("resend_votes_per_frame_max")
def test_the_next_frame_goes_when_the_last_is_acknowledged() -> None:
    """U5: paced by what the peer acknowledges, not only by the tick, until all is there."""
    rig = voting_rig(resend_votes_per_frame_max=2)
    for height in range(1, 7):
        rig.receive(0, own_section(vote(PP, 0, V), proposals=(proposal(b"v", 4 * height),)))
    for height in range(1, 7):
        rig.receive(0, own_section(vote(PP, 0, proposal(b"v", 4 * height))))
    rig.replica.link_up(3, rig.now)
    turn = rig.turn()
    heights = [v.instance.height for v in resent(turn, 3)]
    rounds = 0
    while promised := covers(turn, 3):
        rounds += 1
        turn = rig.receive(3, acknowledged=promised[-1])
        heights += [v.instance.height for v in resent(turn, 3)]
        assert len(resent(turn, 3)) <= 2
    assert heights == [0, 4, 8, 12, 16, 20, 24]
    assert rounds == 4


def test_a_promise_never_goes_beyond_what_was_sent() -> None:
    """Votes that are too young to be sent again are not covered."""
    rig = voting_rig()
    rig.wait(400)
    rig.receive(0, proposals=(proposal(b"w", 4),))
    rig.receive(0, own_section(vote(PP, 0, proposal(b"w", 4))))
    assert len(kinds(rig.turns)) == 2
    assert covers(rig.wait(599), 3) == [1]


def test_what_is_current_is_sent_and_nothing_else() -> None:
    """DESIGN: the votes of the highest round, the highest ROUND-CHANGE, the highest COMMIT."""
    rig = voting_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V)))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    rig.wait(1_000)
    rig.receive(0, own_section(round_change(0, 2)))
    rig.receive(2, own_section(round_change(2, 2)))
    rig.wait(2_000)
    assert [k for k in kinds(rig.turns) if k[1] <= 3] == [
        ("PREPARE", 1),
        ("COMMIT", 1),
        ("ROUND_CHANGE", 2),
        ("PRE_PREPARE", 2),
        ("PREPARE", 2),
        ("ROUND_CHANGE", 3),
    ]
    rig.replica.link_up(3, rig.now)
    assert [(v.type.name, v.round) for v in resent(rig.turn(), 3)] == [
        ("COMMIT", 1),
        ("ROUND_CHANGE", 3),
    ]


def test_own_votes_are_not_remembered_for_ever() -> None:
    """Bounds: after a hundred rounds only the current votes are in memory; the journal has all."""
    rig = Rig(1)
    rig.receive(0, proposals=(V,))
    for round_ in range(2, 102):
        for source in (2, 3):
            rig.receive(source, own_section(round_change(source, round_)))
    (opened,) = rig.replica._open.values()
    assert len(opened.votes.current) == 1
    assert len(rig.replica._resender) == 1


def test_a_decided_instance_is_not_sent_again() -> None:
    """U5 ends with the decision."""
    rig = voting_rig()
    rig.receive(0, own_section(vote(PREPARE, 0, V)))
    rig.receive(2, own_section(vote(PREPARE, 2, V)))
    for source in (0, 2):
        rig.receive(source, own_section(vote(COMMIT, source, V)))
    assert rig.disk.get(instance()) is not None
    rig.replica.link_up(3, rig.now)
    assert resent(rig.turn(), 3) == []
    assert len(rig.replica._resender) == 0


@pytest.mark.bites("resend_value_bytes_per_frame_max")
def test_resending_is_bounded_in_bytes() -> None:
    """Bounds: votes with large values share a frame only up to its limit; none is left out."""
    rig = Rig(1, limits=ReplicaLimits(resend_value_bytes_per_frame_max=1_000))
    for height in range(6):
        rig.receive(2, proposals=(Proposal(instance(height), bytes(600)),))
    rig.wait(1_000)
    rig.replica.link_up(3, rig.now)
    turn = rig.turn()
    assert sum(len(p.value) for p in sent_to(turn, 3, "proposals")) == 1_200
    assert len(resent(turn, 3)) == 2


def test_votes_with_justifications_count_for_what_they_nest() -> None:
    """Bounds: a ROUND-CHANGE carries a quorum of PREPAREs."""
    rig = Rig(1, limits=ReplicaLimits(resend_votes_per_frame_max=9))
    for height in range(0, 24, 4):
        what = proposal(b"v", height)
        rig.receive(0, own_section(vote(PP, 0, what), vote(PREPARE, 0, what), proposals=(what,)))
        rig.receive(2, own_section(vote(PREPARE, 2, what)))
    rig.wait(1_000)
    rig.replica.link_up(3, rig.now)
    sent = resent(rig.turn(), 3)
    assert 1 <= sum(1 + len(v.justification) for v in sent) <= 9


LARGE = Proposal(instance(), b"large " * 10)


def large_rig() -> Rig:
    """Validator 1, in round 2 of an instance whose value is too large to travel with a vote."""
    rig = Rig(1, limits=ReplicaLimits(proposal_bytes_per_frame_max=10))
    rig.receive(0, own_section(vote(PP, 0, LARGE), proposals=(LARGE,)))
    rig.wait(1_000)
    assert ("ROUND_CHANGE", 2) in kinds(rig.turns)
    return rig


def given(rig: Rig, peer: int) -> list[Proposal]:
    """What a peer is sent again of values, its votes and the answer to its question included."""
    turns = [*rig.wait(1_000), rig.receive(peer, wanted_decisions=(instance(),))]
    assert resent(turns, peer)
    return sent_to(turns, peer, "proposals")


def test_who_has_voted_for_a_large_value_is_not_sent_it_again() -> None:
    """docs/adr/021: nodes that are late do not send each other all their values in each round."""
    rig = large_rig()
    rig.receive(3, own_section(vote(PREPARE, 3, LARGE)))
    assert given(rig, 3) == []
    assert given(rig, 2)[0] == LARGE
    rig.replica.link_up(3, rig.now)
    assert given(rig, 3) == []
    turn = rig.receive(3, wanted_values=((instance(), LARGE.digest),))
    assert sent_to(turn, 3, "proposals") == [LARGE]


def test_who_has_voted_for_nothing_yet_is_sent_a_large_value_too() -> None:
    """U9: opened by others' ROUND-CHANGEs a node knows no value; as a leader it needs one."""
    rig = large_rig()
    rig.receive(3, own_section(round_change(3, 2)))
    assert given(rig, 3)[0] == LARGE


def test_a_large_value_and_the_vote_about_it_are_in_one_frame() -> None:
    """U5: taken or dropped together, so that no vote is acknowledged whose value is lost."""
    rig = Rig(1)
    sizes = (200 << 10, 1 << 20, 300 << 10, 1 << 20)
    values = [Proposal(instance(height), bytes(size)) for height, size in enumerate(sizes)]
    for value in values:
        rig.receive(2, proposals=(value,))
    rig.wait(1_000)
    rig.replica.link_up(3, rig.now)
    turns = rig.wait(0)
    for _ in range(10):
        turns += [rig.receive(3, acknowledged=max(covers(turns, 3)))]
    frames = [frame for frame in letters(turns, 3) if frame.proposals]
    assert {value for frame in frames for value in frame.proposals} == set(values)
    for frame in frames:
        assert [p.instance for p in frame.proposals] == [v.instance for v in frame.relayed]
        assert frame.covers


@pytest.mark.bites("tick_instances_max")
def test_a_tick_sends_no_more_when_many_instances_are_stalled() -> None:
    """DESIGN, async: what a tick looks at does not grow with what is open."""
    limits = ReplicaLimits(open_instances_per_peer_max=1_000, open_instances_per_peer_first=1_000)
    rig = Rig(1, limits=limits)
    for height in range(1_000):
        rig.receive(2, proposals=(proposal(b"v", height),))
    rig.wait(1_000)
    rig.settle()
    assert rig.replica.status().open_instances == 1_000
    before = len(rig.turns)
    rig.wait(500)
    for turn in rig.turns[before:]:
        for peer in (0, 2, 3):
            assert len(resent(turn, peer)) <= 128
            assert len(sent_to(turn, peer, "wanted_decisions")) <= 256 + 256


def test_one_open_correct_node_opens_all() -> None:
    """DESIGN, opening: with its votes a node re-sends the proposal; a lost forward stalls nothing.

    Also where the value is too large to travel with a vote.
    """
    limits = ReplicaLimits(proposal_bytes_per_frame_max=10)
    large = Proposal(instance(), b"large " * 10)
    rigs = [Rig(index, limits=limits) for index in range(4)]
    rigs[2].receive(3, proposals=(large,))
    link_all(rigs)
    carry_until_decided(rigs)
    assert {rig.disk.get(instance()).value for rig in rigs} == {large.value}


def pressed_ms(rig: Rig, peer: int, milliseconds: int) -> list[int]:
    """When, in the time to come, a peer is sent votes again."""
    begun = rig.now
    return [rig.now - begun for _ in range(milliseconds // 100) if resent(rig.wait(100), peer)]


def test_who_does_not_answer_is_sent_the_same_ever_less_often() -> None:
    """docs/adr/022: a late node is not made later; U5 still, every 4 s at least."""
    rig = voting_rig()
    rig.replica.link_up(3, rig.now)
    times = pressed_ms(rig, 3, 20_000)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 1_000
    assert gaps[-1] in (4_000, 4_500)


def test_who_answers_late_is_given_as_long() -> None:
    """docs/adr/022: twice what its last answer took; whoever answers soon is not waited for."""
    rig = voting_rig()
    rig.wait(500)
    rig.wait(900)
    rig.receive(3, acknowledged=1)
    assert rig.replica._peers[3].patience.wait_ms == 1_800
    rig.wait(5_000)  # rounds later, another vote
    rig.receive(3, acknowledged=rig.replica._voice.last_sequence)
    assert rig.replica._peers[2].patience.wait_ms == 4_000


def test_a_new_link_is_a_new_beginning() -> None:
    """U5, K19: what a peer may have missed is sent at once, however little it had answered."""
    rig = voting_rig()
    rig.wait(20_000)
    assert rig.replica._peers[3].patience.wait_ms == 4_000
    rig.replica.link_up(3, rig.now)
    assert resent(rig.settle(), 3) != []
    assert rig.replica._peers[3].patience.wait_ms == 500
