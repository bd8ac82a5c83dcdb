"""Pulling what was missed (HARDENING U3): a peer's feed of decided instances, read page by page.

Ids first, then the certificates and values of those that are missing here; nothing but a
certificate is believed. Every peer's feed is read beside the others', so that a peer that lies
about its own delays nobody's but its own: what it names and cannot prove is asked of it so many
times and then passed over, and an id that several name is asked of each in turn. From what was
passed over the feed is read once more, later: an honest peer may just have been too busy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qbft.core import InstanceId
from qbft.replica.bounds import Bites, Bound
from qbft.replica.intake import FEED_IDS_PER_WORK
from qbft.replica.limits import ReplicaLimits
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore
from qbft.transport import FeedPage, FeedRequest


class _Feed:
    """How far one peer's feed has been read."""

    def __init__(self) -> None:
        self.position = 0
        """All up to here is known, or was passed over."""
        self.passed_over: int | None = None
        """The position before the first page of which something was passed over."""
        self.retry_ms = 0
        """When the feed is read from there again."""
        self.page_position = 0
        self.end = 0
        self.missing: dict[InstanceId, None] = {}
        self.asks = 0
        self.asked_until_ms: int | None = None
        """A page has been asked for, and is waited for until then."""

    @property
    def is_behind(self) -> bool:
        return self.is_reading or self.passed_over is not None

    @property
    def is_reading(self) -> bool:
        return bool(self.missing) or self.asked_until_ms is not None or self.position < self.end

    def go_back(self) -> None:
        """Read again what was passed over."""
        if self.passed_over is not None:
            self.position = min(self.position, self.passed_over)
            self.passed_over = None


class CatchUp:
    """Reads the feeds of all peers and answers theirs.

    `is_known(instance)` tells whether nothing is missing of it here.
    """

    def __init__(
        self,
        peers: Mapping[int, object],
        store: DecisionStore,
        is_known: Callable[[InstanceId], bool],
        limits: ReplicaLimits,
        outbox: Outbox,
        *,
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._feeds = {index: _Feed() for index in sorted(peers)}
        self._store = store
        self._is_known = is_known
        self._limits = limits
        self._outbox = outbox
        self._asked: dict[InstanceId, tuple[int, int]] = {}

    def begin(self, peer: int, now_ms: int) -> None:
        """Read the peer's feed from where it was left: its link is new."""
        feed = self._feeds[peer]
        self._drop_missing(peer, feed)
        feed.go_back()
        self._request(peer, feed, now_ms)

    def begin_anew(self, peer: int, now_ms: int) -> None:
        """Read the peer's feed from its beginning: another store has an order of its own."""
        self._drop_missing(peer, self._feeds[peer])
        self._feeds[peer] = feed = _Feed()
        self._request(peer, feed, now_ms)

    def is_behind(self) -> bool:
        """Whether some peer's feed, as far as it is known, is not read to its end."""
        return any(feed.is_behind for feed in self._feeds.values())

    def progress(self, peer: int) -> tuple[int, int]:
        """(position, end): how far the peer's feed has been read, and how far it is known."""
        feed = self._feeds[peer]
        return feed.position, feed.end

    def has_read(self, peer: int, position: int) -> bool:
        """Whether nothing is missing here of the peer's feed up to there."""
        feed = self._feeds[peer]
        return position <= feed.position and (
            feed.passed_over is None or position <= feed.passed_over
        )

    def read_to(self, peer: int, position: int) -> None:
        """Have the peer's feed read on, at least up to there.

        Nothing else may tell that there is more: a feed that was read to its end is asked for again
        when its peer's link is new.
        """
        feed = self._feeds[peer]
        feed.end = max(feed.end, position)

    def answer(self, peer: Peer, request: FeedRequest, now_ms: int) -> int:
        """Give a page of this node's own feed, at the peer's pace; tells what it cost, as work."""
        if not peer.pull(now_ms, self._limits.feed_page_bytes):
            return 1
        limit = max(0, min(request.limit, self._limits.feed_page_instances_max))
        entries = self._store.feed(max(0, request.after), limit)
        position = entries[-1][0] if entries else self._store.end
        self._outbox.to(peer.index).feed_page = FeedPage(
            position, self._store.end, tuple(instance for _, instance in entries)
        )
        return 1 + len(entries) // FEED_IDS_PER_WORK

    def take_page(self, peer: int, page: FeedPage, now_ms: int) -> bool:
        """Take a page that was asked for; False if it makes no sense.

        It asks for what is missing here. A page without any id is not followed by the next at once,
        for a liar could make as many as it likes. One that comes late, because its request was made
        again meanwhile, answers no other request; but it tells how far there is to read.
        """
        feed = self._feeds[peer]
        if page.position > page.end or len(page.instances) > self._limits.feed_page_instances_max:
            feed.asked_until_ms = None
            return False
        if feed.asked_until_ms is None or page.position <= feed.position < page.end:
            feed.end = max(feed.end, page.end)
            return True
        feed.asked_until_ms = None
        if page.position <= feed.position:
            feed.end = feed.position
            return True
        feed.page_position, feed.end, feed.asks = page.position, page.end, 0
        feed.missing = {i: None for i in page.instances if not self._is_known(i)}
        if feed.missing:
            self._ask(peer, feed, now_ms)
        else:
            self._turn_page(peer, feed, now_ms, follow=bool(page.instances))
        return True

    def decided(self, instances: list[InstanceId], now_ms: int) -> None:
        """Note what has been decided here; a page that is complete makes way for the next."""
        for instance in instances:
            self._asked.pop(instance, None)
        for peer, feed in self._feeds.items():
            if not feed.missing:
                continue
            before = len(feed.missing)
            for instance in instances:
                feed.missing.pop(instance, None)
            if not feed.missing:
                self._turn_page(peer, feed, now_ms, follow=True)
            elif len(feed.missing) < before:
                feed.asks = 0
                self._ask(peer, feed, now_ms)

    def tick(self, now_ms: int) -> None:
        """Ask again for what did not come."""
        for peer, feed in self._feeds.items():
            if feed.missing:
                self._ask(peer, feed, now_ms)
            elif feed.is_reading:
                if (feed.asked_until_ms or 0) <= now_ms:
                    self._request(peer, feed, now_ms)
            elif feed.passed_over is not None and feed.retry_ms <= now_ms:
                feed.go_back()
                self._request(peer, feed, now_ms)

    def _turn_page(self, peer: int, feed: _Feed, now_ms: int, *, follow: bool) -> None:
        feed.position = feed.page_position
        if follow and feed.position < feed.end:
            self._request(peer, feed, now_ms)

    def _request(self, peer: int, feed: _Feed, now_ms: int) -> None:
        feed.asked_until_ms = now_ms + 2 * self._limits.resend_ms
        self._outbox.to(peer).feed_request = FeedRequest(
            feed.position, self._limits.feed_page_instances_max
        )

    def _ask(self, peer: int, feed: _Feed, now_ms: int) -> None:
        """Ask for what nobody else is being asked for, and whoever named it in turn."""
        asked = 0
        for instance in feed.missing:
            until_ms, last = self._asked.get(instance, (0, -1))
            if until_ms > now_ms or (last == peer and self._is_named_by_another(instance, peer)):
                continue
            self._asked[instance] = (now_ms + 2 * self._limits.resend_ms, peer)
            self._outbox.to(peer).wanted_decisions[instance] = None
            asked += 1
            if asked >= self._limits.wanted_per_frame_max:
                break
        if asked:
            feed.asks += 1
            if feed.asks > self._limits.feed_asks_max:
                self._drop_missing(peer, feed)
                self._bites.note(Bound.FEED_ASKS_MAX, peer)
                if feed.passed_over is None:
                    feed.passed_over = feed.position
                feed.retry_ms = now_ms + self._limits.feed_retry_ms
                self._turn_page(peer, feed, now_ms, follow=True)

    def _is_named_by_another(self, instance: InstanceId, peer: int) -> bool:
        return any(
            other != peer and instance in feed.missing for other, feed in self._feeds.items()
        )

    def _drop_missing(self, peer: int, feed: _Feed) -> None:
        """Forget what the peer named and has not proved."""
        left, feed.missing = feed.missing, {}
        for instance in left:
            if not self._is_named_by_another(instance, peer):
                self._asked.pop(instance, None)
