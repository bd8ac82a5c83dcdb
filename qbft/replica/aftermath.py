"""After a decision: who still needs to hear of it (HARDENING U1, U2).

The engine is retired when it has decided; the store answers. Nothing is pushed at the decision
itself: a peer whose COMMIT has not come a little later gets one certificate, and so does whoever
sends anything that shows it does not know.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from qbft.core import InstanceId, Message, MessageType
from qbft.decision import Decision
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_instance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer

_HARMLESS = frozenset({MessageType.PRE_PREPARE, MessageType.PREPARE, MessageType.COMMIT})


@dataclass(slots=True)
class _Settled:
    due_ms: int
    decision: Decision
    silent: set[int]


class Aftermath:
    """Recent decisions, and the peers that have not shown yet that they will decide too."""

    def __init__(self, peers: dict[int, Peer], limits: ReplicaLimits, outbox: Outbox) -> None:
        self._peers = peers
        self._limits = limits
        self._outbox = outbox
        self._queue: deque[_Settled] = deque()
        self._recent: dict[InstanceId, _Settled] = {}

    def settle(self, instance: InstanceId, decision: Decision, now_ms: int) -> None:
        """Remember a decision for a moment; whose COMMIT it holds needs nothing."""
        committed = {commit.source for commit in decision.certificate.commits}
        settled = _Settled(
            now_ms + self._limits.late_commit_ms, decision, set(self._peers) - committed
        )
        self._queue.append(settled)
        self._recent[instance] = settled

    def hear(self, sender: int, vote: Message, decision: Decision, now_ms: int) -> None:
        """Take a vote of a decided instance: answer it where its sender seems not to know."""
        agrees = (
            vote.type in _HARMLESS
            and vote.round == decision.certificate.round
            and vote.value == decision.certificate.value
        )
        if not agrees:
            if self._peers[sender].answers.take(now_ms):
                self._outbox.to(sender).certificates.append(decision.certificate)
        elif vote.type is MessageType.COMMIT:
            settled = self._recent.get(as_instance(decision.instance))
            if settled is not None:
                settled.silent.discard(vote.source)

    @property
    def next_due_ms(self) -> int | None:
        """When the oldest recent decision is looked at."""
        return self._queue[0].due_ms if self._queue else None

    def run_due(self, now_ms: int) -> None:
        """Send one certificate, without value, to each peer that stayed silent."""
        while self._queue and self._queue[0].due_ms <= now_ms:
            settled = self._queue.popleft()
            del self._recent[as_instance(settled.decision.instance)]
            for peer in sorted(settled.silent):
                self._outbox.to(peer).certificates.append(settled.decision.certificate)
