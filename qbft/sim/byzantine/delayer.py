"""Byzantine slowness: just in time, always."""

from __future__ import annotations

from collections.abc import Iterator

from qbft.sim.byzantine.behaviour import PP, Behaviour, Hands
from qbft.transport import Frame


class Delayer(Behaviour):
    """It sends what it leads with at 90 % of the round's timer, and other things late too (B13)."""

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._delays_all = hands.random.random() < 0.3

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Hold it back, also where it is sent again, as to a peer whose link has come up."""
        again = (v for v in frame.relayed if v.source == self.hands.validator)
        own = (*frame.votes, *again)
        rounds = [v.round for v in own if self._delays_all or v.type is PP]
        if not rounds:
            yield 0, frame
            return
        yield self.hands.timers().deadline_ms(rounds[0], 0) * 9 // 10, frame
