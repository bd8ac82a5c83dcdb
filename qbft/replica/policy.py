"""Who may propose for a topic, and which inputs its engines take (DESIGN, who may propose)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicPolicy:
    """The rules of one topic prefix.

    `adopts`: a node without an input of its own takes the first authorised proposal it sees; else
    it proposes only what its own clients gave it. `proposers` are the public keys of those who may
    propose; empty means anyone, so that a faulty node may choose the values.
    """

    adopts: bool = True
    proposers: frozenset[bytes] = frozenset()


Policies = Callable[[str], TopicPolicy]
"""Policies(topic) -> the policy of its longest matching prefix."""


def open_to_all(topic: str) -> TopicPolicy:
    """Give every topic the open, adopting policy."""
    return TopicPolicy()
