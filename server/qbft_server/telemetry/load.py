"""What clients occupy of a node now, for its bounds and for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class Held:
    """How much of one thing clients hold, all together and each of them."""

    __slots__ = ("_by_client", "total")

    def __init__(self) -> None:
        self.total = 0
        self._by_client: dict[str, int] = {}

    @property
    def by_client(self) -> Mapping[str, int]:
        """Of those that hold any."""
        return self._by_client

    def add(self, client: str, size: int = 1) -> None:
        """So much more is held by this client."""
        self.total += size
        self._by_client[client] = self._by_client.get(client, 0) + size

    def remove(self, client: str, size: int = 1) -> None:
        """So much of it is free again."""
        self.total -= size
        left = self._by_client[client] - size
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]


@dataclass(slots=True)
class ClientLoad:
    """All clients; kept by the services."""

    calls: Held = field(default_factory=Held)
    """Calls that run, streams too."""

    proposals: Held = field(default_factory=Held)
    """Proposals that wait for their decision ..."""

    proposal_bytes: Held = field(default_factory=Held)
    """... and the bytes of their values."""

    undecided: Held = field(default_factory=Held)
    """Undecided instances that they opened, whoever still waits for them."""

    append_topics: Held = field(default_factory=Held)
    """Ordered topics that they append to."""

    watches: Held = field(default_factory=Held)
    propose_streams: Held = field(default_factory=Held)

    unread_bytes: Held = field(default_factory=Held)
    """Of replies that were not taken yet."""
