"""Pulling what was missed (HARDENING U3; SCENARIOS K19, M5), from peers that may lie."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from replica_builders import (
    COMMIT,
    Rig,
    carry,
    carry_until_decided,
    certificate,
    instance,
    kinds,
    letters,
    link_all,
    own_section,
    proposal,
    round_change,
    sent_to,
    vote,
)

from qbft.core import InstanceId, Value
from qbft.decision import Decision
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import bytes_of
from qbft.replica.turn import Turn
from qbft.sim.disk import SimDisk
from qbft.transport import FeedPage, FeedRequest

LIMITS = ReplicaLimits(feed_page_instances_max=3)


def decided_rig(index: int, count: int) -> Rig:
    """A replica that has decided so many instances."""
    rig = Rig(index, limits=LIMITS)
    for height in range(count):
        what = proposal(b"v", height)
        rig.receive(3 - index, certificates=(certificate(what),), proposals=(what,))
    assert rig.disk.end == count
    return rig


def ids(*heights: int) -> tuple[InstanceId, ...]:
    """Instances of these heights."""
    return tuple(map(instance, heights))


def requests(turns: Turn | Sequence[Turn], peer: int) -> list[int]:
    """From where on pages were asked of a peer."""
    return [f.feed_request.after for f in letters(turns, peer) if f.feed_request is not None]


def wanted(turns: Turn | Sequence[Turn], peer: int) -> list[int]:
    """The heights of the decisions that were asked of a peer."""
    return [which.height for which in sent_to(turns, peer, "wanted_decisions")]


def reading_rig(*peers: int) -> Rig:
    """Validator 1, whose links to these peers just came up."""
    rig = Rig(1, limits=LIMITS)
    for peer in peers:
        rig.replica.link_up(peer, rig.now)
    turn = rig.turn()
    assert [requests(turn, peer) for peer in peers] == [[0]] * len(peers)
    return rig


def give(rig: Rig, peer: int, *heights: int) -> Turn:
    """Let a peer give these decisions."""
    whats = [proposal(b"v", height) for height in heights]
    return rig.receive(
        peer,
        certificates=tuple(certificate(what, (0, 2, 3)) for what in whats),
        proposals=tuple(whats),
    )


def test_a_node_that_was_away_pulls_everything() -> None:
    """SCENARIOS M5: page by page, with certificates, and it believes nothing else."""
    rigs = [decided_rig(0, 10), Rig(1, limits=LIMITS)]
    link_all(rigs)
    for _ in range(30):
        carry(rigs, 10)
    assert rigs[1].disk.end == 10
    assert [rigs[1].disk.get(instance(h)).value for h in range(10)] == [b"v"] * 10
    assert kinds(rigs[1].turns) == []


async def test_a_node_that_catches_up_votes_in_new_instances_meanwhile() -> None:
    """SCENARIOS M5, issue 4: pulling holds up no vote, and without its own nothing is decided.

    Of four nodes two decided 30 instances while it was away; the fourth is down.
    """
    late = Rig(1, limits=LIMITS)
    rigs = [decided_rig(0, 30), late, decided_rig(2, 30)]
    link_all(rigs)
    new = proposal(b"new", 40)
    carry(rigs, 10)
    rigs[0].replica.propose(new, rigs[0].now)
    carry_until_decided(rigs, new.instance, step_ms=10)
    assert kinds(late.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    assert [late.disk.get(instance(h)) is None for h in (0, 29)] == [False, True]
    carry_until_decided(rigs, instance(29))
    assert late.disk.end == 31


def test_a_decision_that_comes_with_its_value_is_not_asked_for_again() -> None:
    """U3: certificate and bytes travel together, once."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    rig.turns.clear()
    give(rig, 0, 0, 1)
    rig.receive(0, certificates=(certificate(proposal(b"v", 2)),))
    assert sent_to(rig.turns, 0, "wanted_values") == [(instance(2), proposal(b"v", 2).digest)]


def test_a_page_is_read_to_its_end_before_the_next() -> None:
    """Ids first, then what is missing here, and the next page when the first is complete."""
    rig = reading_rig(0)
    turn = rig.receive(0, feed_page=FeedPage(3, 5, ids(0, 1, 2)))
    assert wanted(turn, 0) == [0, 1, 2]
    assert requests(give(rig, 0, 0, 1), 0) == []
    give(rig, 0, 2)
    assert rig.replica.next_due_ms == rig.now
    assert requests(rig.turn(), 0) == [3]
    turn = rig.receive(0, feed_page=FeedPage(5, 5, ids(3, 4)))
    assert wanted(turn, 0) == [3, 4]
    assert requests(give(rig, 0, 3, 4), 0) == []


def test_what_is_known_is_not_asked_for() -> None:
    """Only what is missing here costs anything."""
    rig = reading_rig(0)
    give(rig, 0, 0, 1, 2)
    turn = rig.receive(0, feed_page=FeedPage(3, 4, ids(0, 1, 2)))
    assert (wanted(turn, 0), requests(turn, 0)) == ([], [3])


def test_a_page_that_was_not_finished_is_read_again_over_the_next_link() -> None:
    """A broken link loses what was asked for, never a part of the feed."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 5, ids(0, 1, 2)))
    rig.replica.link_up(0, rig.now)
    assert requests(rig.turn(), 0) == [0]


def test_a_lost_page_is_asked_for_again() -> None:
    """And so is a decision that was asked for and did not come."""
    rig = reading_rig(0)
    assert requests(rig.wait(1_500), 0) == [0]
    rig.receive(0, feed_page=FeedPage(3, 5, ids(0, 1, 2)))
    assert wanted(rig.wait(1_500), 0) == [0, 1, 2]


def test_the_answer_to_a_request_that_was_made_again_ends_no_reading() -> None:
    """U3: a slow peer answers both; what it has beyond them is read all the same (chaos)."""
    rig = reading_rig(0)
    slow = rig.wait(3_000)
    assert requests(slow, 0)[-1] == 0, "asked again"
    rig.receive(0, feed_page=FeedPage(3, 6, ids(0, 1, 2)))
    assert requests([give(rig, 0, 0, 1, 2), *rig.wait(1)], 0) == [3]
    rig.receive(0, feed_page=FeedPage(3, 6, ids(0, 1, 2)))
    assert wanted(rig.receive(0, feed_page=FeedPage(6, 6, ids(3, 4, 5))), 0) == [3, 4, 5]


def test_the_end_that_a_late_answer_tells_is_read_up_to() -> None:
    """U3: the late one was made when less was decided; the true answer comes unasked for then."""
    rig = reading_rig(0)
    rig.wait(3_000)
    rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    give(rig, 0, 0, 1, 2)
    rig.receive(0, feed_page=FeedPage(6, 6, ids(3, 4, 5)))
    turns = rig.wait(3_000)
    assert requests(turns, 0)[-1] == 3
    assert wanted(rig.receive(0, feed_page=FeedPage(6, 6, ids(3, 4, 5))), 0) == [3, 4, 5]


def test_a_liar_that_cannot_prove_what_it_names_delays_nobody_else() -> None:
    """Its ids are asked of others who name them too, in turn, however early it spoke."""
    rig = reading_rig(0, 2)
    rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    turn = rig.receive(2, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    assert wanted(turn, 2) == []
    assert wanted(rig.wait(1_500), 2) == [0, 1, 2]
    give(rig, 2, 0, 1, 2)
    assert rig.disk.end == 3


@pytest.mark.bites("feed_asks_max")
def test_a_liars_own_feed_is_read_on_after_a_while() -> None:
    """What it never proves is passed over, so that the rest of its feed is not lost to it."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 6, ids(70, 71, 72)))
    turns = rig.wait(20_000)
    assert requests(turns, 0)[0] == 3
    assert len(wanted(turns, 0)) == 3 * rig.replica._limits.feed_asks_max
    assert rig.replica._catch_up._asked == {}


def test_what_was_passed_over_is_read_again_later() -> None:
    """An honest peer that was too busy to answer eight asks is asked again, after a while."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 6, ids(0, 1, 2)))
    assert requests(rig.wait(20_000), 0)[0] == 3
    rig.receive(0, feed_page=FeedPage(6, 6, ()))
    assert rig.replica._catch_up.is_behind()
    turns = rig.wait(60_000)
    assert 0 in requests(turns, 0)
    rig.receive(0, feed_page=FeedPage(3, 6, ids(0, 1, 2)))
    give(rig, 0, 0, 1, 2)
    rig.receive(0, feed_page=FeedPage(6, 6, ()))
    assert rig.disk.end == 3
    assert not rig.replica._catch_up.is_behind()


def test_what_was_passed_over_is_read_again_over_the_next_link() -> None:
    """At once: a link that comes up anew may end at a peer that is well again."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    rig.wait(20_000)
    rig.replica.link_up(0, rig.now)
    assert requests(rig.turn(), 0) == [0]


def test_an_honest_peer_that_answers_slowly_is_not_given_up() -> None:
    """Any progress begins the count anew."""
    rig = reading_rig(0)
    rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    for height in range(3):
        rig.wait(6_000)
        give(rig, 0, height)
    assert rig.disk.end == 3
    assert not rig.replica._catch_up.is_behind()


@pytest.mark.parametrize(
    "page",
    [
        FeedPage(10, 5, ids(0)),
        FeedPage(4, 4, ids(0, 1, 2, 3)),
        FeedPage(2**63 - 1, 0, ()),
    ],
)
def test_a_page_that_makes_no_sense_is_counted(page: FeedPage) -> None:
    """Beyond its own end, or longer than was asked for."""
    rig = reading_rig(0)
    turn = rig.receive(0, feed_page=page)
    assert rig.rejected == [("bad_feed_page", 0)]
    assert wanted(turn, 0) == []


def test_of_a_page_nobody_asked_for_only_the_end_is_remembered() -> None:
    """So that a peer cannot make this node remember what it likes; it is asked once a tick."""
    rig = Rig(1, limits=LIMITS)
    first = rig.receive(0, feed_page=FeedPage(3, 3, ids(0, 1, 2)))
    assert wanted(first, 0) == []
    turns = [rig.receive(0, feed_page=FeedPage(3, end, ())) for end in range(3, 103)]
    assert wanted(turns, 0) == []
    assert len(requests([first, *turns], 0)) <= 2


def test_empty_pages_without_end_go_at_a_tick_each() -> None:
    """A liar whose feed never ends costs one request per tick, not one per round trip."""
    rig = reading_rig(0)
    asked = 0
    for position in range(1, 1_001):
        turn = rig.receive(0, feed_page=FeedPage(position, 2**62, ()))
        asked += len(requests([turn, *rig.wait(1)], 0))
    assert asked <= 2 + 1_000 // rig.replica._limits.resend_ms


def test_a_huge_position_hides_only_the_liars_own_feed() -> None:
    """Other peers' feeds are read beside it."""
    rig = reading_rig(0, 2)
    rig.receive(0, feed_page=FeedPage(2**62, 2**62, ()))
    turn = rig.receive(2, feed_page=FeedPage(1, 1, ids(0)))
    assert wanted(turn, 2) == [0]


def test_a_request_is_answered_in_bounds() -> None:
    """A hostile position or limit gives a page like any other."""
    rig = decided_rig(1, 5)
    for request, expected in (
        (FeedRequest(0, 10**9), FeedPage(3, 5, ids(0, 1, 2))),
        (FeedRequest(3, 2), FeedPage(5, 5, ids(3, 4))),
        (FeedRequest(-5, 1), FeedPage(1, 5, ids(0))),
        (FeedRequest(10**12, 1), FeedPage(5, 5, ())),
        (FeedRequest(0, -1), FeedPage(5, 5, ())),
    ):
        turn = rig.receive(0, feed_request=request)
        assert [f.feed_page for f in letters(turn, 0)] == [expected]


def test_open_instances_are_asked_about_when_a_link_comes_up() -> None:
    """SCENARIOS K19: a restarted node pulls the certificate before its first timeout."""
    rig = Rig(1)
    rig.receive(2, proposals=(proposal(b"v"),))
    again = rig.restart()
    again.replica.link_up(0, again.now)
    turn = again.turn()
    assert wanted(turn, 0) == [0]
    give(again, 0, 0)
    assert again.now < 1_000
    assert again.disk.get(instance()).value == b"v"
    assert not [own for own in kinds(again.turns) if own[0] == "ROUND_CHANGE"]


def test_all_open_instances_are_asked_about_however_many() -> None:
    """K19 with more of them than one frame may ask for: the rest follows at the ticks."""
    rig = Rig(1, limits=ReplicaLimits(wanted_per_frame_max=10))
    for height in range(35):
        rig.receive(2, proposals=(proposal(b"v", height),))
    rig.replica.link_up(0, rig.now)
    turns = [rig.turn()]
    assert len(wanted(turns, 0)) == 10
    turns += rig.wait(999)
    assert len(wanted(turns, 0)) == 20
    turns += rig.wait(1_000)
    assert set(wanted(turns, 0)) == set(range(35))


def test_a_node_that_times_out_asks_another_peer_each_round() -> None:
    """U3: polled by a node that timed out; no single silent peer can keep it waiting."""
    rig = Rig(1)
    rig.receive(2, proposals=(proposal(b"v"),))
    asked = {to for turn in rig.wait(8_000) for to, f in turn.frames if f.wanted_decisions}
    assert asked == {0, 2, 3}


def test_one_that_is_asked_about_an_open_instance_gives_its_votes_and_the_proposal() -> None:
    """DESIGN, late nodes: so that what was dropped comes again, and one open node opens all."""
    rig = Rig(1)
    rig.receive(2, proposals=(proposal(b"v"),))
    rig.wait(1_000)
    turn = rig.receive(3, wanted_decisions=(instance(), instance(9)))
    assert [(v.type.name, v.round) for v in sent_to(turn, 3, "relayed")] == [("ROUND_CHANGE", 2)]
    assert sent_to(turn, 3, "proposals") == [proposal(b"v")]


def test_a_quarantined_instance_takes_its_decision_from_others() -> None:
    """DESIGN, errors: no further vote, but a certificate is believed."""
    rig = Rig(1)
    rig.replica._quarantined.add(instance())
    rig.receive(
        3,
        own_section(round_change(3, 2)),
    )
    give(rig, 3, 0)
    assert rig.disk.get(instance()).value == b"v"
    assert kinds(rig.turns) == []


@pytest.mark.bites("pull_bytes_burst_max")
def test_pages_of_a_feed_are_given_at_a_peers_pace() -> None:
    """SCENARIOS C11: who asks for the feed again and again gets so many pages, and then none."""
    limits = ReplicaLimits(feed_page_bytes=1_000, pull_bytes_burst_max=2_000, pull_bytes_per_ms=1)
    rig = Rig(1, limits=limits)
    asking = FeedRequest(0, 512)
    given = [letters(rig.receive(3, feed_request=asking), 3) for _ in range(4)]
    assert [frame.feed_page is not None for turn in given for frame in turn] == [True, True]
    rig.now += 1_000
    assert letters(rig.receive(3, feed_request=asking), 3)[0].feed_page is not None


@pytest.mark.bites("waste_work_max")
def test_who_asks_far_beyond_its_pace_is_left_unread() -> None:
    """SCENARIOS C11, HARDENING U7: reading what is refused costs too, and is held against it."""
    limits = ReplicaLimits(pull_bytes_burst_max=1, pull_bytes_per_ms=1, waste_work_max=40)
    rig = Rig(1, limits=limits)
    wanted = tuple(instance(height) for height in range(200))
    rig.receive(2, wanted_decisions=wanted)
    assert rig.replica.takes_from(2, rig.now)
    rig.receive(2, wanted_decisions=wanted)
    assert not rig.replica.takes_from(2, rig.now)
    assert rig.replica.takes_from(3, rig.now)
    rig.now += 60_000
    assert rig.replica.takes_from(2, rig.now)


def test_nothing_is_read_that_a_peer_may_not_have() -> None:
    """HARDENING U7: whoever asks for large decisions beyond its pace costs an index, not a disk."""

    class Counting(SimDisk):
        """A disk that counts what is read of it."""

        reads = 0

        def get(self, which: InstanceId) -> Decision | None:
            """Read a value."""
            self.reads += 1
            return super().get(which)

        def digest(self, which: InstanceId) -> Value | None:
            """Look it up."""
            decision = SimDisk.get(self, which)
            return None if decision is None else decision.certificate.value

        def size(self, which: InstanceId) -> int:
            """Look that up."""
            decision = SimDisk.get(self, which)
            return 0 if decision is None else len(bytes_of(decision))

    limits = ReplicaLimits(pull_bytes_burst_max=120_000, pull_bytes_per_ms=1, asked_bytes_min=1)
    disk = Counting(bytes([1]) * 16, lambda label, records: None)
    rig = Rig(1, limits=limits, disk=disk)
    large = [proposal(bytes(50_000), height) for height in range(40)]
    for what in large:
        rig.receive(3, certificates=(certificate(what, (0, 2, 3)),), proposals=(what,))
    disk.reads = 0
    wanted = tuple(what.instance for what in large)
    turn = rig.receive(2, wanted_decisions=wanted)
    assert len(sent_to(turn, 2, "certificates")) == 2
    named = tuple((what.instance, what.digest) for what in large)
    assert sent_to(rig.receive(2, wanted_values=named), 2, "certificates") == []
    rig.receive(2, relayed=tuple(vote(COMMIT, 0, what, 2) for what in large))
    assert disk.reads <= 2 + limits.answer_burst_max
    before = disk.reads
    rig.replica.link_up(0, rig.now)
    rig.turn()
    rig.receive(0, feed_page=FeedPage(len(wanted), len(wanted), wanted))
    assert disk.reads == before, "what a feed names is looked up, and not read"
