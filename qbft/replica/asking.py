"""Asking for what is missing here: bytes of values, decisions, votes that were dropped (U3).

Of each thing one peer at a time is asked, and after a while the next one, so that a large value
does not come from everybody at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from qbft.core import InstanceId, Message, MessageType
from qbft.replica.bounds import Bites, Bound
from qbft.replica.conclusions import Conclusions
from qbft.replica.held import HeldVotes
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_digest
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer

LEFT_TICKS = 4
"""So many ticks pass between two questions about instances in which this node does not vote."""


class Asking:
    """What this node lacks, and whom it has asked for it.

    `reject` counts what was refused of a peer's messages for want of budget; `touch` has an
    instance looked at, at the end of the turn, of which the application is to be asked again.
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        opens: Mapping[InstanceId, OpenInstance],
        held: HeldVotes,
        conclusions: Conclusions,
        *,
        limits: ReplicaLimits,
        outbox: Outbox,
        reject: Callable[[str, int], None],
        touch: Callable[[OpenInstance], None],
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._peers = peers
        self._opens = opens
        self._held = held
        self._bare = conclusions.bare
        self._limits = limits
        self._outbox = outbox
        self._reject = reject
        self._touch = touch
        self._incomplete: dict[InstanceId, OpenInstance] = {}
        self._left: dict[InstanceId, None] = {}
        self._asked: OrderedDict[tuple[InstanceId, bytes], int] = OrderedDict()
        self._ticks = 0

    def begin(self, peer: Peer) -> None:
        """Ask a peer about every open instance: it may have decided them meanwhile (K19)."""
        peer.to_ask = deque(self._opens)
        self._go_on(peer)

    def note(self, opened: OpenInstance) -> None:
        """Note whether an instance lacks something, so that the tick asks for it."""
        if opened.is_incomplete:
            self._incomplete[opened.instance] = opened
        elif self._incomplete:
            self._incomplete.pop(opened.instance, None)

    def forget(self, instance: InstanceId) -> None:
        """Ask for nothing of an instance that has closed."""
        self._incomplete.pop(instance, None)

    def leave(self, instance: InstanceId) -> None:
        """Ask now and then how an instance was decided in which this node does not vote (W7).

        Its peers may hold a vote of it there, from before votes were lost: they decide with that
        vote, and take it for one that needs no certificate.
        """
        self._left[instance] = None

    @property
    def left(self) -> int:
        """In how many instances that are undecided, for all that is known, it does not vote."""
        return len(self._left)

    def found(self, instance: InstanceId) -> None:
        """Ask no more how an instance was decided."""
        self._left.pop(instance, None)

    def for_decision(self, peer: int, instance: InstanceId) -> None:
        """Ask a peer for a decision, or for how the instance stands there."""
        self._outbox.to(peer).wanted_decisions[instance] = None

    def for_progress(self, opened: OpenInstance) -> None:
        """Ask a peer, each time another, whether an instance that got stuck is decided (U3)."""
        if self._peers:
            peers = sorted(self._peers)
            self.for_decision(peers[opened.next_asked % len(peers)], opened.instance)
            opened.next_asked += 1

    def for_value(self, instance: InstanceId, digest: bytes, peer: int, now_ms: int) -> None:
        """Ask a peer for a value's bytes, unless somebody has just been asked for them."""
        key = (instance, digest)
        if self._asked.get(key, 0) > now_ms:
            return
        self._asked[key] = now_ms + self._limits.resend_ms
        self._asked.move_to_end(key)
        if len(self._asked) > self._limits.asked_values_max:
            _, until_ms = self._asked.popitem(last=False)
            if until_ms > now_ms:
                self._bites.note(Bound.ASKED_VALUES_MAX)
        self._outbox.to(peer).wanted_values[key] = None

    def for_value_of(self, opened: OpenInstance, sender: int, vote: Message, now_ms: int) -> None:
        """Ask for the bytes that a vote waits for: one that PREPAREd the value, else its sender."""
        value = vote.value if vote.value is not None else vote.prepared_value
        if isinstance(value, bytes) and value in opened.awaited:
            signers = [index for index in _signers(vote) if index in self._peers]
            self.for_value(opened.instance, value, signers[0] if signers else sender, now_ms)

    def for_value_in_turn(
        self, instance: InstanceId, digest: bytes, peers: Iterable[int], now_ms: int
    ) -> None:
        """Ask one of these peers for a value's bytes, at each tick another."""
        askable = sorted(self._peers.keys() & peers)
        if askable:
            self.for_value(instance, digest, askable[self._ticks % len(askable)], now_ms)

    def tick(
        self,
        now_ms: int,
        may_open: Callable[[int], bool],
        is_concluded: Callable[[InstanceId], bool],
    ) -> None:
        """Ask again; bounded, whatever is open: the next tick goes on where this one stops.

        `may_open(peer)` tells whether that peer's votes could open an instance now.
        """
        self._ticks += 1
        if self._ticks % LEFT_TICKS == 0:
            self._ask_about_left(is_concluded)
        for peer in self._peers.values():
            self._go_on(peer)
            if may_open(peer.index):
                for instance in self._held.missed_of(peer.index, self._limits.wanted_per_frame_max):
                    self.for_decision(peer.index, instance)
        if max(len(self._incomplete), len(self._bare)) > self._limits.tick_instances_max:
            self._bites.note(Bound.TICK_INSTANCES_MAX)
        for instance in list(islice(self._incomplete, self._limits.tick_instances_max)):
            opened = self._incomplete.pop(instance)
            self._complete(opened, now_ms)
            self.note(opened)
        for instance in list(islice(self._bare, self._limits.tick_instances_max)):
            entry = self._bare.pop(instance)
            self._bare[instance] = entry
            digest = as_digest(entry.certificate.value)
            self.for_value_in_turn(instance, digest, self._peers, now_ms)

    def _ask_about_left(self, is_concluded: Callable[[InstanceId], bool]) -> None:
        """Ask one peer, each time another, about some of the instances that were left."""
        if not self._peers:
            return
        peers = sorted(self._peers)
        peer = peers[self._ticks // LEFT_TICKS % len(peers)]
        for instance in list(islice(self._left, self._limits.wanted_per_frame_max)):
            del self._left[instance]
            if not is_concluded(instance):
                self._left[instance] = None
                self.for_decision(peer, instance)

    def _complete(self, opened: OpenInstance, now_ms: int) -> None:
        for peer in sorted(opened.lacking):
            self._reject("kept_budget", peer)
            self.for_decision(peer, opened.instance)
        opened.lacking.clear()
        if opened.checks.pending:
            opened.checks.ask_again()
            self._touch(opened)
        for digest in opened.awaited.digests():
            askable = {
                index
                for sender, message in opened.awaited.of(digest)
                for index in (sender, message.source, *_signers(message))
            }
            self.for_value_in_turn(opened.instance, digest, askable, now_ms)

    def _go_on(self, peer: Peer) -> None:
        for _ in range(min(len(peer.to_ask), self._limits.wanted_per_frame_max)):
            instance = peer.to_ask.popleft()
            if instance in self._opens:
                self.for_decision(peer.index, instance)


def _signers(message: Message) -> list[int]:
    """Who PREPAREd what a message shows to be prepared: they have the bytes (DESIGN, values)."""
    return sorted(
        nested.source for nested in message.justification if nested.type is MessageType.PREPARE
    )
