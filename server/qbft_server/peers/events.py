"""What the links tell the rest of the node: counters to read, and rare events to be called for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from qbft.replica.bounds import Bites


@dataclass(slots=True)
class PeerCounters:
    """One peer's counters, in one life of the transport; plain integers, read at will.

    Per frame nothing but these is touched: telemetry reads them when it is scraped.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0
    frames_dropped: int = 0
    """Not sent: the queue was full, or the link was down or not yet reported as fresh."""
    dials: int = 0
    links_up: int = 0
    """Times that our link to the peer came up; all but the first are reconnections."""
    times_lagging: int = 0
    streams_accepted: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """What was refused of what the peer sent, by reason (a closed set)."""


class PeerEvents(Protocol):
    """Told of what happens rarely; must return at once and not raise.

    `rejected` can be triggered at will by a hostile peer: count it, never log it above debug.
    """

    def link_up(self, peer: int) -> None:
        """Our link to the peer is up."""
        ...

    def link_down(self, peer: int, why: str) -> None:
        """The link broke, or an attempt to make it failed (again): log it when `why` changes."""
        ...

    def lagging(self, peer: int) -> None:
        """The peer does not keep up; its queue is full and frames are dropped."""
        ...

    def rejected(self, reason: str, peer: int | None) -> None:
        """Something was refused; `peer` is None for a stranger."""
        ...


class NoEvents:
    """Listens to nothing."""

    def link_up(self, peer: int) -> None:
        """Ignore it."""

    def link_down(self, peer: int, why: str) -> None:
        """Ignore it."""

    def lagging(self, peer: int) -> None:
        """Ignore it."""

    def rejected(self, reason: str, peer: int | None) -> None:
        """Ignore it."""


class PeerRecorder:
    """The counters of all peers, and the events they go with."""

    def __init__(self, validators: int, own: int, events: PeerEvents) -> None:
        self.peers = {index: PeerCounters() for index in range(validators) if index != own}
        self.stranger_rejects: dict[str, int] = {}
        self.bites = Bites()
        self.events = events

    def rejected(self, reason: str, peer: int | None) -> None:
        """Count a refusal under its reason."""
        counts = self.stranger_rejects if peer is None else self.peers[peer].rejects
        counts[reason] = counts.get(reason, 0) + 1
        self.events.rejected(reason, peer)
