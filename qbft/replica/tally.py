"""What a replica counts of its work: plain integers, for metrics to read whenever they like.

Counted once a decision, or once a message, by adding to a slot; nothing here is looked up by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qbft.core import MessageType
from qbft.distribution import Distribution
from qbft.replica.open_instance import OpenInstance
from qbft.transport import Frame

ROUNDS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
PHASE_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""Upper ends of what is told apart; what is above the last is told apart no further."""

PROPOSAL = len(MessageType) + 1
"""The slot of proposals, forwards and values that were asked for, beside those of the messages."""

_SLOTS = PROPOSAL + 1
_DECIDED = int(MessageType.DECIDED)


class Tally:
    """One replica's counts in one life of its process."""

    def __init__(self, peers: Iterable[int]) -> None:
        self.opened = 0
        """Instances that were opened, those of the journal not included."""
        self.expired = 0
        """Round timers that ran out."""
        self.by_quorum = 0
        """Decisions of an engine here, by the votes that came one by one."""
        self.by_certificate = 0
        """Decisions learnt of an instance that was open here."""
        self.unopened = 0
        """Decisions learnt, by certificate or held COMMITs, of an instance that was not."""
        self.rounds = Distribution(ROUNDS)
        """The round in which an instance was decided, of all decisions."""
        self.accepted_ms = Distribution(PHASE_MS)
        """From opening an instance to accepting the PRE-PREPARE of the round that decided it."""
        self.prepared_ms = Distribution(PHASE_MS)
        """From there to a quorum of PREPAREs."""
        self.decided_ms = Distribution(PHASE_MS)
        """From there to a quorum of COMMITs."""
        self.sent = [0] * _SLOTS
        """Messages handed to the links, by type; one for all peers counts once for each."""
        self.received = {peer: [0] * _SLOTS for peer in peers}
        """Messages taken in, by peer and type; those that messages nest are not counted."""

    def send(self, frame: Frame, peers: int) -> None:
        """Count what a frame to so many peers holds."""
        _add(self.sent, frame, peers)

    def receive(self, peer: int, frame: Frame) -> None:
        """Count what a peer's frame holds."""
        _add(self.received[peer], frame, 1)

    def conclude(self, opened: OpenInstance, round_: int, now_ms: int) -> None:
        """Count the decision of an open instance, and how long each phase took as seen from here.

        Where a certificate decided it, or this node did not vote in its last round, there are no
        phases.
        """
        self.rounds.add(round_)
        if opened.is_learnt:
            self.by_certificate += 1
            return
        self.by_quorum += 1
        cast = {
            cast.own.vote.type: cast.cast_ms
            for cast in opened.votes.current
            if cast.own.vote.round == round_
        }
        accepted_ms = cast.get(MessageType.PREPARE)
        prepared_ms = cast.get(MessageType.COMMIT)
        if opened.opened_ms is None or accepted_ms is None or prepared_ms is None:
            return
        self.accepted_ms.add(accepted_ms - opened.opened_ms)
        self.prepared_ms.add(prepared_ms - accepted_ms)
        self.decided_ms.add(now_ms - prepared_ms)

    def learn(self, round_: int) -> None:
        """Count a decision of an instance that was not open here."""
        self.rounds.add(round_)
        self.unopened += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerDepths:
    """What waits of one peer, and what it occupies."""

    held_votes: int
    kept_bytes: int
    opened_instances: int
    waiting_work: int
    """In checks of one signature; of frames that were read and not taken in."""
    waiting_bytes: int
    feed_position: int
    """How far its feed of decisions has been read, and how far it is known to go."""
    feed_end: int


@dataclass(frozen=True, slots=True)
class Depths:
    """What waits in a replica: decisions without their bytes, or on their way to the disk."""

    bare: int
    settling: int
    by_peer: dict[int, PeerDepths]


def _add(slots: list[int], frame: Frame, times: int) -> None:
    for vote in frame.votes:
        slots[vote.type] += times
    for vote in frame.relayed:
        slots[vote.type] += times
    slots[_DECIDED] += times * len(frame.certificates)
    slots[PROPOSAL] += times * len(frame.proposals)
