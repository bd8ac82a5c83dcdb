"""Byzantine values: what the application refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.core import Message
from qbft.crypto.proposal import Proposal
from qbft.sim.byzantine.behaviour import PP, Behaviour, instance_of
from qbft.transport import Frame

INVALID = b"invalid"
"""Values that begin so are refused by the simulated application."""


class InvalidProposer(Behaviour):
    """It leads with values that the application refuses (B14)."""

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Replace what it proposes, also where it is sent again."""
        extra: dict[bytes, Proposal] = {}
        votes = tuple(self._bend(vote, extra) for vote in frame.votes)
        relayed = tuple(self._bend(vote, extra) for vote in frame.relayed)
        proposals = (*frame.proposals, *extra.values())
        yield 0, replace(frame, votes=votes, relayed=relayed, proposals=proposals)

    def _bend(self, vote: Message, extra: dict[bytes, Proposal]) -> Message:
        if vote.type is not PP or vote.source != self.hands.validator:
            return vote
        instance = instance_of(vote)
        proposal = Proposal(instance, INVALID + f" {instance}".encode())
        self.hands.propose(proposal)
        extra[proposal.digest] = proposal
        return self.hands.vote(
            PP, instance, vote.round, proposal.digest, justification=vote.justification
        )
