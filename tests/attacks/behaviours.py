"""Ways to lie that are played over real links only, beside those of the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.crypto.proposal import Proposal
from qbft.sim.byzantine.behaviour import PP, Behaviour
from qbft.transport import Frame

LIE = b"lie of %d "
"""How a value begins that a liar has made, as those of the simulator's do."""

LAST_MS = 10


class LastMoment(Behaviour):
    """It leads two peers only, and those 10 ms before their round ends (B12)."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Hold back what it leads with for two, and leave it out for the others."""
        own = self.hands.validator
        led = [v for v in (*frame.votes, *frame.relayed) if v.type is PP and v.source == own]
        if not led:
            yield 0, frame
        elif to in self.hands.peers[:2]:
            yield self.hands.timers().deadline_ms(led[0].round, 0) - LAST_MS, frame
        else:
            votes = tuple(vote for vote in frame.votes if vote not in led)
            relayed = tuple(vote for vote in frame.relayed if vote not in led)
            yield 0, replace(frame, votes=votes, relayed=relayed)


class OtherBytes(Behaviour):
    """Whatever value it sends, its bytes are others than those that its votes name (F11)."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Send others, also to who asks."""
        beginning = LIE % self.hands.validator
        others = tuple(Proposal(p.instance, beginning + p.value) for p in frame.proposals)
        yield 0, replace(frame, proposals=others)
