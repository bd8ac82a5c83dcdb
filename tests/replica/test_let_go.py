"""What the peers have let go: no vote below it where votes are lost, no engine waits for it.

DESIGN, votes survive and retention; docs/adr/006 and 009.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    carry,
    certificate,
    instance,
    kinds,
    letters,
    link_all,
    lost_rig,
    new_disk,
    own_section,
    proposal,
    records_of,
    replaced_disk,
    round_change,
    run_now,
    sent_to,
    vote,
    votes,
)

from qbft.core import InstanceId
from qbft.errors import BelowLowWaterMark, JournalError
from qbft.records import MarkRecord, QuarantineRecord, StandingRecord
from qbft.replica.limits import ReplicaLimits
from qbft.sim.disk import SimDisk
from qbft.transport import Frame, Memory

OLD = proposal(b"old", 4)
NEW = proposal(b"new", 12)


def marked_disk(index: int, *marks: MarkRecord) -> SimDisk:
    """A disk whose topics have these marks."""
    disk = new_disk(index)
    if marks:
        run_now(disk.commit(marks))
    return disk


def cluster_of(*disks: SimDisk) -> list[Rig]:
    """One node on each of these disks, linked."""
    rigs = [Rig(index, len(disks), disk=disk) for index, disk in enumerate(disks)]
    for rig in rigs:
        rig.replica.recover(rig.now)
    link_all(rigs)
    return rigs


def tell(rig: Rig, peer: int, **marks: int) -> None:
    """Have a peer tell everything in one page: its marks by topic, and nothing that is open."""
    entries = tuple(InstanceId(topic, height) for topic, height in marks.items())
    page = Memory(0, len(entries), is_last=True, lost=False, feed_end=0)
    rig.receive(peer, Frame(memory=page, marks=entries))


def floors_of(rig: Rig) -> dict[str, int]:
    """What the last record of its standing says."""
    standing = records_of(rig.turns, lambda r: isinstance(r, StandingRecord) and not r.lost)
    assert isinstance(standing[-1], StandingRecord)
    return dict(standing[-1].floors)


# --- a node without its votes ---------------------------------------------------------------------


def test_a_replaced_node_does_not_vote_in_what_its_peers_have_let_go() -> None:
    """K24, K28: its lost vote may be there, and no peer holds one any more that would prove it."""
    mark = MarkRecord("t", 10)
    disks = [marked_disk(i, mark) for i in range(4)]
    disks[1] = replaced_disk(1)
    rigs = cluster_of(*disks)
    for _ in range(4):
        carry(rigs, 10)
    victim = rigs[1]
    assert victim.replica.status().voting
    assert floors_of(victim) == {"t": 10}
    for life in (victim, victim.restart()):
        life.receive(0, own_section(vote(PP, 0, OLD), proposals=(OLD,)))
        for source in (0, 2, 3):
            life.receive(source, own_section(round_change(source, 2, OLD.instance)))
        life.wait(3_000)
        assert kinds(life.turns) == []
        assert not life.replica.is_open(OLD.instance)
        with pytest.raises(JournalError, match="does not vote in t/4"):
            life.replica.propose(OLD, life.now)
    victim.receive(0, own_section(vote(PP, 0, NEW), proposals=(NEW,)))
    assert kinds(victim.turns) == [("PREPARE", 1)]


def test_below_a_floor_it_takes_what_others_decide() -> None:
    """Nothing lost: who keeps a decision may still give it; this node's own mark has not moved."""
    rig = lost_rig()
    tell(rig, 0, t=10)
    tell(rig, 2, t=10)
    assert rig.disk.low_water_mark("t") == 0
    rig.receive(3, certificates=(certificate(OLD, (0, 2, 3)),), proposals=(OLD,))
    assert rig.disk.get(OLD.instance).value == b"old"
    other = proposal(b"other", 8)
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, other)))
    rig.receive(3, proposals=(other,))
    assert rig.disk.get(other.instance).value == b"other"


@pytest.mark.parametrize(
    ("marks", "floor"),
    [((10, 7), 7), ((10, 0), 0), ((2**63 - 1, 0), 0), ((2**63 - 1, 7), 7)],
)
def test_the_floor_is_what_f_plus_1_have_let_go(marks: Sequence[int], floor: int) -> None:
    """A liar who names an enormous mark does not silence the node: one honest peer names it too."""
    rig = lost_rig()
    for peer, mark in zip((0, 2), marks, strict=True):
        tell(rig, peer, **({"t": mark} if mark else {}))
    assert floors_of(rig) == ({"t": floor} if floor else {})
    high = proposal(b"high", 100)
    rig.receive(0, own_section(vote(PP, 0, high), proposals=(high,)))
    assert kinds(rig.turns) == [("PREPARE", 1)]


def test_with_more_answers_the_liars_are_still_the_highest() -> None:
    """At n = 7: two of the five that answered lie, one up and one down; each topic apart."""
    rig = lost_rig(7)
    tell(rig, 0, t=2**63 - 1, u=3)
    tell(rig, 2, t=6)
    tell(rig, 3, t=9, u=3)
    assert not rig.replica.status().voting
    tell(rig, 4, t=8, u=4)
    assert floors_of(rig) == {"t": 8, "u": 3}


def test_a_floor_is_never_taken_back() -> None:
    """Votes are lost a second time, and the peers that answer then have no marks."""
    rig = lost_rig()
    tell(rig, 0, t=10, u=5)
    tell(rig, 2, t=10, u=5)
    again = rig.restart()
    again.receive(2, relayed=(vote(COMMIT, 1, NEW, sequence=50),))
    assert not again.replica.status().voting
    tell(again, 0, t=11)
    tell(again, 2, t=12)
    assert floors_of(again) == {"t": 11, "u": 5}


def test_marks_of_one_peer_count_once_and_do_not_go_back() -> None:
    """A liar that names a topic twice has still one voice."""
    rig = lost_rig()
    twice = (InstanceId("t", 10), InstanceId("t", 9))
    page = Memory(0, 2, is_last=True, lost=False, feed_end=0)
    rig.receive(3, Frame(memory=page, marks=twice))
    tell(rig, 0)
    assert floors_of(rig) == {}


@pytest.mark.bites("memory_marks_per_peer_max")
def test_an_endless_list_of_marks_is_no_answer() -> None:
    """Bounds: what is noted of one peer is bounded, and others end the asking."""
    rig = lost_rig(limits=ReplicaLimits(memory_marks_per_peer_max=8))
    for start in range(50):
        made_up = tuple(InstanceId(f"t{start}-{i}", 1) for i in range(4))
        page = Memory(4 * start, 4 * start + 4, is_last=False, lost=False, feed_end=0)
        rig.receive(3, Frame(memory=page, marks=made_up))
    assert len(rig.replica._lost_votes._recollection._answers[3].marks) <= 12
    tell(rig, 0)
    assert not rig.replica.status().voting
    tell(rig, 2)
    assert rig.replica.status().voting


def test_a_witness_tells_its_marks_before_what_is_open() -> None:
    """Paged like the rest, so that many topics fit; one that has no mark is not told of."""
    marks = [MarkRecord(f"topic-{i:04}", 1 + i) for i in range(2_000)]
    rig = Rig(1, disk=marked_disk(1, *marks))
    rig.receive(0, proposals=(OLD,))
    told: list[InstanceId] = []
    pages: list[Frame] = []
    while not pages or not pages[-1].memory.is_last:
        after = pages[-1].memory.next if pages else 0
        turn = rig.receive(3, memory_wanted=after)
        pages += [frame for frame in letters(turn, 3) if frame.memory is not None]
        told += pages[-1].marks
        rig.now += 10
    assert [(i.topic, i.height) for i in told] == [(mark.topic, mark.height) for mark in marks]
    assert [frame.proposals for frame in pages] == [()] * (len(pages) - 1) + [(OLD,)]
    assert len(pages) <= 4


def test_many_topics_reach_a_replaced_node() -> None:
    """From end to end: more topics than one page holds, each with a mark."""
    marks = [MarkRecord(f"topic-{i:04}", 1 + i) for i in range(2_000)]
    disks = [marked_disk(i, *marks) for i in range(4)]
    disks[1] = replaced_disk(1)
    rigs = cluster_of(*disks)
    for _ in range(20):
        carry(rigs, 10)
    assert floors_of(rigs[1]) == {mark.topic: mark.height for mark in marks}


# --- a node with all its votes --------------------------------------------------------------------


async def test_an_instance_that_the_peers_have_let_go_is_given_up() -> None:
    """K28: no engine waits for ever for what it will never get; its client is told the mark."""
    disks = [marked_disk(i, *([MarkRecord("t", 10 + i)] if i else [])) for i in range(4)]
    rigs = cluster_of(*disks)
    waiting = rigs[0].replica.propose(OLD, rigs[0].now)
    for _ in range(40):
        carry(rigs, 100)
    assert not rigs[0].replica.is_open(OLD.instance)
    with pytest.raises(BelowLowWaterMark, match="from height 11 on") as refused:
        await waiting
    assert refused.value.mark == 11
    assert ("instance_let_go", 0) in rigs[0].rejected
    with pytest.raises(BelowLowWaterMark):
        rigs[0].replica.propose(OLD, rigs[0].now)
    assert rigs[0].disk.low_water_mark("t") == 0, "its own mark is its operator's"
    above = proposal(b"above", 16)
    rigs[0].replica.propose(above, rigs[0].now)
    for _ in range(20):
        carry(rigs, 100)
    assert {rig.disk.get(above.instance).value for rig in rigs} == {b"above"}


async def test_what_was_given_up_stays_so_after_a_restart() -> None:
    """Journaled, and no low-water mark is held up by it; a certificate is taken all the same."""
    rig = Rig(0)
    rig.propose(OLD)
    for peer in (1, 2):
        rig.receive(peer, marks=(InstanceId("t", 10),))
    rig.wait(3_000)
    (record,) = records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord))
    assert isinstance(record, QuarantineRecord)
    assert (record.instance, record.abandoned) == (OLD.instance, True)
    again = rig.restart()
    assert list(again.replica.undecided()) == []
    again.receive(3, own_section(vote(PP, 0, OLD), proposals=(OLD,)))
    again.wait(3_000)
    assert kinds(again.turns) == []
    again.receive(3, relayed=votes(COMMIT, (1, 2, 3), OLD), proposals=(OLD,))
    again.receive(3, proposals=(OLD,))
    assert again.disk.get(OLD.instance).value == b"old"


@pytest.mark.parametrize(
    ("nodes", "claims", "given_up"), [(4, 1, False), (4, 2, True), (6, 2, False), (6, 3, True)]
)
async def test_so_many_must_have_let_it_go_that_the_others_are_no_quorum(
    nodes: int, claims: int, given_up: bool
) -> None:
    """F liars close nothing; nor, with six nodes, F+1 peers: the four others can still decide."""
    rig = Rig(0, nodes)
    rig.propose(OLD)
    for peer in range(1, 1 + claims):
        for _ in range(3):
            rig.receive(peer, marks=(InstanceId("t", 2**63 - 1),))
    rig.wait(5_000)
    assert rig.replica.is_open(OLD.instance) is not given_up


@pytest.mark.bites("marks_per_peer_max")
async def test_marks_that_peers_tell_are_bounded() -> None:
    """Bounds: each peer has its own places, and the oldest goes first."""
    rig = Rig(0, limits=ReplicaLimits(marks_per_peer_max=4))
    for i in range(50):
        rig.receive(3, marks=(InstanceId(f"t{i}", 9),))
    assert list(rig.replica._peers[3].marks) == ["t46", "t47", "t48", "t49"]
    assert not rig.replica._peers[2].marks


def test_who_asks_for_what_is_not_kept_is_told_the_mark() -> None:
    """U3: an answer that says nothing would be asked for again and again; once for each topic."""
    rig = Rig(1, disk=marked_disk(1, MarkRecord("t", 5)))
    turn = rig.receive(2, wanted_decisions=(instance(3), instance(4), instance(5)))
    assert sent_to(turn, 2, "marks") == [InstanceId("t", 5)]
    assert sent_to(turn, 2, "certificates") == []


def test_nobody_opens_what_so_many_have_let_go() -> None:
    """Bounds: else a liar could have instance after instance opened, given up and journaled."""
    rig = Rig(0)
    for peer in (1, 3):
        rig.receive(peer, marks=(InstanceId("t", 10**9),))
    rig.receive(3, proposals=tuple(proposal(b"x", height) for height in range(20)))
    rig.receive(3, own_section(*votes(PREPARE, (3,), proposal(b"x", 30))))
    rig.receive(
        3, relayed=tuple(round_change(source, 2, proposal(b"x", 31).instance) for source in (1, 2))
    )
    rig.wait(3_000)
    assert rig.replica.status().open_instances == 0
    assert rig.replica.status().held_votes == 0
    assert records_of(rig.turns, lambda _: True) == []
    late = proposal(b"late", 31)
    rig.receive(3, relayed=votes(COMMIT, (1, 2, 3), late), proposals=(late,))
    rig.receive(3, proposals=(late,))
    assert rig.disk.get(late.instance).value == b"late"


async def test_after_a_restart_the_client_is_told_the_same() -> None:
    """ADR 009: what is given up is not kept, whoever asks and whenever; no node need be asked."""
    rig = Rig(0)
    rig.propose(OLD)
    for peer in (1, 2):
        rig.receive(peer, marks=(InstanceId("t", 10),))
    rig.wait(3_000)
    again = rig.restart()
    with pytest.raises(BelowLowWaterMark):
        again.replica.propose(OLD, again.now)
