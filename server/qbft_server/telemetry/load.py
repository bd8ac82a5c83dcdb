"""What clients occupy of a node now, for its bounds and for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ClientLoad:
    """All clients together; kept by the services."""

    calls: int = 0
    """Calls that run, streams too."""

    proposals: int = 0
    """Proposals that wait for their decision ..."""

    proposal_bytes: int = 0
    """... and the bytes of their values."""

    watches: int = 0
    propose_streams: int = 0

    unread_bytes: int = 0
    """Of replies that were not taken yet."""
