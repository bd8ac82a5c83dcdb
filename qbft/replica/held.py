"""Votes for instances that are not open here: bounded, by who sent them (DESIGN, opening).

A liar spends only its own buffer: the oldest of the same sender makes room for its newest, and a
copy of what the sender has here already takes no further place (HARDENING U9). What was dropped is
remembered, so that the sender can be asked for it when the instance opens.
"""

from __future__ import annotations

from collections import OrderedDict

from qbft.core import InstanceId, Message, MessageType, Value
from qbft.replica.bounds import Bites, Bound
from qbft.replica.budget import cost_of
from qbft.replica.limits import ReplicaLimits
from qbft.replica.waiting import Slot, slot_of

Place = tuple[InstanceId, Slot]
Copy = tuple[int, Slot]
"""Whose copy of a vote it is, and the vote's content."""


class HeldVotes:
    """What waits for its instance to open, and what of it can open or decide it."""

    def __init__(self, quorum: int, limits: ReplicaLimits, bites: Bites | None = None) -> None:
        self._quorum = quorum
        self._bites = bites or Bites()
        self._limits = limits
        self._instances: dict[InstanceId, _Unopened] = {}
        self._buffers: dict[int, _Buffer] = {}
        self._by_source: dict[int, dict[InstanceId, dict[Copy, Message]]] = {}

    def add(self, sender: int, instance: InstanceId, vote: Message) -> int:
        """Hold a verified vote; the sender's oldest go where it holds too much. Gives how many."""
        limits, dropped = self._limits, 0
        buffer = self._buffer_of(sender)
        slot, cost = slot_of(vote), cost_of(vote)
        place, copy = (instance, slot), (sender, slot)
        if place in buffer.places:
            self._drop(sender, buffer, place)
        buffer.places[place] = cost
        buffer.size += cost
        unopened = self._instances.get(instance)
        if unopened is None:
            unopened = self._instances[instance] = _Unopened()
        unopened.add(copy, vote)
        instances = self._by_source.setdefault(vote.source, {})
        copies = instances.get(instance)
        if copies is None:
            copies = instances[instance] = {}
        copies[copy] = vote
        while (
            is_many := len(buffer.places) > limits.held_votes_per_peer_max
        ) or buffer.size > limits.held_bytes_per_peer_max:
            oldest = next(iter(buffer.places))
            self._miss(sender, buffer, oldest[0])
            self._drop(sender, buffer, oldest)
            dropped += 1
            self._bites.note(
                Bound.HELD_VOTES_PER_PEER_MAX if is_many else Bound.HELD_BYTES_PER_PEER_MAX, sender
            )
        return dropped

    def miss(self, sender: int, instance: InstanceId) -> None:
        """Note that something of the instance was dropped that this peer sent."""
        self._miss(sender, self._buffer_of(sender), instance)

    def _miss(self, sender: int, buffer: _Buffer, instance: InstanceId) -> None:
        if not buffer.miss(instance, self._limits.missed_instances_per_peer_max):
            self._bites.note(Bound.MISSED_INSTANCES_PER_PEER_MAX, sender)

    def commit_quorum(
        self, instance: InstanceId, round_: int, value: Value | None
    ) -> tuple[Message, ...]:
        """A quorum of held COMMITs of this round and value, by source, or nothing."""
        unopened = self._instances.get(instance)
        commits = unopened.commits.get((round_, value), {}) if unopened is not None else {}
        if len(commits) < self._quorum:
            return ()
        return tuple(next(iter(commits[source].values())) for source in sorted(commits))

    def round_change_sources(self, instance: InstanceId) -> int:
        """How many validators want another round of it: F+1 of them open it."""
        unopened = self._instances.get(instance)
        return len(unopened.round_changes) if unopened is not None else 0

    def has_pre_prepare(self, source: int, instance: InstanceId) -> bool:
        """Whether a PRE-PREPARE of the first round is held of this validator."""
        unopened = self._instances.get(instance)
        return unopened is not None and source in unopened.proposers

    def instances_of(self, source: int) -> dict[InstanceId, Message]:
        """The instances in which a vote of this source is held, each with the newest one.

        It costs as much as it gives, whatever is held of others.
        """
        instances = self._by_source.get(source, {})
        return {instance: next(reversed(copies.values())) for instance, copies in instances.items()}

    def sources(self, instance: InstanceId) -> tuple[int, ...]:
        """Whose votes of an instance are held, in ascending order."""
        unopened = self._instances.get(instance)
        votes = unopened.votes.values() if unopened is not None else ()
        return tuple(sorted({vote.source for vote in votes}))

    def miss_all(self) -> None:
        """Note every instance as one that its senders should be asked about."""
        for instance, unopened in self._instances.items():
            for sender in {sender for sender, _ in unopened.votes}:
                self.miss(sender, instance)

    def release(self, instance: InstanceId) -> list[tuple[int, Message]]:
        """Give (sender, vote) of the instance, in order of arrival, and hold them no more."""
        unopened = self._instances.get(instance)
        if unopened is None:
            return []
        self.forget(instance)
        return [(sender, vote) for (sender, _), vote in unopened.votes.items()]

    def forget(self, instance: InstanceId) -> None:
        """Hold nothing of the instance any more."""
        unopened = self._instances.pop(instance, None)
        if unopened is not None:
            buffers = self._buffers
            for sender, slot in unopened.votes:
                buffers[sender].remove((instance, slot))
            for source in {vote.source for vote in unopened.votes.values()}:
                del self._by_source[source][instance]

    def drain_missed(self, instance: InstanceId) -> list[int]:
        """Whom to ask for the instance, for something that they sent was dropped."""
        return [sender for sender in sorted(self._buffers) if self._buffers[sender].ask(instance)]

    def missed_of(self, sender: int, count: int) -> list[InstanceId]:
        """Give, and forget, some of the instances of which this peer sent what was dropped."""
        buffer = self._buffers.get(sender)
        if buffer is None:
            return []
        missed = list(buffer.missed)[:count]
        for instance in missed:
            del buffer.missed[instance]
        return missed

    @property
    def has_missed(self) -> bool:
        """Whether there is anybody to be asked for what was dropped."""
        return any(buffer.missed for buffer in self._buffers.values())

    def forget_missed(self, sender: int) -> None:
        """Forget what was missed of a peer: it sends everything again."""
        buffer = self._buffers.get(sender)
        if buffer is not None:
            buffer.missed.clear()
            buffer.missed_more = False

    def count_of(self, sender: int) -> int:
        """How many votes are held that this peer sent."""
        buffer = self._buffers.get(sender)
        return len(buffer.places) if buffer is not None else 0

    def __contains__(self, instance: object) -> bool:
        return instance in self._instances

    def __len__(self) -> int:
        return sum(len(buffer.places) for buffer in list(self._buffers.values()))

    def _buffer_of(self, sender: int) -> _Buffer:
        buffer = self._buffers.get(sender)
        if buffer is None:
            buffer = self._buffers[sender] = _Buffer()
        return buffer

    def _drop(self, sender: int, buffer: _Buffer, place: Place) -> None:
        buffer.remove(place)
        instance, slot = place
        unopened = self._instances[instance]
        vote = unopened.remove((sender, slot))
        if not unopened.votes:
            del self._instances[instance]
        instances = self._by_source[vote.source]
        copies = instances[instance]
        del copies[sender, slot]
        if not copies:
            del instances[instance]


class _Buffer:
    """What one sender's votes occupy, and what could not be kept of it."""

    def __init__(self) -> None:
        self.places: OrderedDict[Place, int] = OrderedDict()
        self.size = 0
        self.missed: OrderedDict[InstanceId, None] = OrderedDict()
        self.missed_more = False

    def remove(self, place: Place) -> None:
        self.size -= self.places.pop(place)

    def miss(self, instance: InstanceId, count_max: int) -> bool:
        """Note what was dropped; False if the oldest of these notes had to make way."""
        self.missed[instance] = None
        if len(self.missed) <= count_max:
            return True
        self.missed.popitem(last=False)
        self.missed_more = True
        return False

    def ask(self, instance: InstanceId) -> bool:
        """Whether something of this instance was dropped, or may have been."""
        known = instance in self.missed
        if known:
            del self.missed[instance]
        return known or self.missed_more


class _Unopened:
    """One instance's held votes, counted as they come and go."""

    def __init__(self) -> None:
        self.votes: dict[Copy, Message] = {}
        self.commits: dict[tuple[int, Value | None], dict[int, dict[int, Message]]] = {}
        self.round_changes: dict[int, int] = {}
        self.proposers: dict[int, int] = {}
        """How many PRE-PREPAREs of the first round are held of a source."""

    def add(self, copy: Copy, vote: Message) -> None:
        self.votes[copy] = vote
        if vote.type is MessageType.COMMIT:
            sources = self.commits.setdefault((vote.round, vote.value), {})
            sources.setdefault(vote.source, {})[copy[0]] = vote
        elif vote.type is MessageType.ROUND_CHANGE:
            _count(self.round_changes, vote.source, 1)
        elif vote.type is MessageType.PRE_PREPARE and vote.round == 1:
            _count(self.proposers, vote.source, 1)

    def remove(self, copy: Copy) -> Message:
        vote = self.votes.pop(copy)
        if vote.type is MessageType.COMMIT:
            sources = self.commits[vote.round, vote.value]
            del sources[vote.source][copy[0]]
            if not sources[vote.source]:
                del sources[vote.source]
        elif vote.type is MessageType.ROUND_CHANGE:
            _count(self.round_changes, vote.source, -1)
        elif vote.type is MessageType.PRE_PREPARE and vote.round == 1:
            _count(self.proposers, vote.source, -1)
        return vote


def _count(counts: dict[int, int], source: int, more: int) -> None:
    """Count one more or one less; who has none is not in there."""
    counts[source] = counts.get(source, 0) + more
    if not counts[source]:
        del counts[source]
