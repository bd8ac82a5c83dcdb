"""All accounts of an instance side by side, and what follows from them.

What a node wants next follows from Algorithm 2: the leader's PRE-PREPARE, then a quorum of
PREPAREs, then a quorum of COMMITs; and from Algorithm 3 for the leader of a later round, which
wants a quorum of ROUND-CHANGEs first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from qbft.core import MessageType, max_faulty, quorum
from qbft.diagnosis.account import InstanceAccount, InstanceState, NodeAccount, Validators

_OUT = (InstanceState.QUARANTINED, InstanceState.LET_GO, InstanceState.BELOW_MARK)
_DONE = (InstanceState.DECIDED, InstanceState.BARE)


@dataclass(frozen=True, slots=True)
class Want:
    """What a node needs next: votes of a kind, of these validators, of which it has none."""

    kind: MessageType
    missing: Validators


class Situation:
    """What the nodes of a cluster say of one instance.

    `accounts` are of those that answered, `silent` says why others did not. Those of them to which
    a node that answered has its link up are there, and only do not answer whoever asks: they are
    `untold`, as all others are. `round` is the one in which most of those that
    vote are, the highest of several; 0 where none has it open. `is_decided`: some honest node says
    so, or there is a certificate.
    """

    def __init__(
        self,
        accounts: Mapping[int, NodeAccount],
        silent: Mapping[int, str],
        nodes: int,
        *,
        is_proven: bool = False,
    ) -> None:
        self.accounts = dict(sorted(accounts.items()))
        self.why_silent = dict(sorted(silent.items()))
        linked = {p.validator for each in accounts.values() for p in each.peers if p.connected}
        self.silent = tuple(node for node in self.why_silent if node not in linked)
        self.untold = tuple(n for n in range(nodes) if n not in accounts and n not in self.silent)
        self.nodes = nodes
        self.quorum = quorum(nodes)
        self.done = self._in(*_DONE)
        self.is_decided = is_proven or len(self.done) > max_faulty(nodes)
        self.voters = tuple(
            node
            for node, account in self.accounts.items()
            if account.voting and account.about.state not in _OUT
        )
        self.open = tuple(node for node in self._in(InstanceState.OPEN) if node in self.voters)
        rounds = Counter(self.about(node).round for node in self.open)
        self.round = max(rounds, key=lambda round_: (rounds[round_], round_), default=0)
        self.here = tuple(node for node in self.open if self.about(node).round == self.round)

    def about(self, node: int) -> InstanceAccount:
        """What a node that answered says of the instance."""
        return self.accounts[node].about

    @property
    def leader(self) -> int:
        """Who leads the round in which most are, by what most of them say."""
        return Counter(self.about(node).leader for node in self.here).most_common(1)[0][0]

    def may_be_quorum(self, nodes: Validators) -> bool:
        """Whether these could be a quorum, together with those that did not tell."""
        return len(nodes) + len(self.untold) >= self.quorum

    def hears(self, node: int, other: int) -> bool:
        """Whether what `other` says can come to `node`: over the other's own link."""
        return node == other or self.accounts[other].is_linked_to(node)

    def cut(self) -> tuple[tuple[int, int], ...]:
        """(from, to) of every link that is down between nodes that answer."""
        return tuple(
            (teller, node)
            for teller in self.accounts
            for node in self.accounts
            if not self.hears(node, teller)
        )

    def want(self, node: int) -> Want | None:
        """What a node with the instance open needs next; None where that is no vote."""
        about = self.about(node)
        if about.state is not InstanceState.OPEN:
            return None
        if MessageType.COMMIT in about.cast:
            return self._lacking(node, MessageType.COMMIT, about.commits)
        if MessageType.PREPARE in about.cast:
            return self._lacking(node, MessageType.PREPARE, about.prepares)
        if node != about.leader:
            return Want(MessageType.PRE_PREPARE, (about.leader,))
        if about.round > 1 and len(about.round_changes) < self.quorum:
            return self._lacking(node, MessageType.ROUND_CHANGE, about.round_changes)
        return None

    def why_missing(self, node: int, source: int, kind: MessageType) -> str:
        """Why a node lacks a vote of this kind and of its own round from that source."""
        teller = self.accounts.get(source)
        if teller is None:
            return "does not answer" if source in self.silent else "did not tell how it stands"
        if source not in self.voters:
            return "does not vote"
        if teller.about.state is not InstanceState.OPEN:
            return f"has it as {teller.about.state}"
        if teller.about.round != self.about(node).round:
            return f"is in round {teller.about.round}"
        if kind not in teller.about.cast:
            return "has not cast it"
        return self._why_not_here(node, source, kind)

    def _why_not_here(self, node: int, source: int, kind: MessageType) -> str:
        """Why a node lacks a vote that its source has cast."""
        about = self.about(node)
        if kind is MessageType.PRE_PREPARE and source in about.found_invalid_of:
            return "its value is invalid here"
        if not self.hears(node, source):
            return "has cast it, its link is down"
        if source in about.dropped_of:
            return "has cast it, there was no room for its messages"
        if source in about.awaits_bytes_of:
            return "has cast it, it waits for its value"
        if kind is MessageType.PRE_PREPARE and source in about.awaits_check_of:
            return "has cast it, its value is being checked"
        if self.accounts[node].rejects_of(source):
            return "has cast it, it is on its way or lost; messages of it were refused before"
        return "has cast it, it is on its way or lost"

    def _lacking(self, node: int, kind: MessageType, known: Validators) -> Want:
        others = [other for other in range(self.nodes) if other != node]
        return Want(kind, tuple(other for other in others if other not in known))

    def _in(self, *states: InstanceState) -> Validators:
        return tuple(n for n, account in self.accounts.items() if account.about.state in states)
