"""Judges a history: what a cluster promised, and whether it was kept. Pure: no clock, no network.

Promises: one value for an instance, whoever tells it; a value that a client proposed; a certificate
that proves it; a decision once told is never lost nor changed, on no node, and a node that has told
it goes on telling it; readers of a topic get every height, in order, and in the end all that is
decided; followers of a node's order get every decision once, whatever cursors they come with;
entries of an ordered topic stand where that was told, once (`log_checker`); after the faults have
ended every open instance is decided within a bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from qbft.core import InstanceId
from qbft_server.chaos.history import (
    Acknowledged,
    Appending,
    Conditions,
    Entered,
    Event,
    Followed,
    Listed,
    Misbehaved,
    NotDecided,
    Proposed,
    Reading,
    Replayed,
    Told,
    Watched,
    Watching,
    Wiped,
)
from qbft_server.chaos.log_checker import LogChecker

VIOLATIONS_KEPT_MAX = 100
"""Violations of a chaos run that are described; all are counted."""

Bound = Callable[[float, int], float]
"""From an instance's age when it could go on, and how many nodes are down, to seconds."""


class Promise(StrEnum):
    """What may be broken."""

    AGREEMENT = "agreement"
    VALIDITY = "validity"
    CERTIFICATE = "certificate"
    NOTHING_LOST = "nothing lost"
    READS = "reads"
    WATCH = "watch by height"
    FOLLOW = "watch of all"
    LOG = "ordered topic"
    RECOVERY = "recovery"
    NODES = "nodes"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, when by the history's clock, and what was seen."""

    at: float
    promise: Promise
    seen: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The first time that an instance's decision was told."""

    at: float
    value: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """An open instance that has to be decided by then.

    `since` is when it could go on, and `down` how many nodes were still away then.
    """

    since: float
    until: float
    down: int


class Checker:
    """Sees the events in the order in which they became known; `violations` grows as they come.

    Args:
        nodes: how many there are; each has to give back everything at the end.
        bound: how long an open instance may take once it can go on.
    """

    def __init__(self, nodes: int, bound: Bound) -> None:
        self.violations: list[Violation] = []
        self.violations_count = 0
        self.decided: dict[InstanceId, Decided] = {}
        self.reply_times: list[float] = []
        self.worst_recovery_of: dict[int, float] = {}
        self.recoveries = 0
        self.reads = 0
        self._nodes = nodes
        self._bound = bound
        self._proposed: defaultdict[InstanceId, set[bytes]] = defaultdict(set)
        self._open: dict[InstanceId, float] = {}
        self._due: dict[InstanceId, Due] = {}
        self._recovering: set[InstanceId] = set()
        self._is_able = False
        self._down = 0
        self._known: list[dict[InstanceId, float]] = [{} for _ in range(nodes)]
        self._topics: list[defaultdict[str, dict[int, float]]] = [
            defaultdict(dict) for _ in range(nodes)
        ]
        self._due_to: dict[str, InstanceId] = {}
        self._told_behind: set[str] = set()
        self._followed: list[list[InstanceId]] = [[] for _ in range(nodes)]
        self._follower_has: list[set[InstanceId]] = [set() for _ in range(nodes)]
        self._replayed: set[int] = set()
        self.log = LogChecker(lambda at, seen: self._violated(at, Promise.LOG, seen))

    @property
    def worst_recovery_s(self) -> float:
        """The longest that an instance took once things could go on, however many nodes were down.

        `worst_recovery_of` has it by how many were: the bound grows with them.
        """
        return max(self.worst_recovery_of.values(), default=0.0)

    @property
    def open_instances(self) -> int:
        """How many were proposed and of no one it is known that they are decided."""
        return len(self._open)

    @property
    def is_recovered(self) -> bool:
        """Whether all is decided that was open when things could go on again."""
        return not self._recovering

    def overdue(self, now: float) -> bool:
        """Whether an instance that is still open should have been decided before now."""
        return any(due.until < now for due in self._due.values())

    @property
    def has_readers_behind(self) -> bool:
        """Whether a reader, by height or of the ordered topic, has not got all that there is."""
        return bool(self._behind() or self.log.behind())

    def followed(self, node: int) -> int:
        """How many decisions the follower of a node has got since its last wipe."""
        return len(self._followed[node])

    def see(self, event: Event) -> None:  # noqa: C901 - one case for each kind of event
        """Take one event."""
        match event:
            case Proposed():
                self._propose(event)
            case Told():
                self._told(event)
            case NotDecided():
                self._not_decided(event)
            case Listed():
                self._listed(event)
            case Watching():
                self._due_to[event.reader] = InstanceId(event.topic, 0)
            case Watched():
                self._watch(event)
            case Followed():
                self._follow(event)
            case Appending() | Acknowledged() | Reading() | Entered():
                self.log.see(event)
            case Replayed():
                self._replay(event)
            case Wiped():
                self._wipe(event.node)
            case Conditions():
                self._conditions(event)
            case Misbehaved():
                self._violated(event.at, Promise.NODES, event.what)
            case _:
                assert_never(event)

    def settle(self, at: float) -> None:
        """The time is over in which every reader has to get what there is; each is told of once."""
        self.log.settle(at)
        for reader, due in self._behind().items():
            if reader not in self._told_behind:
                self._told_behind.add(reader)
                self._violated(
                    at, Promise.WATCH, f"reader {reader} did not get {due}, which is decided"
                )

    def finish(self, at: float) -> None:
        """The history ends: all nodes have to have given everything back, and nothing is open.

        Nor has any reader stopped before the first height of its topic that is not decided.
        """
        self.settle(at)
        self.log.finish(at)
        for node in range(self._nodes):
            if node not in self._replayed:
                self._violated(at, Promise.NOTHING_LOST, f"node {node} gave nothing back")
        for instance, due in self._due.items():
            self._violated(at, Promise.RECOVERY, f"{instance} was never decided{_since(due)}")
        for instance in self._open.keys() - self._due.keys():
            self._violated(at, Promise.RECOVERY, f"{instance} was never decided")

    # --- decisions --------------------------------------------------------------------------------

    def _propose(self, event: Proposed) -> None:
        self._proposed[event.instance].add(event.value)
        if event.instance in self.decided or event.instance in self._open:
            return
        self._open[event.instance] = event.at
        if self._is_able:
            self._is_due(event.instance, event.at)

    def _told(self, event: Told) -> None:
        instance, value = event.instance, event.value
        where = "a client" if event.by is None else f"node {event.by}"
        if event.flaw is not None:
            self._violated(event.at, Promise.CERTIFICATE, f"{instance} by {where}: {event.flaw}")
        known = self.decided.setdefault(instance, Decided(event.at, value))
        if known.value != value:
            self._violated(
                event.at,
                Promise.AGREEMENT,
                f"{instance} was {known.value!r}, told {event.at - known.at:.1f} s earlier, "
                f"and is {value!r} by {where}",
            )
        is_wanted = event.is_batch or value in self._proposed.get(instance, ())
        if known.at == event.at and not is_wanted:
            self._violated(event.at, Promise.VALIDITY, f"{instance} is {value!r}: never proposed")
        if event.is_reply:
            self.reply_times.append(event.at)
        else:
            self.reads += 1
        if event.by is not None:
            self._known[event.by].setdefault(instance, event.at)
            self._topics[event.by][instance.topic].setdefault(instance.height, event.at)
        self._is_decided(instance, event.at)

    def _not_decided(self, event: NotDecided) -> None:
        self.reads += 1
        told_at = self._known[event.node].get(event.instance)
        if told_at is not None and told_at < event.began:
            self._violated(
                event.at,
                Promise.READS,
                f"node {event.node} has no decision of {event.instance}, "
                f"which it told {event.at - told_at:.1f} s earlier",
            )

    def _listed(self, event: Listed) -> None:
        told = self._topics[event.node][event.topic]
        missing = [
            height
            for height, at in told.items()
            if at < event.began
            and height not in event.heights
            and height >= event.start
            and (event.end is None or height <= event.end)
        ]
        if missing:
            self._violated(
                event.at,
                Promise.READS,
                f"node {event.node} lists {event.topic} without {sorted(missing)[:5]}, "
                "which it told before",
            )

    # --- streams ----------------------------------------------------------------------------------

    def _watch(self, event: Watched) -> None:
        instance = event.instance
        due = self._due_to.get(event.reader, InstanceId(instance.topic, 0))
        if instance != due:
            self._violated(
                event.at,
                Promise.WATCH,
                f"reader {event.reader} got {instance} where {due} is due",
            )
        self._due_to[event.reader] = InstanceId(instance.topic, instance.height + 1)

    def _behind(self) -> dict[str, InstanceId]:
        """By reader, what it should have got next, for it is decided."""
        return {reader: due for reader, due in self._due_to.items() if due in self.decided}

    def _follow(self, event: Followed) -> None:
        node, instance = event.node, event.instance
        if instance in self._follower_has[node]:
            self._violated(
                event.at, Promise.FOLLOW, f"the follower of node {node} got {instance} twice"
            )
            return
        self._follower_has[node].add(instance)
        self._followed[node].append(instance)

    def _replay(self, event: Replayed) -> None:
        """All that anybody was ever told must be there; and what was followed must be its head."""
        node, order = event.node, event.instances
        self._replayed.add(node)
        whole = set(order)
        lost = [instance for instance in self.decided if instance not in whole]
        for instance in lost:
            self._violated(
                event.at, Promise.NOTHING_LOST, f"node {node} does not have {instance} at the end"
            )
        if len(whole) != len(order):
            self._violated(event.at, Promise.FOLLOW, f"node {node} has an instance twice")
        followed = self._followed[node]
        for place, (live, later) in enumerate(zip(followed, order, strict=False)):
            if live != later:
                self._violated(
                    event.at,
                    Promise.FOLLOW,
                    f"the follower of node {node} got {live} at place {place}, where {later} is",
                )
                break
        if len(followed) != len(order):
            self._violated(
                event.at,
                Promise.FOLLOW,
                f"node {node} gave its follower {len(followed)} decisions and has {len(order)}",
            )

    def _wipe(self, node: int) -> None:
        self._known[node].clear()
        self._topics[node].clear()
        self._followed[node].clear()
        self._follower_has[node].clear()

    # --- recovery ---------------------------------------------------------------------------------

    def _conditions(self, event: Conditions) -> None:
        """Each time that things can go on after they could not, or less well, the clock starts."""
        for instance in [i for i, due in self._due.items() if due.until < event.at]:
            self._overdue(instance, event.at)
        is_worse = event.down > self._down or not event.is_able
        was_able, self._is_able, self._down = self._is_able, event.is_able, event.down
        if is_worse or not was_able:
            self._due.clear()
            self._recovering = set(self._open) if self._is_able else set()
        if self._is_able:
            for instance in self._open:
                if instance not in self._due:
                    self._is_due(instance, event.at)

    def _overdue(self, instance: InstanceId, at: float) -> None:
        due = self._due.pop(instance)
        self._recovering.discard(instance)
        text = f"{instance} was not decided in {at - due.since:.1f} s{_since(due)}"
        self._violated(at, Promise.RECOVERY, text)

    def _is_due(self, instance: InstanceId, at: float) -> None:
        age = at - self._open[instance]
        self._due[instance] = Due(at, at + self._bound(age, self._down), self._down)

    def _is_decided(self, instance: InstanceId, at: float) -> None:
        opened = self._open.pop(instance, None)
        due = self._due.pop(instance, None)
        if due is None or opened is None:
            return
        if instance in self._recovering:
            self._recovering.discard(instance)
            self.recoveries += 1
            worst = max(self.worst_recovery_of.get(due.down, 0.0), at - due.since)
            self.worst_recovery_of[due.down] = worst
        if at > due.until:
            self._violated(
                at, Promise.RECOVERY, f"{instance} took {at - due.since:.1f} s{_since(due)}"
            )

    def _violated(self, at: float, promise: Promise, seen: str) -> None:
        self.violations_count += 1
        if len(self.violations) < VIOLATIONS_KEPT_MAX:
            self.violations.append(Violation(at, promise, seen))


def _since(due: Due) -> str:
    return f" since it could go on, and {due.until - due.since:.1f} s were allowed"
