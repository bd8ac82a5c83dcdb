"""The Transport protocol, and the frames that it carries.

A transport is a set of links, one to each peer: ordered and reliable while a link lasts, silent
about what was lost when it broke. It never waits for a slow peer: a full queue loses the frame and
marks the peer as lagging, and when that link drains or reconnects `receive` says so, whereupon the
replica re-sends what still matters (DESIGN, reliable links).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qbft.core.messages import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """Ask for the ids of decisions that a peer stored after its position `after`."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Ids of decided instances, in the sender's order, up to its position `position`.

    `end` is the sender's last position at that moment. The reader asks for those it lacks.
    """

    position: int
    end: int
    instances: tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """A page of what the sender knows of the undecided instances that concern the receiver (W7).

    The entries `after` to `next` of the sender's list: the frame's marks are entries, its relayed
    votes and proposals are the reasons for the others. `lost`: the sender is without its own votes.
    `feed_end` is the end of the sender's feed.
    """

    after: int
    next: int
    is_last: bool
    lost: bool
    feed_end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What one node tells another at once; every part may be empty.

    `votes` is the own-vote section: votes that the sender signed in one turn, proven by `batch`.
    `relayed` are votes of anyone, the sender's re-sent ones too, each with its portable signature.
    `proposals` are forwards, and the values of the PRE-PREPAREs in `votes` and `relayed`.
    `acknowledged` is the highest vote sequence of the receiver's up to which the sender lacks
    nothing; `covers` promises that this frame holds all of the sender's current votes whose
    sequence is above `covers_after` and at most `covers` (0: no promise). So a frame that is lost
    breaks the chain of promises, and nothing beyond it is acknowledged.
    `memory_wanted` asks for the receiver's `memory` from that entry on (W7).
    `marks` are, of topics that the receiver asked about, the lowest height that the sender keeps.
    """

    votes: tuple[Message, ...] = ()
    batch: BatchHeader | None = None
    relayed: tuple[Message, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    wanted_values: tuple[tuple[InstanceId, bytes], ...] = ()
    wanted_decisions: tuple[InstanceId, ...] = ()
    feed_request: FeedRequest | None = None
    feed_page: FeedPage | None = None
    acknowledged: int = 0
    covers: int = 0
    covers_after: int = 0
    memory_wanted: int | None = None
    memory: Memory | None = None
    marks: tuple[InstanceId, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What a transport hands over at once.

    `frames` are (peer, frame), each peer's in the order it sent them and peers taken in turn.
    `fresh` are peers whose link came up or drained since the last batch.
    """

    frames: tuple[tuple[int, Frame], ...] = ()
    fresh: tuple[int, ...] = ()


class Transport(Protocol):
    """Links to all peers. One task receives; any may send."""

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Queue a frame for one peer, or for every peer but oneself; never waits for a peer.

        Raises:
            TransportError: the transport is closed or broken as a whole.
        """
        ...

    async def receive(self) -> Batch:
        """Wait for the next non-empty batch, bounded in frames and bytes.

        Raises:
            TransportError: nothing will ever arrive again.
        """
        ...
