"""What the peers keep no more (DESIGN, retention).

A client may propose for an instance that is below the marks of the peers and not below this
node's: they never vote there. Asked for its decision they tell their mark, and where so many have
told that the others are no quorum, the instance is given up here too. This node's own mark is its
operator's, and stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from qbft.core import InstanceId
from qbft.replica.bounds import Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.peer import Peer


class LetGo:
    """The low-water marks that the peers have told, by topic; each peer has its own places."""

    def __init__(self, peers: Mapping[int, Peer], quorum: int, limits: ReplicaLimits) -> None:
        self._peers = peers
        self._spare = len(peers) + 1 - quorum
        self._limits = limits
        self._is_empty = True

    def take(self, peer: Peer, mark: InstanceId) -> None:
        """Take what a peer says of a topic: the lowest height that it keeps."""
        self._is_empty = False
        peer.marks[mark.topic] = mark.height
        peer.marks.move_to_end(mark.topic)
        if len(peer.marks) > self._limits.marks_per_peer_max:
            peer.marks.popitem(last=False)
            peer.bitten(Bound.MARKS_PER_PEER_MAX)

    def has(self, instance: InstanceId) -> bool:
        """Whether so many peers have let it go that the others are no quorum.

        At least F+1 have then, of which one is honest: liars alone close nothing.
        """
        return not self._is_empty and instance.height < self.mark_of(instance.topic)

    def mark_of(self, topic: str) -> int:
        """The height below which the topic is let go by so many; 0 where there is none."""
        marks = sorted((peer.marks.get(topic, 0) for peer in self._peers.values()), reverse=True)
        return marks[self._spare] if self._spare < len(marks) else 0
