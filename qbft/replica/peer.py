"""What a replica remembers of each peer, for as long as the process lives."""

from __future__ import annotations

from qbft.core import InstanceId
from qbft.replica.limits import ReplicaLimits


class TokenBucket:
    """So much at once, and one more every so many milliseconds (HARDENING U2)."""

    def __init__(self, burst_max: int, every_ms: int) -> None:
        self._burst_max = burst_max
        self._every_ms = every_ms
        self._tokens = float(burst_max)
        self._at_ms = 0

    def take(self, now_ms: int) -> bool:
        """Whether there was a token; it is gone now."""
        self._tokens = min(self._burst_max, self._tokens + (now_ms - self._at_ms) / self._every_ms)
        self._at_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Peer:
    """One peer, as seen from this replica."""

    def __init__(self, index: int, limits: ReplicaLimits) -> None:
        self.index = index
        self.answers = TokenBucket(limits.answer_burst_max, limits.answer_every_ms)
        self.acknowledged = 0
        """Up to this own vote sequence the peer lacks nothing, as far as it said in this life."""
        self.feed_position = 0
        self.feed_end = 0
        self.feed_missing: set[InstanceId] = set()
        self.opened = 0
