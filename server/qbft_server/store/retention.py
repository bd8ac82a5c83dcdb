"""How long decisions are kept: the operator's policy, and the marks that follow from it (DESIGN).

A policy counts a topic's decisions, or their age; never heights, which any client can make as high
as it likes. What it lets go of is a topic's lowest heights, and the low-water mark is the first
height that stays. Nothing is deleted before its mark is journaled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

SLACK_PARTS = 16
"""A mark moves when one part in so many is too much, so that it does not move at each decision."""

SLACK_MAX = 1_024
"""Decisions that a topic may have beyond its rule before its mark moves."""

TOPICS_PER_PASS_MAX = 64
"""Topics whose oldest decisions are looked at for their age in one pass."""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What is kept of every topic that begins with `prefix`.

    Its `keep_decisions` highest decided heights, and whatever is not older than `keep_seconds`;
    where both are given, a decision goes when neither keeps it.
    """

    prefix: str
    keep_decisions: int | None = None
    keep_seconds: int | None = None

    def spare(self, count: int) -> int:
        """How many decisions of a topic that has so many need not be kept for their number."""
        if self.keep_decisions is None:
            return count
        return max(count - self.keep_decisions, 0)

    def is_due(self, count: int) -> bool:
        """Whether a topic with so many decisions has enough to spare to be worth a look."""
        if self.keep_decisions is None:
            return False
        slack = min(self.keep_decisions // SLACK_PARTS, SLACK_MAX)
        return self.spare(count) > slack


def choose_mark(
    rule: RetentionRule,
    rows: Sequence[tuple[int, int]],
    *,
    spare: int,
    now_s: int,
    undecided_min: int | None,
) -> int | None:
    """The mark up to which a topic's lowest decisions may go; None where none may.

    `rows` are (height, second it was stored) of the lowest heights; the last one stays, whatever it
    is, for what is above it is not known. `undecided_min` is the lowest height that must not be
    passed.
    """
    gone = 0
    for height, stored_s in rows[:-1]:
        is_young = rule.keep_seconds is not None and stored_s > now_s - rule.keep_seconds
        is_held = undecided_min is not None and height >= undecided_min
        if gone >= spare or is_young or is_held:
            break
        gone += 1
    if not gone:
        return None
    mark = rows[gone][0]
    return mark if undecided_min is None else min(mark, undecided_min)


class Retention:
    """The rules, and which topics are to be looked at next."""

    def __init__(self, rules: Iterable[RetentionRule] = ()) -> None:
        self._rules = sorted(rules, key=lambda rule: -len(rule.prefix))
        self._counts: dict[str, int] = {}
        self._due: dict[str, None] = {}
        self._by_age: deque[str] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether everything is kept for ever."""
        return not self._rules

    def rule_of(self, topic: str) -> RetentionRule | None:
        """The rule of the longest prefix that the topic has; None keeps it for ever."""
        return next((rule for rule in self._rules if topic.startswith(rule.prefix)), None)

    def count(self, topic: str) -> int:
        """How many decisions of the topic are stored."""
        return self._counts.get(topic, 0)

    def spare_of(self, topic: str) -> int:
        """How many decisions of the topic need not be kept for their number."""
        rule = self.rule_of(topic)
        return rule.spare(self.count(topic)) if rule is not None else 0

    def add(self, topic: str, count: int) -> None:
        """Take note of so many more stored decisions of a topic, or of fewer."""
        known = self._counts.get(topic)
        if known is None:
            rule = self.rule_of(topic)
            if rule is None:
                return
            known = 0
            if rule.keep_seconds is not None and rule.keep_decisions is None:
                self._by_age.append(topic)
        self._counts[topic] = known + count
        rule = self.rule_of(topic)
        if rule is not None and rule.is_due(known + count):
            self._due[topic] = None

    def next_topics(self) -> list[str]:
        """Some topics to look at now: with too many decisions, and others for their age.

        One that still has too many afterwards, because something is in the way, is due again when
        it is added to, or by `add` of nothing.
        """
        due = list(islice(self._due, TOPICS_PER_PASS_MAX))
        for topic in due:
            del self._due[topic]
        for _ in range(min(len(self._by_age), TOPICS_PER_PASS_MAX)):
            due.append(self._by_age[0])
            self._by_age.rotate(-1)
        return due
