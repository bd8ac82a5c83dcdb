"""Topics per prefix are limited (DESIGN, retention; docs/adr/009).

What is kept of a topic never goes altogether, whatever the policy: its highest decision stays, and
its low-water mark. So an instance of a new topic is opened only while its prefix has room.
"""

from __future__ import annotations

from collections import Counter

from qbft.replica.policy import Policies


class Topics:
    """The topics that something is kept of here, counted by the prefix whose policy they have.

    Own clients may open topics until there are `topics_max`, peers until there are `nodes` times as
    many: each of them draws the line for its own clients, so that what honest nodes have let in has
    room at all others, even where their counts differ.
    """

    def __init__(self, policies: Policies, nodes: int) -> None:
        self._policies = policies
        self._nodes = nodes
        self._known: set[str] = set()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, topic: str) -> None:
        """Count a topic that something is kept of from now on."""
        if topic not in self._known:
            self._known.add(topic)
            self._counts[self._policies(topic).prefix] += 1

    def has_room_for_clients(self, topic: str) -> bool:
        """Whether own clients may propose for it: it is known, or there is room for a new one."""
        return topic in self._known or self._has_room(topic, 1)

    def has_room_for_peers(self, topic: str) -> bool:
        """Whether a peer alone may have an instance of it opened."""
        return topic in self._known or self._has_room(topic, self._nodes)

    def _has_room(self, topic: str, times: int) -> bool:
        policy = self._policies(topic)
        return self._counts[policy.prefix] < times * policy.topics_max
