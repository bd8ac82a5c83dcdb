"""Who may propose for a topic, and which inputs its engines take (DESIGN, who may propose)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TOPICS_MAX = 10_000
"""Topics of a prefix, unless the cluster file says otherwise. Each costs some kilobytes of disk."""


@dataclass(frozen=True, slots=True)
class TopicPolicy:
    """The rules of the topics that begin with `prefix`.

    `adopts`: a node without an input of its own takes the first authorised proposal it sees; else
    it proposes only what its own clients gave it. `proposers` are the public keys of those who may
    propose; empty means anyone, so that a faulty node may choose the values. `topics_max` is how
    many topics of the prefix there may be (`qbft.replica.topics`). `ordered`: values are batches of
    entries, and it is the authors of entries that `proposers` names (docs/adr/017).
    """

    adopts: bool = True
    proposers: frozenset[bytes] = frozenset()
    prefix: str = ""
    topics_max: int = TOPICS_MAX
    ordered: bool = False


Policies = Callable[[str], TopicPolicy]
"""Policies(topic) -> the policy of its longest matching prefix."""


def open_to_all(topic: str) -> TopicPolicy:
    """Give every topic the open, adopting policy."""
    return TopicPolicy()
