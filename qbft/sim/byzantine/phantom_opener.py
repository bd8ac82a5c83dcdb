"""Byzantine openings: instances without end."""

from __future__ import annotations

from typing import ClassVar

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal, value_digest
from qbft.sim.byzantine.behaviour import COMMIT, PP, RC, Behaviour, Hands
from qbft.transport import Frame


class PhantomOpener(Behaviour):
    """It opens instances that nobody asked for (C17)."""

    acts_every_ms = 80
    _phantoms_max: ClassVar[int] = 60

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._opened = 0

    def act(self) -> None:
        """Open one, in one of the ways there are."""
        random, hands = self.hands.random, self.hands
        self._opened += self._opened < self._phantoms_max
        height = random.randint(1, self._opened)
        instance = InstanceId(f"phantom/{hands.validator}", height)
        if random.random() < 0.5:
            made = Proposal(instance, f"phantom {instance} {random.randint(0, 2)}".encode())
            hands.propose(made)
            for peer in hands.some_peers():
                hands.send(peer, Frame(proposals=(made,)))
            return
        digest = value_digest(b"a value that nobody has")
        votes = [
            hands.vote(RC, instance, random.randint(2, 4)),
            hands.vote(COMMIT, instance, 1, digest),
            hands.vote(PP, instance, 1, digest),
        ]
        for peer in hands.some_peers():
            hands.say(peer, random.choice(votes))
