"""Re-sending own votes until they are acknowledged (HARDENING D5, U5).

Per peer, in the order of their sequence, a bounded frame at a time. A frame that `covers` a
sequence promises that the peer lacks none of the current votes up to it; the peer acknowledges
that.
"""

from __future__ import annotations

from collections.abc import Iterable

from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import CastVote, OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer


def resend(
    peer: Peer,
    opens: Iterable[OpenInstance],
    *,
    cast_before_ms: int,
    last_sequence: int,
    limits: ReplicaLimits,
    outbox: Outbox,
) -> None:
    """Send a peer the current votes that it has not acknowledged and that are old enough."""
    due: list[tuple[CastVote, OpenInstance]] = []
    fresh: list[int] = []
    for opened in opens:
        for cast in opened.current_votes():
            if cast.sequence > peer.acknowledged:
                if cast.cast_ms <= cast_before_ms:
                    due.append((cast, opened))
                else:
                    fresh.append(cast.sequence)
    if not due:
        return
    due.sort(key=lambda entry: entry[0].sequence)
    rest = [cast.sequence for cast, _ in due[limits.resend_votes_per_frame_max :]] + fresh
    letter = outbox.to(peer.index)
    for cast, opened in due[: limits.resend_votes_per_frame_max]:
        letter.relayed.append(cast.own.vote)
        proposal = opened.known_proposal()
        if proposal is not None and len(proposal.value) <= limits.proposal_bytes_per_frame_max:
            outbox.enclose(peer.index, proposal)
    letter.covers = min(rest) - 1 if rest else last_sequence
