"""Votes for instances that are not open here: bounded, by who sent them (DESIGN, opening).

A liar spends only its own buffer: the oldest of the same sender makes room for its newest.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from qbft.core import InstanceId, Message, MessageType
from qbft.replica.collector import CommitCollector
from qbft.replica.limits import ReplicaLimits


class HeldVotes:
    """What waits for its instance to open, and what of it can open or decide it."""

    def __init__(self, quorum: int, limits: ReplicaLimits) -> None:
        self._quorum = quorum
        self._limits = limits
        self._of_instance: dict[InstanceId, deque[tuple[int, Message]]] = {}
        self._of_sender: dict[int, deque[InstanceId]] = {}
        self._collectors: OrderedDict[InstanceId, CommitCollector] = OrderedDict()
        self.dropped: set[int] = set()

    def add(self, sender: int, instance: InstanceId, vote: Message) -> None:
        """Hold a verified vote; the sender's oldest goes where it holds too many."""
        order = self._of_sender.setdefault(sender, deque())
        if len(order) >= self._limits.held_votes_per_peer_max:
            self._drop_oldest(sender, order)
        order.append(instance)
        self._of_instance.setdefault(instance, deque()).append((sender, vote))
        if vote.type is MessageType.COMMIT:
            collector = self._collectors.setdefault(instance, CommitCollector(self._quorum))
            collector.add(vote)
            if len(self._collectors) > self._limits.held_collectors_max:
                self._collectors.popitem(last=False)

    def _drop_oldest(self, sender: int, order: deque[InstanceId]) -> None:
        """Drop the sender's oldest vote that is still held."""
        self.dropped.add(sender)
        while order:
            instance = order.popleft()
            held = self._of_instance.get(instance, deque())
            for entry in held:
                if entry[0] == sender:
                    held.remove(entry)
                    if not held:
                        self.forget(instance)
                    return

    def commit_quorum(self, instance: InstanceId) -> tuple[Message, ...]:
        """A quorum of held COMMITs of one round and value, or nothing."""
        collector = self._collectors.get(instance)
        return collector.quorum_outside(None) if collector is not None else ()

    def round_change_sources(self, instance: InstanceId) -> int:
        """How many validators want another round of it: F+1 of them open it."""
        held = self._of_instance.get(instance, ())
        return len({vote.source for _, vote in held if vote.type is MessageType.ROUND_CHANGE})

    def release(self, instance: InstanceId) -> list[tuple[int, Message]]:
        """Give (sender, vote) of the instance, in order of arrival, and hold them no more."""
        held = self._of_instance.get(instance, ())
        self.forget(instance)
        return list(held)

    def forget(self, instance: InstanceId) -> None:
        """Hold nothing of the instance any more."""
        self._of_instance.pop(instance, None)
        self._collectors.pop(instance, None)

    def __len__(self) -> int:
        return sum(map(len, self._of_instance.values()))
