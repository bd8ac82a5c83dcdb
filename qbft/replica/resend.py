"""Re-sending own votes until they are acknowledged (HARDENING D5, U5).

Per peer, in the order of their sequence, a bounded frame at a time; the next one goes when the last
is acknowledged, or when so long nothing came that it must be sent again (`qbft.replica.patience`).
A frame that `covers` sequences holds all current votes in that range; the peer acknowledges the end
of the unbroken chain of such ranges, so that a frame that got lost is sent again. What a turn costs
here does not depend on how many instances are open.
"""

from __future__ import annotations

from bisect import bisect_right, insort

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.own_votes import CastVote
from qbft.replica.peer import Peer
from qbft.transport import Frame

_STALE_MIN = 1_024
"""Below this the list of sequences is not worth being cleaned."""


class Resender:
    """The current own votes of all undecided instances, by sequence."""

    def __init__(self, limits: ReplicaLimits, outbox: Outbox) -> None:
        self._limits = limits
        self._outbox = outbox
        self._sequences: list[int] = []
        self._votes: dict[int, tuple[CastVote, OpenInstance]] = {}
        self._of_instance: dict[InstanceId, set[int]] = {}

    def update(self, opened: OpenInstance) -> None:
        """Note the current votes of an instance that are signed."""
        current = {cast.sequence: cast for cast in opened.votes.current if cast.sequence}
        known = self._of_instance.get(opened.instance, set())
        for sequence in known - current.keys():
            del self._votes[sequence]
        for sequence, cast in current.items():
            if sequence not in known:
                insort(self._sequences, sequence)
                self._votes[sequence] = (cast, opened)
        self._of_instance[opened.instance] = set(current)
        self._clean()

    def forget(self, instance: InstanceId) -> None:
        """Send nothing of the instance any more."""
        for sequence in self._of_instance.pop(instance, ()):
            del self._votes[sequence]
        self._clean()

    def begin(self, peer: Peer, now_ms: int, last_sequence: int) -> None:
        """Begin anew with a peer that may have missed anything but what it says it has."""
        peer.acknowledged = peer.covered = peer.told
        peer.patience.begin()
        self._send(peer, now_ms, cast_before_ms=None, last_sequence=last_sequence)

    def acknowledge(self, peer: Peer, sequence: int, now_ms: int, last_sequence: int) -> None:
        """Take what a peer says it has, as far as it was sent to it over this link.

        So a word from a life before, which this peer's memory did not outlast, counts for nothing.
        """
        reached = min(sequence, peer.covered)
        if reached > peer.acknowledged:
            peer.acknowledged = reached
            peer.patience.answered(now_ms)
            if peer.has_more:
                before_ms = peer.cast_before_ms
                self._send(peer, now_ms, cast_before_ms=before_ms, last_sequence=last_sequence)

    def tick(self, peer: Peer, now_ms: int, last_sequence: int) -> None:
        """Send a peer again what it has not acknowledged, where it has been waited for enough."""
        if peer.patience.is_over(now_ms):
            before_ms = now_ms - peer.patience.wait_ms
            self._send(peer, now_ms, cast_before_ms=before_ms, last_sequence=last_sequence)

    def take_promise(self, peer: Peer, frame: Frame) -> None:
        """Acknowledge what a frame covers, unless what came before it is missing.

        A promise from the very beginning is the first of a chain, whatever was heard before.
        """
        if frame.covers_after == 0:
            peer.received = frame.covers
        elif frame.covers_after > peer.received:
            return
        peer.received = max(peer.received, frame.covers)
        self._outbox.to(peer.index).acknowledged = peer.received

    def _send(
        self, peer: Peer, now_ms: int, *, cast_before_ms: int | None, last_sequence: int
    ) -> None:
        """Send a peer the votes that it has not acknowledged and that are old enough (None: all).

        `last_sequence` is the number of the last vote that was signed.
        """
        chosen: list[tuple[CastVote, Proposal | None]] = []
        votes, value_bytes = 0, 0
        covers = last_sequence
        peer.has_more = False
        peer.cast_before_ms = cast_before_ms
        start = bisect_right(self._sequences, peer.acknowledged)
        for position in range(start, len(self._sequences)):
            sequence = self._sequences[position]
            entry = self._votes.get(sequence)
            if entry is None:
                continue
            cast, opened = entry
            votes += 1 + len(cast.own.vote.justification)
            fresh = cast_before_ms is not None and cast.cast_ms > cast_before_ms
            many = votes > self._limits.resend_votes_per_frame_max
            full = many or value_bytes > self._limits.resend_value_bytes_per_frame_max
            if fresh or (full and chosen):
                covers = sequence - 1
                peer.has_more = not fresh
                if not fresh:
                    peer.bitten(
                        Bound.RESEND_VOTES_PER_FRAME_MAX
                        if many
                        else Bound.RESEND_VALUE_BYTES_PER_FRAME_MAX
                    )
                break
            proposal = opened.proposal_for(peer.index)
            chosen.append((cast, proposal))
            value_bytes += len(proposal.value) if proposal is not None else 0
        if chosen:
            self._put(peer, chosen, covers)
            peer.patience.sent(now_ms)

    def _put(self, peer: Peer, chosen: list[tuple[CastVote, Proposal | None]], covers: int) -> None:
        """Each vote beside its value; each letter promises the range of those that it holds."""
        after, last = peer.acknowledged, chosen[-1][0]
        for cast, proposal in chosen:
            letter = self._outbox.to(peer.index)
            if proposal is not None:
                letter = self._outbox.enclose(peer.index, proposal)
            up_to = covers if cast is last else cast.sequence
            letter.relayed.append(cast.own.vote)
            letter.promise(after, up_to)
            after = up_to
        peer.covered = max(peer.covered, covers)

    def __len__(self) -> int:
        return len(self._votes)

    def _clean(self) -> None:
        if len(self._sequences) > 2 * len(self._votes) + _STALE_MIN:
            self._sequences = sorted(self._votes)
