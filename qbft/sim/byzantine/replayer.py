"""Byzantine echoes: old votes as new ones."""

from __future__ import annotations

from dataclasses import replace

from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, RC, Behaviour


class Replayer(Behaviour):
    """It sends old votes again, also as votes of another instance or round (C13, C14)."""

    acts_every_ms = 40

    def act(self) -> None:
        """Send some again."""
        random = self.hands.random
        for _ in range(random.randint(1, 6)):
            vote = self.pick(PP, PREPARE, COMMIT, RC)
            if vote is None:
                return
            if random.random() < 0.3:
                other = self.pick(PP, PREPARE, COMMIT, RC)
                assert other is not None  # noqa: S101 - there is one
                vote = replace(vote, instance=other.instance)
            elif random.random() < 0.3:
                vote = replace(vote, round=vote.round + 1)
            for peer in self.hands.some_peers():
                for _ in range(random.choice((1, 1, 3, 20))):
                    self.hands.say(peer, vote)
