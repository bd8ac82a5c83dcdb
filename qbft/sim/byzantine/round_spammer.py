"""Byzantine haste: always another round."""

from __future__ import annotations

from qbft.core.messages import ROUND_MAX
from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, RC, Behaviour, instance_of


class RoundSpammer(Behaviour):
    """It wants other rounds all the time, near ones and the last one there is (C18)."""

    acts_every_ms = 50

    def act(self) -> None:
        """Want some."""
        random = self.hands.random
        model = self.pick(PP, PREPARE, COMMIT, RC)
        if model is None:
            return
        step = random.choice((1, 1, 2, 3, 5, 40, ROUND_MAX))
        round_ = min(ROUND_MAX, model.round + step)
        vote = self.hands.vote(RC, instance_of(model), round_)
        for peer in self.hands.some_peers():
            self.hands.say(peer, vote)
