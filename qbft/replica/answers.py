"""Answers to what peers ask for: values, decisions, and how an open instance stands (U3).

What they cost is paced per peer, in bytes: a frame of a few hundred ids could otherwise ask for
hundreds of megabytes. What is not answered has to be asked for again. Nothing is read from the
store before it is paid for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bound
from qbft.replica.budget import VOTE_BYTES, cost_of
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import bytes_of
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore
from qbft.transport import Frame


class Answers:
    """Answers from the store, and from the instances that are open."""

    def __init__(
        self,
        opens: Mapping[InstanceId, OpenInstance],
        store: DecisionStore,
        nodes: int,
        limits: ReplicaLimits,
        outbox: Outbox,
    ) -> None:
        self._opens = opens
        self._store = store
        self._certificate_bytes = VOTE_BYTES * nodes
        self._limits = limits
        self._outbox = outbox

    def answer(self, peer: Peer, frame: Frame, now_ms: int) -> Generator[int, None, int]:
        """Answer one by one; yields what each answer cost, as `Replica.receive` counts it.

        Gives how many were beyond the peer's pace, so that they were not even looked up.
        """
        refused, wanted_max = 0, self._limits.wanted_per_frame_max
        if max(len(frame.wanted_values), len(frame.wanted_decisions)) > wanted_max:
            peer.bitten(Bound.WANTED_PER_FRAME_MAX)
        for instance, digest in frame.wanted_values[:wanted_max]:
            if peer.pull(now_ms, self._limits.asked_bytes_min):
                self._give_value(peer, instance, digest, now_ms)
            else:
                refused += 1
            yield 1
        for instance in frame.wanted_decisions[:wanted_max]:
            if peer.pull(now_ms, self._limits.asked_bytes_min):
                self._tell(peer, instance, now_ms)
            else:
                refused += 1
            yield 1
        return refused

    def _give_value(self, peer: Peer, instance: InstanceId, digest: bytes, now_ms: int) -> None:
        """Give a value's bytes; where it is decided, with the certificate."""
        opened = self._opens.get(instance)
        if opened is None:
            self._give_decision(peer, instance, now_ms)
            return
        proposal = opened.proposals.get(digest)
        if proposal is not None and peer.pull(now_ms, len(proposal.value)):
            self._outbox.enclose(peer.index, proposal)

    def _tell(self, peer: Peer, instance: InstanceId, now_ms: int) -> None:
        """Give the decision, or the own current votes of an open instance with a proposal.

        Of what is not kept any more, from which height on its topic is (DESIGN, retention).
        """
        opened = self._opens.get(instance)
        if opened is None:
            mark = self._store.low_water_mark(instance.topic)
            if instance.height < mark:
                self._outbox.to(peer.index).marks[instance.topic] = mark
            else:
                self._give_decision(peer, instance, now_ms)
            return
        proposal = opened.proposal_for(peer.index)
        votes = [cast.own.vote for cast in opened.votes.current if cast.sequence]
        size = sum(map(cost_of, votes)) + (len(proposal.value) if proposal is not None else 0)
        if not peer.pull(now_ms, size):
            return
        letter = self._outbox.to(peer.index)
        if proposal is not None:
            letter = self._outbox.enclose(peer.index, proposal)
        letter.relayed.extend(votes)

    def _give_decision(self, peer: Peer, instance: InstanceId, now_ms: int) -> None:
        """Give a decision, if there is one and the peer's pace allows it."""
        if self._store.digest(instance) is None:
            return
        if not peer.pull(now_ms, self._store.size(instance) + self._certificate_bytes):
            return
        decision = self._store.get(instance)
        if decision is not None:
            self._outbox.to(peer.index).certificates.append(decision.certificate)
            self._outbox.enclose(peer.index, Proposal(instance, bytes_of(decision)))
