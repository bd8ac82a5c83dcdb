"""Peers whose feeds leave decisions out and look whole (HARDENING U3; issue 4, part 2).

Nothing in a feed can be checked for what is missing. So completeness comes from the union of F+1
peers, of which one is honest: no feed is read less because another one seemed to have it all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from replica_builders import (
    PP,
    Rig,
    carry,
    certificate,
    instance,
    kinds,
    link_all,
    lost_rig,
    own_section,
    proposal,
    vote,
)

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.replica.limits import ReplicaLimits
from qbft.replica.lost_votes import VOTES_AGAIN
from qbft.sim.disk import SimDisk
from qbft.transport import FeedPage

COUNT = 20
PAGE = 3
LIMITS = ReplicaLimits(feed_page_instances_max=PAGE)


class GappyDisk(SimDisk):
    """A disk whose owner hides these heights, in its feed and when it is asked for them."""

    def __init__(self, index: int, hidden: Collection[int]) -> None:
        super().__init__(bytes([index]) * 16, lambda label, records: None)
        self._hidden = hidden
        self.is_hiding = False

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """Pages as full as an honest node's, with true positions."""
        entries = super().feed(after, len(self._order))
        return tuple(entry for entry in entries if not self._hides(entry[1]))[:limit]

    def get(self, instance: InstanceId) -> Decision | None:
        """Nothing, for what is hidden."""
        return None if self._hides(instance) else super().get(instance)

    def _hides(self, instance: InstanceId) -> bool:
        return self.is_hiding and instance.height in self._hidden


def decided_rig(index: int, *, nodes: int = 4, hidden: Collection[int] = ()) -> Rig:
    """A replica that has decided all heights, and tells nobody of the hidden ones."""
    disk = GappyDisk(index, hidden)
    rig = Rig(index, nodes, limits=LIMITS, disk=disk)
    for height in range(COUNT):
        what = proposal(b"v", height)
        proof = certificate(what, range(nodes - (nodes - 1) // 3))
        rig.receive((index + 1) % nodes, certificates=(proof,), proposals=(what,))
    assert disk.end == COUNT
    disk.is_hiding = True
    return rig


def heights_of(rig: Rig) -> set[int]:
    """The heights that a replica knows to be decided."""
    return {height for height in range(COUNT) if rig.disk.get(instance(height)) is not None}


def read(reader: Rig, *peers: Rig) -> None:
    """Let it read the feeds of these peers to their ends."""
    rigs = [reader, *peers]
    link_all(rigs)
    for _ in range(100):
        carry(rigs, 10)
    assert all(reader.replica._catch_up.has_read(p.index, COUNT) for p in peers)


HIDDEN = {
    "one of each page": range(0, COUNT, PAGE),
    "the first": range(PAGE + 1),
    "the newest": range(COUNT - PAGE, COUNT),
    "all but one": range(1, COUNT),
    "all": range(COUNT),
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_liars_gaps_are_filled_by_another_peer(hidden: Collection[int]) -> None:
    """M5 with a liar among F+1 = 2 peers, whichever of them is read first, or alone at first."""
    for order in ((0, 2), (2, 0)):
        rigs = {0: decided_rig(0, hidden=hidden), 2: decided_rig(2)}
        reader = Rig(1, limits=LIMITS)
        read(reader, *(rigs[peer] for peer in order))
        assert heights_of(reader) == set(range(COUNT))

    reader = Rig(1, limits=LIMITS)
    read(reader, decided_rig(0, hidden=hidden))
    assert heights_of(reader) == set(range(COUNT)) - set(hidden), "no peer alone is enough"
    read(reader, decided_rig(2))
    assert heights_of(reader) == set(range(COUNT))


def test_two_liars_of_seven_that_hide_the_same_are_not_enough() -> None:
    """F = 2: what both leave out comes from the third peer, and what one of them hides at once."""
    liars = [
        decided_rig(0, nodes=7, hidden=range(0, COUNT, 2)),
        decided_rig(2, nodes=7, hidden=range(0, COUNT, 3)),
    ]
    reader = Rig(1, 7, limits=LIMITS)
    read(reader, *liars)
    assert heights_of(reader) == set(range(COUNT)) - set(range(0, COUNT, 6))
    read(reader, *liars, decided_rig(5, nodes=7))
    assert heights_of(reader) == set(range(COUNT))


def test_a_node_without_votes_does_not_vote_where_a_liar_says_nothing_is_decided() -> None:
    """K24: it votes again when it has what n-f nodes decided, itself included, and not before."""
    hidden = range(0, COUNT, PAGE)
    lost = lost_rig(limits=LIMITS)
    peers = [decided_rig(0, hidden=hidden), decided_rig(2)]
    link_all([lost, *peers])
    for _ in range(200):
        carry([lost, *peers], 10)
        if lost.replica.status().voting:
            break
    assert lost.told[-1] == VOTES_AGAIN
    assert heights_of(lost) == set(range(COUNT))
    for height in hidden:
        what = proposal(b"another", height)
        leader = height % 4
        lost.receive(leader, own_section(vote(PP, leader, what)), proposals=(what,))
    assert kinds(lost.turns) == []


def test_the_feed_of_a_replaced_store_is_read_from_its_beginning() -> None:
    """Its order is another one: what was read of the old one says nothing of it."""
    rig = lost_rig()
    answered = FeedPage(10, 10, ())
    rig.replica.hear_hello(2, bytes(16), 0, None, rig.now)
    rig.replica.link_up(2, rig.now)
    rig.turn()
    rig.receive(2, feed_page=replace(answered, instances=(instance(3),)))
    rig.receive(
        2, certificates=(certificate(proposal(b"v", 3), (0, 2, 3)),), proposals=(proposal(b"v", 3),)
    )
    rig.turns.clear()
    rig.replica.hear_hello(2, bytes(15) + b"n", 0, None, rig.now)
    asked = [f.feed_request for to, f in rig.turn().frames if to == 2 and f.feed_request]
    assert [request.after for request in asked] == [0]
