"""Relaying votes of others where links are dead (HARDENING D28, U9).

Two dead links of four nodes stall a cluster for ever, though every node could reach a quorum. So a
node whose round timer has expired hands on the signed votes that it holds, of every source, to the
peers that it can reach: what is new at each tick, and all of it when a link comes up again. Their
own signatures prove them; whoever relays them pays for what they occupy.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from qbft.core import InstanceId, Message
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer


class Relay:
    """The instances whose votes are handed on, and what each peer is still to be given of them."""

    def __init__(
        self,
        peers: Mapping[int, Peer],
        limits: ReplicaLimits,
        outbox: Outbox,
        bites: Bites | None = None,
    ) -> None:
        self._bites = bites or Bites()
        self._peers = peers
        self._limits = limits
        self._outbox = outbox
        self._stuck: dict[InstanceId, OpenInstance] = {}

    def begin(self, opened: OpenInstance) -> None:
        """Hand on the votes of an instance from now on: its round timer has expired."""
        if opened.instance not in self._stuck:
            self._stuck[opened.instance] = opened
            opened.relays = True
            for peer in self._peers.values():
                peer.to_relay[opened.instance] = None

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
            opened = self._stuck.pop(instance)
            self._stuck[instance] = opened
            self._give_new(opened, left)
        for index, peer in self._peers.items():
            while peer.to_relay and left[index] > 0:
                instance = next(iter(peer.to_relay))
                del peer.to_relay[instance]
                stuck = self._stuck.get(instance)
                if stuck is not None:
                    left[index] -= self._give(index, stuck, stuck.relayable())
            if peer.to_relay:
                peer.bitten(Bound.RELAYED_VOTES_PER_TICK_MAX)

    def _give_new(self, opened: OpenInstance, left: dict[int, int]) -> None:
        fresh, opened.unrelayed = list(opened.unrelayed.values()), {}
        if not fresh:
            return
        for index, peer in self._peers.items():
            if left[index] > 0:
                left[index] -= self._give(index, opened, fresh)
            else:
                peer.to_relay[opened.instance] = None

    def _give(self, peer: int, opened: OpenInstance, votes: list[tuple[int, Message]]) -> int:
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
