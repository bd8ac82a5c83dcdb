"""What a replica remembers of each peer, for as long as the process lives."""

from __future__ import annotations

from collections import OrderedDict, deque

from qbft.core import InstanceId, Message
from qbft.records import MarkRecord
from qbft.replica.bounds import Bites, Bound
from qbft.replica.budget import Account
from qbft.replica.limits import ReplicaLimits
from qbft.replica.patience import Patience


class TokenBucket:
    """So much at once, and so much more per millisecond (HARDENING U2)."""

    def __init__(self, burst_max: float, per_ms: float) -> None:
        self._burst_max = burst_max
        self._per_ms = per_ms
        self._tokens = burst_max
        self._at_ms: int | None = None

    def take(self, now_ms: int, tokens: float = 1) -> bool:
        """Whether there were so many tokens, or all there can be; they are gone now."""
        if not self.has(now_ms, tokens):
            return False
        self._tokens -= tokens
        return True

    def has(self, now_ms: int, tokens: float = 1) -> bool:
        """Whether `take` would give so many."""
        self._earn(now_ms)
        return self._tokens >= min(tokens, self._burst_max)

    def overdraw(self, now_ms: int, tokens: float) -> int:
        """Take so many, there or not; gives in how many milliseconds none will be owed (0: now)."""
        self._earn(now_ms)
        self._tokens -= tokens
        return 0 if self._tokens >= 0 else 1 + int(-self._tokens / self._per_ms)

    def _earn(self, now_ms: int) -> None:
        if self._at_ms is not None:
            earned = (now_ms - self._at_ms) * self._per_ms
            self._tokens = min(self._burst_max, self._tokens + earned)
        self._at_ms = now_ms


class Peer:
    """One peer, as seen from this replica."""

    def __init__(self, index: int, limits: ReplicaLimits, bites: Bites | None = None) -> None:
        self.index = index
        self._bites = bites or Bites()
        self.answers = TokenBucket(limits.answer_burst_max, 1 / limits.answer_every_ms)
        self.pulls = TokenBucket(limits.pull_bytes_burst_max, limits.pull_bytes_per_ms)
        self.lists = TokenBucket(limits.memory_lists_burst_max, 1 / limits.memory_list_every_ms)
        self.patience = Patience(limits.resend_ms, limits.resend_ms_max)
        self.account = Account(limits.kept_bytes_per_peer_max)
        self.acknowledged = 0
        """Up to this own vote sequence the peer lacks nothing, as far as it said in this life."""
        self.covered = 0
        """Up to this one everything current was sent to it since its link came up."""
        self.received = 0
        """Up to this one of the votes of its journal nothing is missing here."""
        self.has_more = False
        """Whether more than one frame was to be sent again, the next when this is acknowledged."""
        self.cast_before_ms: int | None = None
        """Which votes were old enough to be in that frame; None: all."""
        self.to_ask: deque[InstanceId] = deque()
        """Open instances to ask it about, since its link came up."""
        self.to_relay: dict[InstanceId, None] = {}
        """Instances, longest first, of which it is still to be given the votes held here."""
        self.told = 0
        """What it said it had acknowledged when its last stream began; 0 after its restart."""
        self.store_id: bytes | None = None
        """The name of its journal, as far as it has said."""
        self.last_vote: Message | None = None
        """The newest vote that it signed, as far as known: it proves how far its journal was."""
        self.testimony: list[MarkRecord | tuple[InstanceId, Message | None]] = []
        """The list of what it is being told of, where it is without its votes."""
        self.is_being_told = False
        """Whether the end of that list has not been sent yet, since its link came up."""
        self.marks: OrderedDict[str, int] = OrderedDict()
        """From which height on it keeps a topic, as far as it has said."""
        self.bare = 0
        """Decisions learnt from it whose bytes are not here."""

    def bitten(self, bound: Bound) -> None:
        """Count that it ran into a bound."""
        self._bites.note(bound, self.index)

    def pull(self, now_ms: int, size: int) -> bool:
        """Whether it may be sent so much of what it asks for; it is spent now."""
        if self.pulls.take(now_ms, size):
            return True
        self.bitten(Bound.PULL_BYTES_BURST_MAX)
        return False

    def take_list(self, now_ms: int) -> bool:
        """Whether another list may be made for it; that is spent now."""
        if self.lists.take(now_ms):
            return True
        self.bitten(Bound.MEMORY_LISTS_BURST_MAX)
        return False
