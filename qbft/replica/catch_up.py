"""Pulling what was missed (HARDENING U3): a peer's feed of decided instances, read page by page.

Ids first, then the certificates and values of those that are missing here, from one peer at a time;
nothing but a certificate is believed.
"""

from __future__ import annotations

from qbft.core import InstanceId
from qbft.replica.limits import ReplicaLimits
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore
from qbft.transport import FeedPage, FeedRequest


class CatchUp:
    """Reads the feeds of all peers and answers theirs."""

    def __init__(
        self,
        peers: dict[int, Peer],
        store: DecisionStore,
        limits: ReplicaLimits,
        outbox: Outbox,
    ) -> None:
        self._peers = peers
        self._store = store
        self._limits = limits
        self._outbox = outbox
        self._asked: dict[InstanceId, int] = {}

    def begin(self, peer: int) -> None:
        """Read the peer's feed from where it was left: its link is new."""
        self._peers[peer].feed_missing.clear()
        self._request(self._peers[peer])

    def is_behind(self) -> bool:
        """Whether some peer's feed, as far as it is known, is not read to its end."""
        return any(p.feed_missing or p.feed_position < p.feed_end for p in self._peers.values())

    def answer(self, peer: int, request: FeedRequest) -> None:
        """Give a page of this node's own feed."""
        limit = max(0, min(request.limit, self._limits.feed_page_instances_max))
        entries = self._store.feed(request.after, limit)
        position = entries[-1][0] if entries else self._store.end
        self._outbox.to(peer).feed_page = FeedPage(
            position, self._store.end, tuple(instance for _, instance in entries)
        )

    def take_page(self, index: int, page: FeedPage, now_ms: int) -> None:
        """Take a page: ask for what is missing here and nobody else was asked for."""
        peer = self._peers[index]
        if page.position <= peer.feed_position or peer.feed_missing:
            return
        peer.feed_position = page.position
        peer.feed_end = page.end
        for instance in page.instances[: self._limits.feed_page_instances_max]:
            if self._store.get(instance) is None:
                peer.feed_missing.add(instance)
        self._ask(peer, now_ms)
        if not peer.feed_missing and peer.feed_position < peer.feed_end:
            self._request(peer)

    def decided(self, instances: list[InstanceId]) -> None:
        """Note what has been decided here; a page that is complete makes way for the next."""
        for instance in instances:
            self._asked.pop(instance, None)
        for peer in self._peers.values():
            if peer.feed_missing:
                peer.feed_missing.difference_update(instances)
                if not peer.feed_missing and peer.feed_position < peer.feed_end:
                    self._request(peer)

    def tick(self, now_ms: int) -> None:
        """Ask again for what did not come."""
        for peer in self._peers.values():
            self._ask(peer, now_ms)

    def _request(self, peer: Peer) -> None:
        self._outbox.to(peer.index).feed_request = FeedRequest(
            peer.feed_position, self._limits.feed_page_instances_max
        )

    def _ask(self, peer: Peer, now_ms: int) -> None:
        for instance in sorted(peer.feed_missing):
            if self._asked.get(instance, 0) <= now_ms:
                letter = self._outbox.to(peer.index)
                if len(letter.wanted_decisions) >= self._limits.wanted_per_frame_max:
                    break
                self._asked[instance] = now_ms + 2 * self._limits.resend_ms
                letter.wanted_decisions.append(instance)
