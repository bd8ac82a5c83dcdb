"""Whether this node's journal holds every vote of its key, and what happens where not (W7, W8).

Votes are lost where `init --replace` made the journal, or where a vote of one's own turns up that
the journal does not hold: its data directory was restored from an older copy, or another process
votes with its key. Then nothing is voted on until the peers have been asked
(`qbft.replica.recollection`); if such a vote turns up once more in the same life, never again: the
journal says so, and only `init --replace` makes another one.

A vote of a store that is known to be replaced shows nothing new of the kind, whenever it comes. Nor
does one of another store in an instance that was over before this node voted again: it may be out
of any old certificate, and whoever shows it could else mute this node for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from qbft.core import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.errors import JournalError
from qbft.records import Standing, StandingRecord
from qbft.replica.authenticator import Authenticator
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_instance, sequence_of, store_of
from qbft.replica.own_votes import CastVote
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore, Journal
from qbft.replica.recollection import Recollection
from qbft.replica.recovery import Recovered
from qbft.replica.voice import Voice
from qbft.transport import Frame

WITHOUT_VOTES = "this node does not vote yet: it asks its peers what it may have voted on"
BEYOND_HELP = (
    "more nodes have lost their votes than may be faulty: none of them votes until an operator acts"
)
TWO_OF_ONE_KEY = "this node has stopped voting: another process votes with its key"
STOP_ALL_BUT_ONE = (
    f"{TWO_OF_ONE_KEY}; stop all but one of them for good, and run `qbft init --replace` for that "
    "one before it is started again"
)
VOTES_AGAIN = "this node votes again, except where its lost votes may be"


class LostVotes:
    """Guards the one thing that a journal cannot know by itself: that it is whole.

    `stop(why)` closes every engine, `go_on(instances)` lets this node vote again, but not in these,
    `keep_out(instance)` has it vote no more in one; `tell` is told what an operator must know,
    `reject` counts.
    """

    def __init__(
        self,
        validator: int,
        peers: Mapping[int, Peer],
        *,
        journal: Journal,
        store: DecisionStore,
        authenticator: Authenticator,
        recollection: Recollection,
        voice: Voice,
        limits: ReplicaLimits,
        stop: Callable[[JournalError], None],
        go_on: Callable[[Iterable[InstanceId]], None],
        keep_out: Callable[[InstanceId], None],
        is_kept_out: Callable[[InstanceId], bool],
        tell: Callable[[str], None],
        reject: Callable[[str, int], None],
    ) -> None:
        self._validator = validator
        self._peers = peers
        self._journal = journal
        self._store = store
        self._authenticator = authenticator
        self._recollection = recollection
        self._voice = voice
        self._limits = limits
        self._stop = stop
        self._go_on = go_on
        self._keep_out = keep_out
        self._is_kept_out = is_kept_out
        self._tell = tell
        self._reject = reject
        self._replaced: dict[bytes, int] = {}
        self._floors: dict[str, int] = {}
        self._has_recollected = False
        self._over = 0
        """The position of the last decision that was here when it voted again."""
        self._was_alarmed = False
        self._is_shared = False
        self.why_not: str | None = None
        """Why this node does not vote; None: it does."""

    @property
    def standing(self) -> Standing:
        """Whether all votes are here, as far as is known."""
        return Standing.SHARED if self._is_shared else self._recollection.standing

    @property
    def why_not_in_full(self) -> str:
        """Why this node does not vote, and what its operator can do; empty: it does."""
        return STOP_ALL_BUT_ONE if self._is_shared else self.why_not or ""

    @property
    def floors(self) -> Mapping[str, int]:
        """By topic, below which height lost votes may be."""
        return self._floors

    def is_below_floor(self, instance: InstanceId) -> bool:
        """Whether lost votes may be there, and nobody can tell any more."""
        return instance.height < self._floors.get(instance.topic, 0)

    def is_news(self, vote: Message) -> bool:
        """Whether an own vote is of another journal, or not the one with its number in this one.

        That number may be from beyond the end, or have been given to another vote in this life,
        before anybody told that there was one.
        """
        return store_of(vote) != self._journal.store_id or not self._voice.may_have_cast(vote)

    def recover(self, recovered: Recovered) -> None:
        """Begin a life of the process: vote at once, ask first, or never vote."""
        self._replaced, self._floors = dict(recovered.replaced), dict(recovered.floors)
        self._remember_peers(recovered.cast())
        standing = self._journal.standing
        if standing is Standing.COMPLETE:
            self._go_on(())
            return
        if standing is Standing.SHARED:
            self._stop_for_good()
            return
        self._ask_first(standing)
        self._try_to_go_on()

    def link_up(self, peer: int) -> None:
        """Ask a peer at once that can be reached now."""
        self._recollection.ask_anew(peer)

    def hear(self, peer: int, vote: Message) -> None:
        """Take what a peer remembers of this node's votes: the newest one, as a proof."""
        if vote.source == self._validator and self.is_news(vote):
            self._meet_if_genuine(peer, vote)

    def meet_in_certificate(self, peer: int, certificate: Certificate) -> None:
        """Take an own COMMIT out of a certificate that was verified; most are known.

        Once it has asked its peers a node meets more of those, in what it did not pull from them.
        """
        if self._has_recollected:
            return
        for commit in certificate.commits:
            is_own = commit.source == self._validator
            if is_own and store_of(commit) == self._journal.store_id and self.is_news(commit):
                self.meet(peer, commit)

    def meet(self, peer: int, vote: Message) -> None:
        """Take a genuine own vote that this journal does not hold."""
        store_id, sequence = store_of(vote), sequence_of(vote)
        known = self._replaced.get(store_id, 0)
        if sequence <= known:
            return
        self._reject("own_vote_never_cast", peer)
        self._replaced[store_id] = sequence
        if self.standing in (Standing.LOST, Standing.SHARED):
            return
        if known and store_id != self._journal.store_id:
            self._voice.record(self._record(lost=False))
            self._keep_out(as_instance(vote.instance))
            return
        if self._has_recollected and store_id != self._journal.store_id and self._is_over(vote):
            self._voice.record(self._record(lost=False))
            return
        if self._has_recollected:
            self._voice.record(replace(self._record(lost=True), shared=True))
            self._stop_for_good()
            self._stop(JournalError(TWO_OF_ONE_KEY))
            return
        self._voice.record(self._record(lost=True))
        self._ask_first(Standing.LOST)
        self._stop(JournalError(WITHOUT_VOTES))

    def _is_over(self, vote: Message) -> bool:
        """Whether a vote's instance was over when this node voted again, or is kept out of."""
        instance = as_instance(vote.instance)
        position = self._store.position(instance)
        if position is not None:
            return position <= self._over
        return self._is_kept_out(instance) or (
            instance.height < self._store.low_water_mark(instance.topic)
        )

    def take_memory(self, peer: int, frame: Frame) -> Iterator[int]:
        """Take a page of what a peer knows; yields the cost of each part, in signature checks."""
        if self.standing is Standing.UNVOTED:
            for vote in frame.relayed:
                if vote.source == self._validator:
                    yield 2
                    self._meet_if_genuine(peer, vote)
        yield from self._recollection.take(peer, frame)
        self._try_to_go_on()

    def is_asking(self, peer: int) -> bool:
        """Whether a peer may have been asked what it remembers, and not told it all yet."""
        return self.standing is Standing.UNVOTED or self._recollection.is_asking(peer)

    def tick(self) -> None:
        """Ask again for what did not come."""
        if self._recollection.is_open:
            self._recollection.ask()
            self._try_to_go_on()

    def _stop_for_good(self) -> None:
        self._is_shared = True
        self.why_not = TWO_OF_ONE_KEY
        self._tell(STOP_ALL_BUT_ONE)

    def _ask_first(self, standing: Standing) -> None:
        self.why_not = WITHOUT_VOTES
        if standing is Standing.LOST:
            self._tell(WITHOUT_VOTES)
        self._recollection.begin(standing)

    def _try_to_go_on(self) -> None:
        recollection = self._recollection
        if recollection.is_beyond_help and not self._was_alarmed:
            self._was_alarmed = True
            self._reject("beyond_help", self._validator)
            self._tell(BEYOND_HELP)
        if not recollection.is_open or not recollection.is_done():
            return
        listed = recollection.listed()
        if self.standing is Standing.LOST:
            self._has_recollected, self._over = True, self._store.end
            for topic, height in recollection.floors().items():
                self._floors[topic] = max(height, self._floors.get(topic, 0))
            self._voice.record(self._record(lost=False))
            self._tell(VOTES_AGAIN)
        recollection.end()
        self.why_not = None
        self._go_on(listed)

    def _record(self, *, lost: bool) -> StandingRecord:
        """What the journal has to know; numbers of lost votes are not given out again."""
        self._voice.skip_to(self._replaced.get(self._journal.store_id, 0) + 1)
        replaced, floors = sorted(self._replaced.items()), sorted(self._floors.items())
        return StandingRecord(
            lost, tuple(replaced), self._voice.last_sequence + 1, floors=tuple(floors)
        )

    def _meet_if_genuine(self, peer: int, vote: Message) -> None:
        if self._authenticator.is_genuine(vote):
            self.meet(peer, vote)
        else:
            self._reject("bad_vote_signature", peer)

    # --- what is remembered of others -------------------------------------------------------------

    def _remember_peers(self, cast: Iterable[CastVote]) -> None:
        """Read from certificates and journaled PREPAREs how far the peers' journals were."""
        after = max(0, self._store.end - self._limits.remembered_decisions_max)
        for _, instance in self._store.feed(after, self._limits.remembered_decisions_max):
            decision = self._store.get(instance)
            for commit in decision.certificate.commits if decision is not None else ():
                self._remember_peer(commit)
        for own in cast:
            for prepare in own.own.prepares:
                self._remember_peer(prepare)

    def _remember_peer(self, vote: Message) -> None:
        peer = self._peers.get(vote.source)
        if peer is not None and (
            peer.last_vote is None
            or store_of(peer.last_vote) != store_of(vote)
            or sequence_of(peer.last_vote) < sequence_of(vote)
        ):
            peer.last_vote = vote
