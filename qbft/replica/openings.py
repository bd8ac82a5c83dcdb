"""Who opened what, and whose turn it is to open more (HARDENING U7; docs/adr/019).

Opening is cheap for whoever asks and dear for everybody else: an instance costs each node a whole
decision. So what a peer alone has opened here is bounded three times: in all, by a window that is
smaller where what it opens takes long (docs/adr/021); in bytes a second; and by what others want:
while others want something too it has few places here, unless they have many. What finds no place
waits in its peer's queue, and opens as soon as there is one, each peer in its turn.

An instance has its place until it is closed, but not for long: what takes longer waits for a timer
and costs little, and what never ends, for it reaches no quorum, must not keep its peer's later ones
out. One with a large value takes several places, and has them for a time however soon it is closed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import NamedTuple

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.peer import TokenBucket

TOGETHER = -1
"""The opener of instances that F+1 validators are in, so that some honest one has let them in."""


class Way(IntEnum):
    """How a peer alone can have an instance opened."""

    FORWARD = auto()
    """It hands on what a client proposed."""

    LEAD = auto()
    """It proposes as the first round's leader, so that it may well speak for others."""

    BESIDE = auto()
    """Its value comes beside votes that it hands on or sends again: others may have asked it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a peer alone asks this node to open: an authorised proposal, and how it came.

    `in_turn`: it has waited, and its turn has come.
    """

    proposal: Proposal
    way: Way
    in_turn: bool = False


@dataclass(slots=True, eq=False)
class _Window:
    """What one validator's messages may have open in one way, and what they have, in places.

    It is a congestion window: what does not end within its first round makes it smaller, what does
    makes it larger. Late nodes do more for each instance that is open, with each round that ends,
    and are later for it; only fewer open instances end that.
    """

    may: int
    least: int
    most: int
    open: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may be opened, whatever it takes."""
        return self.open < self.may

    def narrow(self, places: int) -> None:
        """Take back so many places."""
        self.may = max(self.least, self.may - places)

    def widen(self, places: int) -> None:
        """Give so many more."""
        self.may = min(self.most, self.may + places)


class _Windowed(NamedTuple):
    """The places of an open instance in a window, and since when it is open.

    `leaves`: it does so once it is stuck.
    """

    window: _Window
    places: int
    opened_ms: int
    leaves: bool


@dataclass(slots=True, eq=False)
class _Share:
    """What one validator's messages have opened lately in one way, and what waits of it."""

    window: _Window
    places: int = 0
    opened_ms: int | None = None
    most: int = 0
    most_ms: int = 0
    waiting: dict[InstanceId, Proposal] = field(default_factory=dict)
    waiting_bytes: int = 0

    @property
    def wants(self) -> bool:
        """Whether it has places, or waits for some."""
        return self.places > 0 or bool(self.waiting)

    def occupy(self, places: int, now_ms: int, lately_ms: int) -> None:
        """Take so many places; remember the most that it has had lately."""
        self.places += places
        self.opened_ms = now_ms
        if self.places >= self.most or now_ms - self.most_ms > lately_ms:
            self.most, self.most_ms = self.places, now_ms

    def add(self, proposal: Proposal) -> None:
        """Let a proposal wait."""
        self.waiting[proposal.instance] = proposal
        self.waiting_bytes += len(proposal.value)

    def take(self, instance: InstanceId) -> Proposal | None:
        """Give, and have no more, what waits for an instance."""
        proposal = self.waiting.pop(instance, None)
        if proposal is not None:
            self.waiting_bytes -= len(proposal.value)
        return proposal


class _Wanted:
    """What all peers' shares of one way have together, and without any one of them."""

    def __init__(self, shares: Iterable[_Share], places_of: Callable[[_Share], int]) -> None:
        self._places_of = places_of
        self._total = self._wanting = self._busiest = self._second = 0
        for share in shares:
            places = places_of(share)
            self._total += places
            self._wanting += share.wants
            if places > self._busiest:
                self._busiest, self._second = places, self._busiest
            elif places > self._second:
                self._second = places

    def without(self, share: _Share) -> tuple[int, int, bool]:
        """The places of all others, those of the busiest, and whether anybody wants some."""
        places = self._places_of(share)
        busiest = self._second if places == self._busiest else self._busiest
        return self._total - places, busiest, self._wanting > share.wants


class Openings:
    """The open instances by opener, and the proposals that wait for a place.

    `bites` counts the bounds that bite.
    """

    def __init__(
        self,
        validator: int,
        peers: Iterable[int],
        limits: ReplicaLimits,
        bites: Bites | None = None,
    ) -> None:
        self._validator = validator
        self._limits = limits
        self._bites = bites or Bites()
        self._paces = {
            peer: TokenBucket(limits.opened_bytes_burst_max, limits.opened_bytes_per_ms)
            for peer in peers
        }
        self._per_peer_max = most = min(
            limits.open_instances_per_peer_max,
            limits.open_instances_of_peers_max // max(1, len(self._paces)),
        )
        self._own = _Share(_Window(most, most, most))
        self._shares = {
            (peer, way): _Share(self._window(way)) for peer in self._paces for way in Way
        }
        self._by_way = {way: [self._shares[peer, way] for peer in self._paces] for way in Way}
        self._openers: dict[InstanceId, int] = {}
        self._resumed: set[InstanceId] = set()
        self._counts = dict.fromkeys((validator, TOGETHER, *self._paces), 0)
        self._windowed: dict[InstanceId, _Windowed] = {}
        self._placed: dict[InstanceId, tuple[_Share, int]] = {}
        self._leaving: list[tuple[int, InstanceId]] = []
        self._places = 0
        self._waiting = 0
        self._turn = 0

    # --- what is open -----------------------------------------------------------------------------

    @property
    def openers(self) -> Mapping[InstanceId, int]:
        """Whose clients or messages opened each instance; those of the journal are nobody's."""
        return self._openers

    @property
    def resumed_count(self) -> int:
        """How many that own clients proposed for before a restart are still open."""
        return len(self._resumed)

    def resumed(self, instance: InstanceId) -> None:
        """Note one that own clients proposed for in an earlier life: it has its place still."""
        self._resumed.add(instance)

    def count_of(self, opener: int) -> int:
        """How many of them one validator opened."""
        return self._counts[opener]

    def has_own_place(self) -> bool:
        """Whether own clients may open one more; counted if not."""
        if self._counts[self._validator] + len(self._resumed) < self._limits.open_instances_max:
            return True
        self._bites.note(Bound.OPEN_INSTANCES_MAX)
        return False

    def has_place(self, peer: int) -> bool:
        """Whether a peer alone may have one more open at all."""
        return self._counts[peer] < self._per_peer_max

    def has_place_in(self, peer: int, way: Way) -> bool:
        """Whether it may have one more open in this way."""
        return self.has_place(peer) and self._shares[peer, way].window.has_room

    def has_place_together(self) -> bool:
        """Whether F+1 validators may have one more open; counted if not."""
        if self._counts[TOGETHER] < self._limits.open_instances_of_peers_max:
            return True
        self._bites.note(Bound.OPEN_INSTANCES_OF_PEERS_MAX)
        return False

    def takes_more(self, peer: int) -> bool:
        """Whether to ask a peer for what was refused of it: it has a place, and little waits."""
        limits, shares = self._limits, [self._shares[peer, way] for way in Way]
        return (
            self.has_place(peer)
            and 2 * max(len(share.waiting) for share in shares) <= limits.waiting_openings_max
            and 2 * max(share.waiting_bytes for share in shares) <= limits.waiting_opening_bytes_max
        )

    def opened(self, instance: InstanceId, opener: int, asked: Asked | None, now_ms: int) -> None:
        """Note that an instance was opened, by whom, and what it asked for if it is a peer.

        Those that F+1 validators opened `TOGETHER` take no place, nor any peer's.
        """
        self._openers[instance] = opener
        self._counts[opener] += 1
        if opener == self._validator:
            share = self._own
        elif asked is not None:
            share = self._shares[opener, asked.way]
            size = 1 if asked.way is Way.BESIDE else self._places_of(asked.proposal)
            leaves = asked.way is not Way.BESIDE
            windowed = _Windowed(share.window, size, now_ms, leaves)
            windowed.window.open += windowed.places
            self._windowed[instance] = windowed
        else:
            return
        self._free_places(now_ms)
        places = self._places_of(asked.proposal) if asked is not None else 1
        self._places += places
        share.occupy(places, now_ms, self._limits.contention_ms)
        self._placed[instance] = share, places
        heapq.heappush(self._leaving, (now_ms + self._place_ms(places), instance))

    def ran_out(self, instance: InstanceId, now_ms: int, *, is_first: bool) -> None:
        """Note that a round of it ran out: after the first its opener may have less open.

        What has been open for long is stuck, not late, and may never end: it leaves the window, but
        not what came beside votes, or what a liar makes a peer hand on took all of its places.
        """
        windowed = self._windowed.get(instance)
        if windowed is None:
            return
        if is_first:
            windowed.window.narrow(windowed.places)
        if windowed.leaves and now_ms - windowed.opened_ms >= self._limits.stuck_ms:
            self._leave_window(instance)

    def closed(self, instance: InstanceId, *, in_first_round: bool = False) -> None:
        """Note that an instance is closed; decided in its first round, its opener may have more."""
        _, places = self._placed.get(instance, (None, 0))
        if places == 1:
            self._leave_place(instance)
        self._resumed.discard(instance)
        opener = self._openers.pop(instance, None)
        if opener is not None:
            self._counts[opener] -= 1
        windowed = self._leave_window(instance)
        if windowed is not None and in_first_round:
            windowed.window.widen(windowed.places)

    def _leave_window(self, instance: InstanceId) -> _Windowed | None:
        windowed = self._windowed.pop(instance, None)
        if windowed is not None:
            windowed.window.open -= windowed.places
        return windowed

    # --- whose turn it is -------------------------------------------------------------------------

    def admits(self, peer: int, asked: Asked, now_ms: int) -> bool:
        """Whether what a peer asks for may be opened now; its bytes are spent then."""
        if not self.has_place_in(peer, asked.way):
            self._bites.note(Bound.OPEN_INSTANCES_PER_PEER_MAX, peer)
            return False
        overtakes = not asked.in_turn and bool(self._shares[peer, asked.way].waiting)
        if overtakes or not self._is_in_turn(peer, asked, self._wanted(now_ms), now_ms):
            self._bites.note(Bound.OPENING_PLACES_MIN, peer)
            return False
        if not self._paces[peer].take(now_ms, self._size(asked.proposal)):
            self._bites.note(Bound.OPENED_BYTES_BURST_MAX, peer)
            return False
        return True

    def wait(self, peer: int, asked: Asked) -> bool:
        """Let what a peer asks for wait for its turn; False if too much of it does."""
        share, limits, proposal = self._shares[peer, asked.way], self._limits, asked.proposal
        waiting = share.waiting.get(proposal.instance)
        if waiting is not None:
            return waiting == proposal
        size = share.waiting_bytes + len(proposal.value)
        if len(share.waiting) >= limits.waiting_openings_max:
            self._bites.note(Bound.WAITING_OPENINGS_MAX, peer)
        elif share.waiting and size > limits.waiting_opening_bytes_max:
            self._bites.note(Bound.WAITING_OPENING_BYTES_MAX, peer)
        else:
            share.add(proposal)
            self._waiting += 1
            return True
        return False

    def awaits(self, peer: int, instance: InstanceId, digest: bytes) -> bool:
        """Whether that value of a peer waits here for its instance to be opened."""
        if not self._waiting:
            return False
        values = (self._shares[peer, way].waiting.get(instance) for way in Way)
        return any(value is not None and value.digest == digest for value in values)

    def waiting_for(self, instance: InstanceId) -> tuple[int, ...]:
        """Whose proposals wait for an instance, in ascending order."""
        waiting = {peer for (peer, _), share in self._shares.items() if instance in share.waiting}
        return tuple(sorted(waiting))

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits."""
        return self._waiting > 0

    def resumes_ms(self, now_ms: int) -> int | None:
        """When what waits should be looked at: now, when a place becomes free, or not at all."""
        if not self._waiting:
            return None
        wanted = self._wanted(now_ms)
        if any(self._next_ready(*key, wanted, now_ms) for key in self._shares):
            return now_ms
        return self._leaving[0][0] if self._leaving else now_ms + self._limits.opening_place_ms

    def ready(self, now_ms: int) -> Iterator[tuple[int, Asked]]:
        """Give (peer, what it asked for) of what may be opened now, each peer in its turn.

        What is given waits no more; whether there is a place is looked at anew before each.
        """
        keys = list(self._shares)
        idle, wanted = 0, self._wanted(now_ms)
        while idle < len(keys):
            peer, way = keys[self._turn % len(keys)]
            self._turn += 1
            idle += 1
            asked = self._next_ready(peer, way, wanted, now_ms)
            if asked is not None:
                idle = 0
                self._take(self._shares[peer, way], asked.proposal.instance)
                yield peer, asked
                wanted = self._wanted(now_ms)

    def release(self, instance: InstanceId) -> list[tuple[int, Proposal]]:
        """Give (peer, proposal) of all that waits for an instance: it is open, or decided."""
        if not self._waiting:
            return []
        taken = [(peer, self._take(share, instance)) for (peer, _), share in self._shares.items()]
        return [(peer, proposal) for peer, proposal in taken if proposal is not None]

    def _take(self, share: _Share, instance: InstanceId) -> Proposal | None:
        proposal = share.take(instance)
        self._waiting -= proposal is not None
        return proposal

    # --- shares -----------------------------------------------------------------------------------

    def _wanted(self, now_ms: int) -> dict[Way, _Wanted]:
        """What peers want now."""
        self._free_places(now_ms)

        def now(share: _Share) -> int:
            return share.places

        def lately(share: _Share) -> int:
            return self._most_lately(share, now_ms)

        return {
            way: _Wanted(shares, lately if way is Way.LEAD else now)
            for way, shares in self._by_way.items()
        }

    def _next_ready(
        self, peer: int, way: Way, wanted: Mapping[Way, _Wanted], now_ms: int
    ) -> Asked | None:
        """What waits longest in a share, if it may be opened now."""
        share = self._shares[peer, way]
        if not share.waiting or not self.has_place_in(peer, way):
            return None
        asked = Asked(next(iter(share.waiting.values())), way, in_turn=True)
        in_turn = self._is_in_turn(peer, asked, wanted, now_ms)
        has_pace = in_turn and self._paces[peer].has(now_ms, self._size(asked.proposal))
        return asked if has_pace else None

    def _is_in_turn(
        self, peer: int, asked: Asked, wanted: Mapping[Way, _Wanted], now_ms: int
    ) -> bool:
        """Whether there is a place for what a peer asks for; one of its own there always is."""
        share = self._shares[peer, asked.way]
        places = self._places_of(asked.proposal)
        return (
            share.places == 0
            or self._places + places <= self._limits.opening_places_free
            or share.places + places <= self._places_max(peer, asked.way, wanted, now_ms)
        )

    def _window(self, way: Way) -> _Window:
        """What a peer may have open in one way, to begin with.

        It stays as it is for what comes beside votes: these are of a round that is over somewhere
        else, for a partition or a liar, so that whether it ends in its first one here tells little.
        """
        limits, most = self._limits, self._per_peer_max
        first = min(limits.open_instances_per_peer_first, most)
        if way is Way.BESIDE:
            return _Window(first, first, first)
        return _Window(first, min(limits.open_instances_per_peer_min, most), most)

    def _places_of(self, proposal: Proposal) -> int:
        """How many places an instance takes: one, and more where its value is large."""
        return 1 + len(proposal.value) // self._limits.opening_bytes_per_place

    def _place_ms(self, places: int) -> int:
        """How long an instance that takes so many places has them."""
        limits = self._limits
        return limits.opening_place_ms * max(1, places // limits.opening_places_free)

    def _places_max(self, peer: int, way: Way, wanted: Mapping[Way, _Wanted], now_ms: int) -> int:
        """The places of one share now, with what others want.

        Whoever forwards is held against own clients and others that forward, and has half of what
        the busiest of them has: it may ask each node for as much. Whoever leads is held against
        other leaders, and against all that this node was asked for itself, and has twice as much as
        they had lately: what it leads it leads everywhere, one leads more than another by chance,
        and what clients ask for comes in bursts. What leaders open, and what comes beside votes, is
        not held against forwards: others have asked them for it, this peer perhaps.
        """
        limits, own = self._limits, self._own
        asked, busiest, is_wanted = wanted[Way.FORWARD].without(self._shares[peer, Way.FORWARD])
        is_wanted = is_wanted or own.wants or self._was_lately(own, now_ms)
        busiest = max(busiest, own.places) // 2
        if way is Way.LEAD:
            _, leading, is_led = wanted[Way.LEAD].without(self._shares[peer, Way.LEAD])
            is_wanted = is_wanted or is_led
            busiest = 2 * max(asked + self._most_lately(own, now_ms), leading)
        if not is_wanted:
            return limits.opening_places_max
        return max(limits.opening_places_min, busiest)

    def _most_lately(self, share: _Share, now_ms: int) -> int:
        """The most places that it has had lately."""
        is_past = now_ms - share.most_ms > self._limits.contention_ms
        return share.places if is_past else max(share.places, share.most)

    def _was_lately(self, share: _Share, now_ms: int) -> bool:
        """Whether it has opened something, so that it may soon want more."""
        return (
            share.opened_ms is not None and now_ms - share.opened_ms <= self._limits.contention_ms
        )

    def _free_places(self, now_ms: int) -> None:
        """End what has had its place for long enough."""
        while self._leaving and self._leaving[0][0] <= now_ms:
            self._leave_place(heapq.heappop(self._leaving)[1])

    def _leave_place(self, instance: InstanceId) -> None:
        share, places = self._placed.pop(instance, (None, 0))
        if share is not None:
            share.places -= places
            self._places -= places

    def _size(self, proposal: Proposal) -> int:
        return self._limits.opened_bytes_each + len(proposal.value)
