"""Relaying votes of others where links are dead (HARDENING D28, U9).

Two dead links of four nodes stall a cluster for ever, though every node could reach a quorum. So a
node whose round timer has expired hands on the signed votes that it holds, of every source, to the
peers that it can reach, and all of them when a link comes up again. Their own signatures prove
them; whoever relays them pays for what they occupy.

If all nodes handed everything to all at once, a peer would get each vote from everybody. So they
take turns: what one source said is handed to one peer by about two nodes in a tick, and by all of
them in `TURNS_MAX` ticks at most. Of four nodes these two are all there are (docs/adr/022).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from qbft.core import InstanceId, Message
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer

TURNS_MAX = 8
"""Ticks after which every node has had its turn, however many there are."""

_Heard = list[tuple[int, Message]]
"""(sender, vote) of what came."""


@dataclass(slots=True)
class _Stuck:
    """An instance whose votes are handed on: what came in its last ticks, and how many it had."""

    opened: OpenInstance
    recent: deque[_Heard]
    ticks: int = 0


class Relay:
    """The instances whose votes are handed on, and what each peer is still to be given of them."""

    def __init__(
        self,
        validator: int,
        peers: Mapping[int, Peer],
        limits: ReplicaLimits,
        outbox: Outbox,
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._validator = validator
        self._peers = peers
        self._limits = limits
        self._outbox = outbox
        self._turns = min(max(len(peers) // 2, 1), TURNS_MAX)
        self._stuck: dict[InstanceId, _Stuck] = {}

    def begin(self, opened: OpenInstance) -> None:
        """Hand on the votes of an instance from now on: its round timer has expired."""
        if opened.instance not in self._stuck:
            self._stuck[opened.instance] = _Stuck(opened, deque(maxlen=self._turns))
            opened.relays = True

    def forget(self, instance: InstanceId) -> None:
        """Hand on nothing of an instance that has closed."""
        self._stuck.pop(instance, None)

    def link_up(self, peer: Peer) -> None:
        """Give a peer everything again: it may have missed anything."""
        peer.to_relay = dict.fromkeys(self._stuck)

    def tick(self) -> None:
        """Hand on what is new; each peer gets so many votes at most, the others later."""
        left = dict.fromkeys(self._peers, self._limits.relayed_votes_per_tick_max)
        if len(self._stuck) > self._limits.tick_instances_max:
            self._bites.note(Bound.TICK_INSTANCES_MAX)
        for instance in list(islice(self._stuck, self._limits.tick_instances_max)):
            stuck = self._stuck.pop(instance)
            self._stuck[instance] = stuck
            self._give_new(stuck, left)
        for index, peer in self._peers.items():
            while peer.to_relay and left[index] > 0:
                instance = next(iter(peer.to_relay))
                del peer.to_relay[instance]
                known = self._stuck.get(instance)
                if known is not None:
                    left[index] -= self._give(index, known.opened, known.opened.relayable())
            if peer.to_relay:
                peer.bitten(Bound.RELAYED_VOTES_PER_TICK_MAX)

    def _give_new(self, stuck: _Stuck, left: dict[int, int]) -> None:
        """Give each peer what it is this node's turn to give it; at first all counts as new."""
        opened = stuck.opened
        fresh = list(opened.unrelayed.values()) if stuck.ticks else opened.relayable()
        opened.unrelayed = {}
        stuck.recent.append(fresh)
        stuck.ticks += 1
        by_turn: list[_Heard] = [[] for _ in range(self._turns)]
        for sender, vote in (pair for heard in stuck.recent for pair in heard):
            turn = (vote.source + self._validator + stuck.ticks) % self._turns
            by_turn[turn].append((sender, vote))
        for index, peer in self._peers.items():
            votes = by_turn[-index % self._turns]
            if votes and left[index] > 0:
                left[index] -= self._give(index, opened, votes)
            elif votes:
                peer.to_relay[opened.instance] = None

    def _give(self, peer: int, opened: OpenInstance, votes: _Heard) -> int:
        """Put votes, with the values they need, into a peer's letter; gives how many.

        Not those that came from it, nor any whose round is past.
        """
        given = 0
        for sender, vote in votes:
            if peer in {sender, vote.source} or not opened.is_relayable(vote):
                continue
            proposal = opened.value_beside(vote)
            if proposal is not None:
                self._outbox.enclose(peer, proposal)
            self._outbox.to(peer).relayed.append(vote)
            given += 1 + len(vote.justification)
        return given
