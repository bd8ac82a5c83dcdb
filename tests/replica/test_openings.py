"""Whose turn it is to open an instance: a flood takes no more than others want (docs/adr/019)."""

from __future__ import annotations

from dataclasses import replace

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
    vote,
)

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.openings import TOGETHER, Asked, Openings, Way

OWN, LIAR, OTHER, THIRD = 0, 1, 2, 3
LIMITS = ReplicaLimits(
    opening_places_free=4,
    opening_places_min=2,
    opening_places_max=20,
    opening_place_ms=200,
    contention_ms=1_000,
    opening_bytes_per_place=100,
    waiting_openings_max=4,
    waiting_opening_bytes_max=1_000,
)
FREE, LEAST, MOST = 4, 2, 20


class Room:
    """What one node's peers ask it to open, and what it opens."""

    def __init__(self, limits: ReplicaLimits = LIMITS) -> None:
        self.now = 0
        self.bites = Bites()
        self.openings = Openings(OWN, (LIAR, OTHER, THIRD), limits, self.bites)
        self._heights = 0

    def asked(self, way: Way = Way.FORWARD, value: bytes = b"v") -> Asked:
        """A proposal for an instance of its own."""
        self._heights += 1
        return Asked(Proposal(InstanceId("any", self._heights), value), way)

    def ask(self, peer: int, way: Way = Way.FORWARD, value: bytes = b"v") -> InstanceId | None:
        """Have a peer's proposal come; gives its instance if it opens at once."""
        asked = self.asked(way, value)
        if self.openings.admits(peer, asked, self.now):
            self.openings.opened(asked.proposal.instance, peer, asked, self.now)
            return asked.proposal.instance
        self.openings.wait(peer, asked)
        return None

    def asks(self, peer: int, count: int, way: Way = Way.FORWARD) -> int:
        """Have so many come; gives how many open at once."""
        return sum(self.ask(peer, way) is not None for _ in range(count))

    def own(self, count: int) -> None:
        """Let own clients open so many."""
        for _ in range(count):
            self.openings.opened(self.asked().proposal.instance, OWN, None, self.now)

    def go_on(self) -> list[int]:
        """Open what waits and may be; gives whose it was."""
        opened = []
        for peer, asked in self.openings.ready(self.now):
            assert self.openings.admits(peer, asked, self.now)
            self.openings.opened(asked.proposal.instance, peer, asked, self.now)
            opened.append(peer)
        return opened


def test_alone_a_peer_may_open_much() -> None:
    """Nobody is kept waiting by it."""
    assert Room().asks(LIAR, 30) == MOST


WINDOW = replace(
    LIMITS,
    opening_places_max=100,
    open_instances_per_peer_max=40,
    open_instances_per_peer_first=6,
    open_instances_per_peer_min=3,
    stuck_ms=8_000,
    waiting_openings_max=100,
)


def end_all(room: Room, peer: int, *, in_first_round: bool) -> int:
    """Have all end that a peer has open, and open what waits; gives how much it has open then."""
    for which in [which for which, opener in room.openings.openers.items() if opener == peer]:
        if not in_first_round:
            room.openings.ran_out(which, room.now, is_first=True)
        room.openings.closed(which, in_first_round=in_first_round)
    room.now += LIMITS.opening_place_ms
    room.go_on()
    return room.openings.count_of(peer)


@pytest.mark.bites("open_instances_per_peer_max")
@pytest.mark.parametrize("way", [Way.FORWARD, Way.LEAD])
def test_whose_instances_need_one_round_may_have_more_of_them_open(way: Way) -> None:
    """docs/adr/021: a congestion window, which begins small and has an end."""
    room = Room(WINDOW)
    assert room.asks(OTHER, 99, way) == 6
    assert room.bites.of(Bound.OPEN_INSTANCES_PER_PEER_MAX, OTHER) > 0
    assert [end_all(room, OTHER, in_first_round=True) for _ in range(3)] == [12, 24, 40]


@pytest.mark.parametrize("way", [Way.FORWARD, Way.LEAD])
def test_whose_instances_need_more_rounds_may_have_fewer_of_them_open(way: Way) -> None:
    """docs/adr/021: late nodes are later for each that is open; but a few each peer always may."""
    room = Room(WINDOW)
    room.asks(LIAR, 60, way)
    assert [end_all(room, LIAR, in_first_round=False) for _ in range(3)] == [3, 3, 3]
    assert end_all(room, LIAR, in_first_round=True) == 6


def test_in_a_window_a_large_value_counts_for_several() -> None:
    """docs/adr/021: as long as there is room at all one fits, however large it is."""
    room = Room(WINDOW)
    assert [room.ask(LIAR, value=bytes(450)) is not None for _ in range(3)] == [True, True, False]
    assert end_all(room, LIAR, in_first_round=False) == 1
    assert end_all(room, LIAR, in_first_round=False) == 0
    room.now += 10_000
    assert room.ask(LIAR, value=bytes(450)) is not None
    assert room.ask(LIAR) is None


def test_what_is_stuck_leaves_the_window() -> None:
    """It may never be decided; whoever hands on what a liar asks it for is not kept out by that."""
    room = Room(WINDOW)
    assert room.asks(OTHER, 30) == 6
    stuck = list(room.openings.openers)
    room.now = 7_999
    for which in stuck:
        room.openings.ran_out(which, room.now, is_first=which == stuck[0])
    assert room.go_on() == []
    room.now = 8_000
    for which in stuck:
        room.openings.ran_out(which, room.now, is_first=False)
        room.openings.ran_out(which, room.now, is_first=False)
    assert len(room.go_on()) == 5
    for which in stuck:
        room.openings.closed(which)
    assert room.openings.count_of(OTHER) == 5


def test_what_is_stuck_beside_votes_keeps_nobody_s_forwards_out() -> None:
    """A liar that has an honest node hand on what never ends does not take all of its places."""
    room = Room(WINDOW)
    for _ in range(20):
        room.asks(OTHER, 30, Way.BESIDE)
        room.now += 9_000
        for which in list(room.openings.openers):
            room.openings.ran_out(which, room.now, is_first=False)
        room.go_on()
    assert room.openings.count_of(OTHER) == 6
    assert room.ask(OTHER, Way.FORWARD) is not None
    assert room.ask(OTHER, Way.LEAD) is not None


def test_what_comes_beside_votes_is_not_held_against_who_hands_it_on() -> None:
    """After a partition it is in a later round there, and cannot end in its first one here."""
    room = Room(WINDOW)
    room.asks(OTHER, 99, Way.BESIDE)
    assert [end_all(room, OTHER, in_first_round=False) for _ in range(3)] == [6, 6, 6]
    assert [end_all(room, OTHER, in_first_round=True) for _ in range(3)] == [6, 6, 6]


def test_a_full_window_of_what_is_led_keeps_no_forward_out() -> None:
    """Each has its own."""
    room = Room(replace(WINDOW, opening_places_free=20))
    assert room.asks(OTHER, 20, Way.LEAD) == 6
    assert room.asks(OTHER, 20, Way.FORWARD) == 6


def test_where_little_is_open_anybody_may_open_more() -> None:
    """The first places are for all, first come, first served."""
    room = Room()
    room.own(1)
    assert room.asks(LIAR, 10) == FREE - 1


@pytest.mark.bites("opening_places_min")
def test_beside_others_it_may_open_little() -> None:
    """A flood leaves a node its time for others."""
    room = Room()
    room.own(FREE)
    assert room.asks(LIAR, 10) == LEAST
    assert room.bites.of(Bound.OPENING_PLACES_MIN, LIAR) == 10 - LEAST


def test_own_clients_that_wanted_something_lately_count_still() -> None:
    """A client that asks for one thing after the other finds no node full in between."""
    room = Room()
    room.own(1)
    for which in list(room.openings.openers):
        room.openings.closed(which)
    room.now = LIMITS.contention_ms
    assert room.asks(LIAR, 30) == FREE
    room.now += 1
    room.go_on()
    assert room.asks(LIAR, 30) > 0
    assert room.openings.count_of(LIAR) == MOST


def test_a_peer_that_wants_nothing_now_is_no_rival() -> None:
    """One message a second of a liar does not hold another peer to little."""
    room = Room()
    gone = room.ask(LIAR)
    assert gone is not None
    room.openings.closed(gone)
    assert room.asks(OTHER, 30) == MOST


def test_it_may_open_half_as_much_as_the_busiest_other() -> None:
    """Where much is wanted nobody is held to little; and it may ask every node for as much."""
    room = Room()
    room.own(12)
    room.asks(OTHER, 4)
    assert room.asks(LIAR, 20) == 6


def test_what_leaders_open_makes_no_room_for_forwards() -> None:
    """Leaders may speak for the same peer: else floods would make room for each other."""
    room = Room()
    room.own(FREE)
    assert room.asks(OTHER, 12, Way.LEAD) == 2 * FREE
    assert room.asks(LIAR, 10) == LEAST


def test_a_leader_may_open_what_this_node_was_asked_for_itself() -> None:
    """Leaders share the work: a node that leads as many as this one is not slowed down."""
    room = Room()
    room.own(4)
    room.asks(THIRD, 2)
    room.asks(OTHER, 2)
    assert room.asks(LIAR, 20, Way.LEAD) == 2 * 8


def test_a_leader_may_open_twice_as_much_as_another_leader() -> None:
    """Where one leads much others may; and who leads more than another does so by chance."""
    room = Room()
    assert room.asks(OTHER, 8, Way.LEAD) == 8
    assert room.asks(LIAR, 20, Way.LEAD) == 16


def test_leaders_are_held_against_what_others_had_lately() -> None:
    """What clients ask for comes in bursts: one leader's is over when the next one's comes."""
    room = Room()
    room.own(8)
    for which in list(room.openings.openers):
        room.openings.closed(which)
    room.own(1)
    assert room.asks(LIAR, 30, Way.LEAD) == 16
    room = Room()
    room.own(8)
    for which in list(room.openings.openers):
        room.openings.closed(which)
    room.now = LIMITS.contention_ms + 1
    room.own(1)
    assert room.asks(LIAR, 30, Way.LEAD) == FREE - 1


def test_what_it_leads_and_what_it_forwards_is_counted_apart() -> None:
    """A leader does not lack the place that its own clients' forwards have taken."""
    room = Room()
    room.own(4)
    assert room.asks(LIAR, 10) == LEAST
    assert room.asks(LIAR, 10, Way.LEAD) == 8


def test_a_large_value_takes_more_places() -> None:
    """Bytes are work too; but one instance there may always be."""
    room = Room()
    room.own(6)
    assert room.ask(OTHER, value=bytes(100)) is not None
    assert room.ask(OTHER) is not None
    assert room.ask(OTHER) is None
    assert room.ask(LIAR, value=bytes(1_000)) is not None
    assert room.ask(LIAR) is None


def test_a_large_value_has_its_places_for_a_time() -> None:
    """However soon it is decided: what it cost is shared out over the time that it has them."""
    room = Room()
    room.own(FREE)
    opened = room.ask(LIAR, value=bytes(1_100))
    assert opened is not None
    room.openings.closed(opened)
    assert room.ask(LIAR) is None
    room.now = 3 * LIMITS.opening_place_ms - 1
    assert room.go_on() == []
    room.now += 1
    assert room.go_on() == [LIAR]


def test_a_large_value_is_not_overtaken() -> None:
    """What comes later waits behind it, until all places of its peer are free."""
    room = Room()
    room.own(FREE)
    assert room.ask(LIAR) is not None
    assert room.ask(LIAR, value=bytes(900)) is None
    assert room.asks(LIAR, 2) == 0
    room.now = LIMITS.opening_place_ms
    room.own(FREE)
    assert room.go_on() == [LIAR]
    assert room.openings._shares[LIAR, Way.FORWARD].places == 10


def test_what_comes_beside_votes_stands_in_no_forwards_way() -> None:
    """A liar's junk that an honest peer sends again delays none of what its clients ask for."""
    room = Room()
    room.own(FREE)
    assert room.asks(OTHER, 6, Way.BESIDE) == LEAST
    assert room.asks(OTHER, 6) == LEAST
    assert room.asks(LIAR, 6) == LEAST


def test_what_is_closed_makes_room_at_once() -> None:
    """A quick decision gives its place back."""
    room = Room()
    room.own(FREE)
    opened = room.ask(LIAR)
    assert opened is not None
    assert room.asks(LIAR, 3) == LEAST - 1
    room.openings.closed(opened)
    assert room.go_on() == [LIAR]


def test_what_takes_long_loses_its_place() -> None:
    """What waits for a timer costs nothing, and what never ends keeps nothing out."""
    room = Room()
    room.own(FREE)
    room.asks(LIAR, LEAST + 1)
    assert room.openings.resumes_ms(room.now) == LIMITS.opening_place_ms
    room.now = LIMITS.opening_place_ms
    assert room.openings.resumes_ms(room.now) == room.now
    assert room.go_on() == [LIAR]
    assert room.openings.resumes_ms(room.now) is None


def test_who_waits_has_a_turn_with_the_others() -> None:
    """A long queue delays its own peer only."""
    room = Room()
    room.own(FREE)
    for peer in (LIAR, OTHER):
        room.asks(peer, 6)
    room.own(FREE)
    room.now = LIMITS.opening_place_ms
    assert sorted(room.go_on()) == [LIAR, LIAR, OTHER, OTHER]


@pytest.mark.bites("waiting_openings_max")
def test_a_queue_has_an_end() -> None:
    """Beyond it a peer's proposals are refused, and asked for when little waits."""
    room = Room()
    waits = [room.openings.wait(LIAR, room.asked()) for _ in range(5)]
    assert waits == [True] * 4 + [False]
    assert room.bites.of(Bound.WAITING_OPENINGS_MAX, LIAR) == 1
    assert not room.openings.takes_more(LIAR)
    assert room.openings.takes_more(OTHER)


@pytest.mark.bites("waiting_opening_bytes_max")
def test_a_queue_has_an_end_in_bytes() -> None:
    """But one value may wait, however large it is."""
    room = Room()
    assert room.openings.takes_more(LIAR)
    assert room.openings.wait(LIAR, room.asked(value=bytes(2_000)))
    assert not room.openings.wait(LIAR, room.asked())
    assert room.bites.of(Bound.WAITING_OPENING_BYTES_MAX, LIAR) == 1
    assert not room.openings.takes_more(LIAR)


def test_of_one_instance_one_value_of_a_peer_waits() -> None:
    """A second one of the same peer is refused; the same one again is no second one."""
    room = Room()
    asked = room.asked()
    first, which = asked.proposal, asked.proposal.instance
    other = Asked(Proposal(which, b"w"), Way.FORWARD)
    assert room.openings.wait(LIAR, asked)
    assert room.openings.wait(LIAR, asked)
    assert not room.openings.wait(LIAR, other)
    assert room.openings.wait(OTHER, other)
    assert room.openings.awaits(LIAR, which, first.digest)
    assert not room.openings.awaits(LIAR, which, other.proposal.digest)
    assert room.openings.release(which) == [(LIAR, first), (OTHER, other.proposal)]
    assert room.openings.release(which) == []


def test_what_others_are_in_takes_no_place() -> None:
    """F+1 ROUND-CHANGEs open an instance beside all shares: somebody honest has let it in."""
    room = Room()
    room.own(FREE)
    for _ in range(4):
        room.openings.opened(room.asked().proposal.instance, TOGETHER, None, room.now)
    assert room.asks(LIAR, 10) == LEAST
    assert room.openings.count_of(LIAR) == LEAST


@pytest.mark.bites("open_instances_of_peers_max")
def test_what_others_are_in_has_an_end_too() -> None:
    """It takes nobody's places; there are so many for all of it."""
    room = Room(ReplicaLimits(open_instances_of_peers_max=6))
    for _ in range(6):
        assert room.openings.has_place_together()
        room.openings.opened(room.asked().proposal.instance, TOGETHER, None, room.now)
    assert not room.openings.has_place_together()
    assert room.openings.has_place(LIAR)
    assert room.bites.of(Bound.OPEN_INSTANCES_OF_PEERS_MAX) == 1


def test_nothing_is_kept_of_what_is_over() -> None:
    """All that is counted comes back, whatever the order."""
    room = Room()
    room.own(3)
    assert room.ask(LIAR, value=bytes(250)) is not None
    assert room.asks(LIAR, 3, Way.LEAD) > 0
    room.now = LIMITS.opening_place_ms
    room.own(1)
    for which in list(room.openings.openers):
        room.openings.closed(which)
    room.now *= 2
    room.own(1)
    assert len(room.openings._placed) == len(room.openings._leaving) == 1
    assert room.openings._places == 1
    assert {share.places for share in room.openings._shares.values()} == {0}


# --- in a replica --------------------------------------------------------------------------------

FEW = ReplicaLimits(
    opening_places_free=1, opening_places_min=1, opening_places_max=1, waiting_openings_max=2
)


def test_an_instance_opens_when_its_turn_has_come() -> None:
    """Nothing is lost by waiting: neither the value nor the votes that have come meanwhile."""
    rig = Rig(1, limits=FEW)
    rig.receive(2, proposals=(proposal(b"v", 8),))
    rig.receive(2, proposals=(proposal(b"v", 12),))
    assert rig.replica.status().open_instances == 1
    for source in (0, 2):
        rig.receive(source, own_section(vote(PREPARE, source, proposal(b"v", 12))))
    rig.wait(FEW.opening_place_ms)
    assert rig.replica.is_open(instance(12))
    assert rig.rejected == []


def test_a_decision_lets_the_next_one_open() -> None:
    """At once, without a tick."""
    rig = Rig(1, limits=FEW)
    first = proposal(b"v", 8)
    rig.receive(2, proposals=(first,))
    rig.receive(2, proposals=(proposal(b"v", 12),))
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, first)))
    assert rig.replica.next_due_ms == rig.now
    rig.wait(0)
    assert rig.replica.is_open(instance(12))


def test_what_waits_is_not_asked_for() -> None:
    """A leader's PRE-PREPARE that comes with its value, and waits, is no reason to ask for it."""
    rig = Rig(1, limits=FEW)
    leads = [
        height for height in range(40) if rig.replica._definition.leader(instance(height), 1) == 0
    ]
    first, second = (proposal(b"v", height) for height in leads[:2])
    for what in (first, second):
        turn = rig.receive(0, own_section(vote(PP, 0, what), proposals=(what,)))
    assert not rig.replica.is_open(second.instance)
    assert sent_to(turn, 0, "wanted_values") == []
    rig.wait(FEW.opening_place_ms)
    assert kinds(rig.turns) == [("PREPARE", 1), ("PREPARE", 1)]


def test_what_opens_by_others_takes_the_values_that_wait() -> None:
    """An instance that F+1 validators open has the value that a peer's queue holds."""
    rig = Rig(1, limits=FEW)
    rig.receive(2, proposals=(proposal(b"v", 8),))
    waiting = proposal(b"w", 12)
    rig.receive(2, proposals=(waiting,))
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 2, instance(12))))
    assert rig.replica.is_open(instance(12))
    assert rig.replica.has_input(instance(12))


def test_a_flood_beyond_its_queue_is_waste() -> None:
    """Whoever sends on where nothing of it is taken is read no more for a while (HARDENING U7)."""
    rig = Rig(
        1,
        limits=ReplicaLimits(
            opening_places_max=1, waiting_openings_max=2, waste_work_max=4, opening_places_free=1
        ),
    )
    for height in range(20):
        rig.receive(2, proposals=(proposal(b"v", height),))
    assert ("open_budget", 2) in rig.rejected
    assert not rig.replica.takes_from(2, rig.now)


def test_a_value_that_waits_completes_a_decision() -> None:
    """A certificate for what waits here needs no bytes from anybody."""
    rig = Rig(1, limits=FEW)
    rig.receive(2, proposals=(proposal(b"v", 8),))
    waiting = proposal(b"w", 12)
    rig.receive(2, proposals=(waiting,))
    for source in (0, 2, 3):
        rig.receive(source, own_section(vote(COMMIT, source, waiting)))
    assert rig.disk.get(instance(12)).value == b"w"
    assert not rig.replica._openings.has_waiting


def test_what_a_peer_sends_again_waits_apart_and_is_no_waste() -> None:
    """Others may have asked it: it is refused where there is no room, and not held against it."""
    rig = Rig(1, limits=replace(FEW, waste_work_max=4))
    for height in range(20):
        which = proposal(b"v", height)
        rig.receive(2, relayed=(round_change(3, 2, which.instance),), proposals=(which,))
    assert ("open_budget", 2) in rig.rejected
    assert rig.replica.takes_from(2, rig.now)
    assert rig.replica._openings._shares[2, Way.FORWARD].waiting == {}
