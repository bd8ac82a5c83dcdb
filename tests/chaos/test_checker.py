"""The judge itself, with made-up histories: what is kept passes, each broken promise is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from qbft.core import InstanceId
from qbft_server.chaos.checker import VIOLATIONS_KEPT_MAX, Checker, Promise
from qbft_server.chaos.history import (
    Conditions,
    Event,
    Followed,
    Listed,
    Misbehaved,
    NotDecided,
    Proposed,
    Replayed,
    Told,
    Watched,
    Watching,
    Wiped,
)

NODES = 4
BOUND = 10.0
SLOW = 2.0
"""What each node that is down adds to the bound, in these histories."""


def at(height: int, topic: str = "t") -> InstanceId:
    """An instance."""
    return InstanceId(topic, height)


@dataclass
class Story:
    """A history in the making; time passes by a second with every event."""

    checker: Checker = field(
        default_factory=lambda: Checker(NODES, lambda age, down: BOUND + SLOW * down)
    )
    clock: count[float] = field(default_factory=lambda: count(1.0))

    @property
    def now(self) -> float:
        """The next moment."""
        return next(self.clock)

    def see(self, *events: Event) -> None:
        """Let these happen."""
        for event in events:
            self.checker.see(event)

    def propose(self, height: int, value: bytes = b"v") -> None:
        """A client asks."""
        self.see(Proposed(self.now, at(height), value))

    def tell(self, height: int, value: bytes = b"v", by: int | None = None) -> None:
        """Somebody is told."""
        self.see(Told(self.now, at(height), value, by, is_reply=by is None))

    def decide(self, *heights: int) -> None:
        """Proposed, and the proposer is answered."""
        for height in heights:
            self.propose(height)
            self.tell(height)

    def conditions(self, is_able: bool, down: int = 0) -> None:
        """Faults begin or end."""
        self.see(Conditions(self.now, is_able, down))

    def follow(self, node: int, *heights: int) -> None:
        """The follower of a node gets these."""
        for height in heights:
            self.see(Followed(self.now, node, at(height)))

    def watch(self, *heights: int) -> None:
        """A reader that begins, and gets these."""
        self.see(Watching(self.now, "reader", "t"))
        for height in heights:
            self.see(Watched(self.now, "reader", at(height)))

    def end(self, *orders: tuple[int, ...]) -> None:
        """Every node is read back: these heights, in its own order."""
        for node, order in enumerate(orders):
            self.see(Replayed(self.now, node, tuple(map(at, order))))
        self.checker.finish(self.now)

    def end_well(self, *heights: int) -> None:
        """Every node has these, and so have the followers."""
        for node in range(NODES):
            self.follow(node, *heights)
        self.end(*[heights] * NODES)

    @property
    def broken(self) -> set[Promise]:
        """Which promises were broken."""
        return {violation.promise for violation in self.checker.violations}


def test_a_good_history_passes() -> None:
    """Faults, late decisions within the bound, nodes that do not know yet: all as promised."""
    story = Story()
    story.conditions(True)
    story.decide(0, 1)
    story.see(NotDecided(story.now, story.now, 2, at(1)))
    story.tell(1, by=2)
    story.conditions(False, 2)
    story.propose(2)
    story.conditions(True, 1)
    assert not story.checker.is_recovered
    story.tell(2, by=3)
    assert story.checker.is_recovered
    story.see(Listed(story.now, story.now, 2, "t", 0, None, frozenset({1})))
    story.watch(0, 1, 2)
    story.end_well(1, 0, 2)
    assert story.broken == set()
    assert (story.checker.recoveries, story.checker.worst_recovery_s) == (1, 1.0)
    assert story.checker.worst_recovery_of == {1: 1.0}
    assert len(story.checker.decided) == 3


def test_two_values_for_an_instance_are_a_fork() -> None:
    """I1: whoever tells another value, later, breaks agreement; the evidence names both."""
    story = Story()
    story.propose(0, b"one")
    story.propose(0, b"other")
    story.tell(0, b"one")
    story.tell(0, b"other", by=3)
    assert story.broken == {Promise.AGREEMENT}
    assert "b'one'" in story.checker.violations[0].seen
    assert "b'other' by node 3" in story.checker.violations[0].seen


def test_a_value_that_nobody_proposed_is_found() -> None:
    """I2: what is decided was some client's proposal."""
    story = Story()
    story.propose(0, b"mine")
    story.tell(0, b"made up")
    story.tell(0, b"made up", by=1)
    assert story.broken == {Promise.VALIDITY}
    assert story.checker.violations_count == 1


def test_a_certificate_that_proves_nothing_is_found() -> None:
    """I4: the value may be right all the same."""
    story = Story()
    story.propose(0)
    story.see(Told(story.now, at(0), b"v", by=1, flaw="2 signers, 3 are needed"))
    assert story.broken == {Promise.CERTIFICATE}


@pytest.mark.parametrize(
    ("orders", "promise"),
    [
        (((0, 1), (1, 0), (0, 1), (0,)), Promise.NOTHING_LOST),
        (((0, 1), (1, 0), (0, 1)), Promise.NOTHING_LOST),
        (((0, 1), (1, 0), (0, 1), (0, 1, 1)), Promise.FOLLOW),
    ],
    ids=["one lacks one", "one says nothing", "one has one twice"],
)
def test_each_node_has_to_give_everything_back(
    orders: tuple[tuple[int, ...], ...], promise: Promise
) -> None:
    """No acknowledged decision is lost on any node, and none is there twice."""
    story = Story()
    story.decide(0, 1)
    for node, order in enumerate(orders):
        story.follow(node, *dict.fromkeys(order))
    story.end(*orders)
    assert promise in story.broken


def test_a_node_that_told_a_decision_goes_on_telling_it() -> None:
    """Reads of one node are monotonic: what it has told it never has not."""
    story = Story()
    story.decide(0)
    story.tell(0, by=1)
    story.see(NotDecided(story.now, story.now, 1, at(0)))
    assert story.broken == {Promise.READS}


def test_a_read_that_began_before_may_be_older() -> None:
    """Two calls that overlap have no order; nor has a wiped node anything to remember."""
    story = Story()
    story.decide(0, 1)
    began = story.now
    story.tell(0, by=1)
    story.see(NotDecided(began, story.now, 1, at(0)))
    story.tell(1, by=1)
    story.see(Wiped(story.now, 1), NotDecided(story.now, story.now, 1, at(1)))
    assert story.broken == set()


@pytest.mark.parametrize(
    ("start", "end", "is_broken"), [(0, None, True), (0, 4, True), (2, None, False), (0, 0, False)]
)
def test_a_list_leaves_out_nothing_that_the_node_told(
    start: int, end: int | None, is_broken: bool
) -> None:
    """As far as the list reaches, and no further."""
    story = Story()
    story.decide(1)
    story.tell(1, by=2)
    story.see(Listed(story.now, story.now, 2, "t", start, end, frozenset({3})))
    assert story.broken == ({Promise.READS} if is_broken else set())


@pytest.mark.parametrize("heights", [(1,), (0, 2), (0, 0), (0, 1, 0)])
def test_a_watch_by_height_has_no_gap_and_no_copy(heights: tuple[int, ...]) -> None:
    """G14: height by height from the first."""
    story = Story()
    for height in heights:
        story.see(Watched(story.now, "reader", at(height)))
    assert story.broken == {Promise.WATCH}


@pytest.mark.parametrize("got", [(), (0,), (0, 1)])
def test_a_watch_by_height_that_falls_silent_is_found(got: tuple[int, ...]) -> None:
    """G14: in the end every reader has what is decided, from the first height on, without a gap.

    It is told of once: when the time to get it is over, or else at the end.
    """
    story = Story()
    story.decide(0, 1, 2)
    story.watch(*got)
    assert story.checker.has_readers_behind
    assert story.broken == set()
    story.checker.settle(story.now)
    assert story.broken == {Promise.WATCH}
    story.end_well(0, 1, 2)
    assert [violation.seen for violation in story.checker.violations] == [
        f"reader reader did not get t/{len(got)}, which is decided"
    ]


def test_a_reader_that_stops_after_the_others_have_settled_is_found() -> None:
    """What is decided after that is due to it as well."""
    story = Story()
    story.decide(0)
    story.watch(0)
    assert not story.checker.has_readers_behind
    story.checker.settle(story.now)
    story.decide(1)
    story.end_well(0, 1)
    assert story.broken == {Promise.WATCH}


def test_a_reader_waits_at_the_first_height_that_is_not_decided() -> None:
    """However many are decided above it; and at 0 where nothing is, or only of another topic."""
    story = Story()
    story.decide(0, 2)
    story.watch(0)
    story.see(Watching(story.now, "another", "s"))
    assert not story.checker.has_readers_behind
    story.end_well(0, 2)
    assert story.broken == set()


@pytest.mark.parametrize(
    "followed",
    [(0, 2), (0, 1, 1, 2), (1, 0, 2), (0, 1), (0, 1, 2, 3)],
    ids=["gap", "copy", "order", "stops early", "one too many"],
)
def test_a_follower_gets_the_nodes_order_whatever_its_cursors(followed: tuple[int, ...]) -> None:
    """G14: what came live, with all its interruptions, is what a reader from the start gets."""
    story = Story()
    story.decide(0, 1, 2)
    for node in range(3):
        story.follow(node, 0, 1, 2)
    story.follow(3, *followed)
    story.end(*[(0, 1, 2)] * NODES)
    assert story.broken == {Promise.FOLLOW}


def test_a_follower_of_a_wiped_node_begins_anew() -> None:
    """Its old cursor is refused, and the new store has an order of its own."""
    story = Story()
    story.decide(0, 1)
    story.follow(0, 0, 1)
    story.see(Wiped(story.now, 0))
    assert story.checker.followed(0) == 0
    story.follow(0, 1, 0)
    for node in range(1, NODES):
        story.follow(node, 0, 1)
    story.end((1, 0), *[(0, 1)] * 3)
    assert story.broken == set()


def _late(story: Story) -> None:
    story.see(Told(story.now + BOUND, at(0), b"v"))


def _next_fault(story: Story) -> None:
    story.see(Conditions(story.now + BOUND, False, 2))
    story.tell(0)


def _never(story: Story) -> None:
    story.end(*[()] * NODES)


@pytest.mark.parametrize("what", [_late, _next_fault, _never])
def test_what_was_open_is_decided_within_the_bound(what: Callable[[Story], None]) -> None:
    """I9: too late, not before the next fault although there was time, or never."""
    story = Story()
    story.conditions(False, 2)
    story.propose(0)
    story.conditions(True)
    what(story)
    assert story.broken == {Promise.RECOVERY}
    assert story.checker.violations_count == 1


def test_nodes_that_are_still_down_count() -> None:
    """The bound grows with each; and a fault that leaves too few takes it away."""
    story = Story()
    story.conditions(True)
    story.propose(0)
    story.conditions(True, 1)
    due = 3.0 + BOUND + SLOW
    assert not story.checker.overdue(due)
    assert story.checker.overdue(due + 0.1)
    story.conditions(False, 2)
    assert not story.checker.overdue(1_000.0)
    assert story.checker.open_instances == 1
    story.tell(0)
    assert story.checker.worst_recovery_s == 0.0
    assert story.broken == set()


def test_the_worst_recovery_is_kept_by_how_many_were_away() -> None:
    """Issue 4: the bound goes by d as it is when things can go on; so does what is measured."""
    story = Story()
    for height, (down, waits) in enumerate(((0, 1), (1, 2), (0, 3), (1, 1))):
        story.conditions(False, 2)
        story.propose(height)
        story.conditions(True, down)
        for _ in range(waits):
            story.conditions(True)
        story.tell(height)
    assert story.checker.worst_recovery_of == {0: 4.0, 1: 3.0}
    assert story.checker.worst_recovery_s == 4.0


def test_a_node_that_recovers_gives_no_second_chance() -> None:
    """Where things could go on before, a node that comes back does not start the clock anew."""
    story = Story()
    story.conditions(True, 1)
    story.propose(0)
    story.conditions(True, 0)
    assert story.checker.overdue(2.0 + BOUND + SLOW + 0.1)


def test_a_node_that_ends_by_itself_is_a_violation() -> None:
    """What never may happen is told by whoever sees it; many are counted and some are kept."""
    story = Story()
    for _ in range(VIOLATIONS_KEPT_MAX + 5):
        story.see(Misbehaved(story.now, "node 1 ended by itself with exit code 5"))
    assert story.broken == {Promise.NODES}
    assert len(story.checker.violations) == VIOLATIONS_KEPT_MAX
    assert story.checker.violations_count == VIOLATIONS_KEPT_MAX + 5
