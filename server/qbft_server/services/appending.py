"""Appending to ordered topics, as clients ask for it: who may, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from qbft.cluster import Cluster
from qbft.crypto.entries import (
    BATCH_OVERHEAD_BYTES,
    ENTRY_OVERHEAD_BYTES_MAX,
    REQUEST_ID_BYTES_MAX,
    Entry,
    is_entry_genuine,
)
from qbft.errors import OtherEpoch, QbftError, UnauthorisedProposal
from qbft.ordered import Appended
from qbft.wire import decision_to_pb
from qbft.wire.entries import entry_from_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.ordered.queue import LostTooOften, NotStanding, Opener, RequestIdUsed
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Caller
from qbft_server.services.budgets import Budgets
from qbft_server.services.flights import Flights
from qbft_server.services.refusal import Refusal, denied, full, invalid, refusal_of
from qbft_server.services.requests import check_ordered, instance_of
from qbft_server.store.decisions import DecisionsError

REPLY_VALUE_BYTES_MAX = 16 * 1024
"""A batch up to this size goes with every reply; of a larger one the client reads the decision,
once for all that it has in it."""

LOST_RETRY_MS = 100


class Appending:
    """Has entries of clients stand in ordered topics.

    `opener` gives on whose account a client's batches are opened.
    """

    def __init__(
        self,
        parts: NodeParts,
        budgets: Budgets,
        flights: Flights,
        opener: Callable[[str], Opener],
    ) -> None:
        self._parts = parts
        self._budgets = budgets
        self._flights = flights
        self._opener = opener

    async def append(self, request: pb.AppendRequest, client: Caller) -> Appended:
        """Put an entry at the next free position of its topic, and wait until it stands.

        Raises:
            Refusal: it will not stand, there is no room for it, or it is none.
            DecisionsError: decisions cannot be read here.
        """
        topic = instance_of(request.topic, 0).topic
        entry = read_entry(request.entry, self._parts.config.limits.value_bytes_max)
        if not client.permissions.may_propose(topic):
            raise denied()
        check_ordered(self._parts.cluster, topic, appends=True)
        size, budgets = len(entry.value), self._budgets
        with self._flights.place(client, size), budgets.appending(client.name, topic):
            try:
                with budgets.wasted.checking(client.name, size):
                    check_author(self._parts.cluster, topic, entry)
                opener = self._opener(client.name)
                return await self._parts.appends.append(topic, entry, opener)
            except DecisionsError:
                raise
            except QbftError as error:
                raise refusal_of_append(error) from error

    async def next_height(self, topic: str, client: Caller) -> int:
        """Say where the next entry of a topic would stand, as far as this node knows.

        Raises:
            Refusal: the client may neither read nor append there; the topic is not ordered.
            DecisionsError: decisions cannot be read here.
        """
        topic = instance_of(topic, 0).topic
        if not client.permissions.may_read(topic) and not client.permissions.may_propose(topic):
            raise denied()
        check_ordered(self._parts.cluster, topic, appends=True)
        try:
            return await self._parts.appends.next_height(topic)
        except OtherEpoch as error:
            raise refusal_of(error) from error


def read_entry(message: pb.Entry, value_bytes_max: int) -> Entry:
    """What a client wants to append.

    Raises:
        Refusal: no node would ever accept it.
    """
    entry = entry_from_pb(message)
    size, limit = len(entry.value), value_bytes_max - ENTRY_OVERHEAD_BYTES_MAX
    if not size:
        raise invalid("the value is empty; a value has at least one byte")
    if size > limit - BATCH_OVERHEAD_BYTES:
        raise invalid(f"the value has {size} bytes; at most {limit - BATCH_OVERHEAD_BYTES} fit")
    if not entry.is_well_formed():
        raise invalid(
            f"a request id has 1 to {REQUEST_ID_BYTES_MAX} bytes; an author is 32 bytes, its "
            "signature 64 and `until` not 0, or all three are left out"
        )
    return entry


def check_author(cluster: Cluster, topic: str, entry: Entry) -> None:
    """See that the topic takes what this author appends.

    Raises:
        UnauthorisedProposal: it does not.
    """
    policy = cluster.policy(topic)
    is_ours = not policy.proposers or entry.author in policy.proposers
    if not is_ours or (
        entry.author and not is_entry_genuine(entry, cluster.roster.cluster_id, topic)
    ):
        raise UnauthorisedProposal


def reply_of(appended: Appended) -> pb.AppendReply:
    """Where an entry stands, and the proof, unless it is large."""
    position, decision = appended.position, appended.decision
    reply = pb.AppendReply(height=position.height, index=position.index)
    if isinstance(decision.value, bytes) and len(decision.value) <= REPLY_VALUE_BYTES_MAX:
        reply.decision.CopyFrom(decision_to_pb(decision))
    return reply


def refusal_of_append(error: QbftError) -> Refusal:
    """What keeps an entry from standing, as a client is told."""
    match error:
        case RequestIdUsed():
            return Refusal(grpc.StatusCode.ALREADY_EXISTS, str(error))
        case NotStanding():
            return Refusal(grpc.StatusCode.OUT_OF_RANGE, str(error))
        case LostTooOften():
            return full(str(error), LOST_RETRY_MS)
        case _:
            return refusal_of(error)
