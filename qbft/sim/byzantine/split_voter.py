"""Byzantine votes: for everything."""

from __future__ import annotations

from qbft.core import Message
from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, Behaviour, Hands, instance_of
from qbft.transport import Frame


class SplitVoter(Behaviour):
    """It votes for every value it hears of, for each to some peers, or for all to all (C1)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._answered: set[tuple[object, int, object]] = set()

    def hear(self, peer: int, frame: Frame) -> None:
        """Vote for it at once."""
        super().hear(peer, frame)
        for vote in (*frame.votes, *frame.relayed):
            if vote.type in {PP, PREPARE} and vote.value is not None:
                self._answer(vote)

    def _answer(self, vote: Message) -> None:
        key = (vote.instance, vote.round, vote.value)
        if key in self._answered:
            return
        self._answered.add(key)
        instance, hands = instance_of(vote), self.hands
        for peer in hands.some_peers() if hands.random.random() < 0.7 else hands.peers:
            votes = [hands.vote(PREPARE, instance, vote.round, vote.value)]
            if hands.random.random() < 0.7:
                votes.append(hands.vote(COMMIT, instance, vote.round, vote.value))
            hands.say(peer, *votes)
