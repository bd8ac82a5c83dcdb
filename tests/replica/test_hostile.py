"""A validator that says anything: no crash, no fork, bounded memory, and the others decide."""

from __future__ import annotations

from random import Random

import pytest
from replica_builders import (
    Rig,
    carry,
    carry_until_decided,
    certificate,
    instance,
    link_all,
    own_section,
    proposal,
    signed,
    vote,
)

from qbft.core import Message, MessageType
from qbft.crypto.proposal import Proposal
from qbft.replica.limits import ReplicaLimits
from qbft.replica.openings import Asked, Way
from qbft.transport import FeedPage, FeedRequest, Frame

LIAR = 3
SEEDS = 25
HEIGHTS = 6
LIMITS = ReplicaLimits(
    kept_bytes_per_peer_max=200_000,
    held_votes_per_peer_max=50,
    open_instances_per_peer_max=8,
    turn_work_max=64,
    missed_instances_per_peer_max=8,
)


class Liar:
    """Makes frames of genuine signatures of its own, of what others said, and of nonsense."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.heard: list[Message] = []

    def _value(self, height: int) -> Proposal:
        return proposal(b"%d" % self._random.randrange(9), height)

    def _height(self) -> int:
        return self._random.choice((0, 0, 0, self._random.randrange(40)))

    def _vote(self) -> Message:
        """An own vote of any kind, round, value and justification of others' genuine votes."""
        random = self._random
        height, round_ = self._height(), random.choice((1, 1, 2, 3, 4, 9, 2**31 - 1))
        what = self._value(height)
        kind = MessageType(random.randrange(1, 5))
        nested = tuple(random.sample(self.heard, min(len(self.heard), random.randrange(8))))
        nested = tuple(n.stripped() for n in nested if n.instance == what.instance)
        if kind is MessageType.ROUND_CHANGE:
            prepared = random.randrange(3)
            digest = what.digest if prepared else None
            lie = Message(kind, what.instance, LIAR, round_, None, prepared, digest, nested)
        else:
            justification = nested if kind is MessageType.PRE_PREPARE else ()
            lie = Message(kind, what.instance, LIAR, round_, what.digest, 0, None, justification)
        return signed(lie)

    def frame(self) -> Frame:
        """Anything."""
        random = self._random
        ids = tuple(instance(self._height()) for _ in range(random.randrange(4)))
        what = self._value(self._height())
        relayed = tuple(random.sample(self.heard, min(len(self.heard), random.randrange(6))))
        parts = {
            "relayed": (*relayed, self._vote()),
            "proposals": (what, self._value(self._height())),
            "certificates": (certificate(what, (LIAR,)), certificate(what, (LIAR, LIAR, LIAR))),
            "wanted_values": tuple((i, what.digest) for i in ids),
            "wanted_decisions": ids,
            "feed_request": FeedRequest(random.randrange(-5, 50), random.randrange(-5, 9**9)),
            "feed_page": FeedPage(random.randrange(9**9), random.randrange(9**9), ids),
            "acknowledged": random.randrange(1, 10**6),
            "covers": random.randrange(1, 10**6),
        }
        chosen = {name: part for name, part in parts.items() if random.random() < 0.3}
        if random.random() < 0.5:
            own = tuple(self._vote() for _ in range(random.randrange(1, 6)))
            return own_section(*own, **chosen)
        return Frame(**chosen)

    def hear(self, rigs: list[Rig]) -> None:
        """Collect what honest nodes have said, to say it again when it hurts."""
        for rig in rigs:
            for _, frame in (sent for turn in rig.turns[-3:] for sent in turn.frames):
                self.heard.extend((*frame.votes, *frame.relayed))
        del self.heard[:-200]


def test_a_liar_can_neither_stop_nor_split_nor_swell_the_others() -> None:
    """Oracle I1, I9, I10, I11; SCENARIOS C1 to C24 thrown together, over many seeds.

    While half of the honest frames are lost the liar says anything, and leads rounds too; its own
    values may win. Then the links come up anew and all must decide everything that is open.
    """
    rejected: set[str] = set()
    later_rounds = 0
    for seed in range(SEEDS):
        random = Random(seed)
        liar = Liar(random)
        rigs = [Rig(index, limits=LIMITS) for index in range(3)]
        link_all(rigs)
        for step in range(60):
            if step < HEIGHTS:
                rigs[step % 3].receive((step + 1) % 3, proposals=(proposal(b"honest", step),))
            carry(rigs, random.choice((1, 5, 400)), lambda random=random: random.random() < 0.5)
            liar.hear(rigs)
            for rig in rigs:
                rig.replica.receive(LIAR, liar.frame(), rig.now)
        link_all(rigs)
        for height in range(HEIGHTS):
            carry_until_decided(rigs, instance(height))
            decided = [rig.disk.get(instance(height)) for rig in rigs]
            assert len({decision.value for decision in decided}) == 1, f"seed {seed}"
            later_rounds += decided[0].certificate.round > 1
        for rig in rigs:
            rejected.update(reason for reason, _ in rig.rejected)
            peer = rig.replica._peers[LIAR]
            assert peer.account.spent <= LIMITS.kept_bytes_per_peer_max
            assert rig.replica._openings.count_of(peer.index) <= LIMITS.open_instances_per_peer_max
            assert rig.replica.status().held_votes <= 3 * LIMITS.held_votes_per_peer_max
    assert "instance_quarantined" not in rejected
    assert {"bad_certificate", "value_budget", "open_budget"} <= rejected
    assert later_rounds > SEEDS


def test_a_cluster_of_one_decides_by_itself() -> None:
    """SCENARIOS A2 at its smallest: no peer is needed, and none is asked."""
    rig = Rig(0, nodes=1)
    rig.replica._open_instance(instance(), 0, Asked(proposal(b"v"), Way.FORWARD))
    turns = rig.settle()
    assert rig.disk.get(instance()).value == b"v"
    assert {to for turn in turns for to, _ in turn.frames} == {None}


def test_seven_decide_with_two_of_them_silent() -> None:
    """SCENARIOS A2, C22: exactly Q = 5 nodes up; the leader of round 1 is one of the silent."""
    rigs = [Rig(index, nodes=7) for index in range(2, 7)]
    link_all(rigs)
    rigs[0].receive(4, proposals=(proposal(b"v"),))
    carry_until_decided(rigs)
    assert {rig.disk.get(instance()).certificate.round for rig in rigs} == {3}


@pytest.mark.bites("waste_work_max")
def test_who_says_old_things_again_and_again_is_left_unread() -> None:
    """SCENARIOS C13, C14, HARDENING U7: what brings nothing new costs whoever hands it on.

    It is not verified. Who sends again what was not acknowledged does so seldom.
    """
    rig = Rig(0, limits=ReplicaLimits(waste_work_max=60))
    prepare = vote(MessageType.PREPARE, 2, proposal())
    rig.receive(1, proposals=(proposal(),))
    rig.receive(1, relayed=(prepare,))
    rig.receive(1, relayed=(prepare,) * 200)
    assert rig.replica.takes_from(1, rig.now)
    rig.receive(1, relayed=(prepare,) * 300)
    assert not rig.replica.takes_from(1, rig.now)
    assert rig.rejected == []
    known = certificate(proposal(b"x", 1))
    rig.receive(2, certificates=(known,), proposals=(proposal(b"x", 1),))
    rig.receive(2, certificates=(known,) * 40)
    assert rig.replica.takes_from(2, rig.now)
    rig.receive(2, certificates=(known,) * 40)
    assert not rig.replica.takes_from(2, rig.now)
