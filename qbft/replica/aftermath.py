"""After a decision: who still needs to hear of it (HARDENING U1, U2).

The engine is retired when it has decided; the store answers. Nothing is pushed at the decision
itself: a peer whose COMMIT has not come a little later gets one certificate, and so does whoever
sends anything that shows it does not know. Each peer has a queue and its turn, for a liar that
never sends a COMMIT is late in every instance, and would have the honest ones wait behind it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qbft.core import InstanceId, Message, MessageType
from qbft.decision import Decision
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_instance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer, TokenBucket
from qbft.replica.protocols import DecisionStore

_HARMLESS = frozenset({MessageType.PRE_PREPARE, MessageType.PREPARE, MessageType.COMMIT})


@dataclass(slots=True)
class _Late:
    """A decision just made; when a peer whose COMMIT has not come is told of it."""

    due_ms: int
    decision: Decision


class Aftermath:
    """Recent decisions, and the peers that have not shown yet that they will decide too."""

    def __init__(
        self,
        peers: Mapping[int, Peer],
        store: DecisionStore,
        limits: ReplicaLimits,
        outbox: Outbox,
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._peers = peers
        self._store = store
        self._limits = limits
        self._outbox = outbox
        self._late = {peer: OrderedDict[InstanceId, _Late]() for peer in sorted(peers)}
        self._late_max = max(1, limits.recent_decisions_max // max(1, len(peers)))
        self._turns = deque(self._late)
        self._recent: OrderedDict[InstanceId, tuple[int, object]] = OrderedDict()
        self._pace = TokenBucket(limits.late_burst_max, 1 / limits.late_every_ms)
        self._paused_until_ms = 0

    def settle(self, decision: Decision, now_ms: int, silent: Iterable[int]) -> None:
        """Remember a decision; for a moment also the peers whose COMMIT has not come."""
        instance = as_instance(decision.instance)
        certificate = decision.certificate
        self._recent[instance] = (certificate.round, certificate.value)
        if len(self._recent) > self._limits.recent_decisions_max:
            self._recent.popitem(last=False)
        late = _Late(now_ms + self._limits.late_commit_ms, decision)
        for peer in silent:
            queue = self._late[peer]
            queue[instance] = late
            if len(queue) > self._late_max:
                queue.popitem(last=False)

    def is_late(self, sender: int, vote: Message) -> bool:
        """Whether this is one more vote for a recent decision, which needs nothing.

        No signature is needed to know it. A COMMIT tells that its source will decide too, where the
        source sent it itself.
        """
        instance = as_instance(vote.instance)
        known = self._recent.get(instance)
        if known is None or vote.type not in _HARMLESS or known != (vote.round, vote.value):
            return False
        if vote.type is MessageType.COMMIT and vote.source == sender:
            self._late[sender].pop(instance, None)
        return True

    def is_recent(self, instance: InstanceId) -> bool:
        """Whether the instance was decided not long ago."""
        return instance in self._recent

    def hear(self, sender: int, vote: Message, now_ms: int) -> None:
        """Take a vote of a decided instance: answer it where its sender seems not to know."""
        if self.is_late(sender, vote):
            return
        if not self._peers[sender].answers.take(now_ms):
            self._bites.note(Bound.ANSWER_BURST_MAX, sender)
            return
        decision = self._store.get(as_instance(vote.instance))
        if decision is None:
            return
        certificate = decision.certificate
        if vote.type not in _HARMLESS or (vote.round, vote.value) != (
            certificate.round,
            certificate.value,
        ):
            self._outbox.to(sender).certificates.append(certificate)

    @property
    def next_due_ms(self) -> int | None:
        """When the next peer is told of a recent decision."""
        due = [_first(queue).due_ms for queue in self._late.values() if queue]
        return max(min(due), self._paused_until_ms) if due else None

    def run_due(self, now_ms: int) -> None:
        """Send each peer, in its turn, a certificate, without value, of what it stayed silent in.

        So many in a time: where all are late because all are busy, certificates would only make it
        worse. What waits meanwhile may turn out not to be needed, and a peer that needs it asks.
        """
        if now_ms < self._paused_until_ms:
            return
        idle = 0
        while idle < len(self._turns):
            peer = self._turns[0]
            queue = self._late[peer]
            if not queue or _first(queue).due_ms > now_ms:
                idle += 1
            elif self._pace.take(now_ms):
                idle = 0
                _, late = queue.popitem(last=False)
                self._outbox.to(peer).certificates.append(late.decision.certificate)
            else:
                self._paused_until_ms = now_ms + self._limits.late_commit_ms
                self._bites.note(Bound.LATE_BURST_MAX)
                return
            self._turns.rotate(-1)


def _first(queue: OrderedDict[InstanceId, _Late]) -> _Late:
    return next(iter(queue.values()))
