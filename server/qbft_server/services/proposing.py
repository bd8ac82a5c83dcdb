"""Proposals of clients: checked, handed to the replica, and waited for, one or a stream of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import QbftError
from qbft.replica.driver import now_ms
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft_server.ordered.queue import Opener
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Caller
from qbft_server.services.arrivals import NO_MESSAGE
from qbft_server.services.budgets import Budgets
from qbft_server.services.flights import Flights
from qbft_server.services.own_instances import OwnInstances
from qbft_server.services.refusal import Refusal, denied, failure_of, invalid, refusal_of
from qbft_server.services.replies import Replies, reply_to
from qbft_server.services.requests import check_ordered, instance_of
from qbft_server.services.unread import Making, unread_full
from qbft_server.store.live import value_bytes


def reply(decision: Decision, making: Making) -> pb.ProposeReply | None:
    """Say what was decided; None if there is no room to say it."""
    with making as room:
        if not room(value_bytes(decision)):
            return None
        return pb.ProposeReply(decision=decision_to_pb(decision))


class Proposing:
    """Has decided what clients propose."""

    def __init__(self, parts: NodeParts, budgets: Budgets, flights: Flights) -> None:
        self._cluster = parts.cluster
        self._replica = parts.replica
        self._driver = parts.driver
        self._store = parts.store
        self._metrics = parts.metrics
        self._traces = parts.traces
        self._value_bytes_max = parts.config.limits.value_bytes_max
        self._budgets = budgets
        self._flights = flights
        self._own = OwnInstances(self._hand_over, self._is_open, self._is_decided, budgets)

    def opener(self, client: str) -> Opener:
        """On whose account to open what a client appends."""
        return self._own.opener(client)

    async def propose(self, message: messages_pb2.Proposal, client: Caller) -> Decision:
        """Have a value decided, and wait for the decision, whosever value it is.

        Raises:
            Refusal: the replica does not take it, there is no room for it, or it is none.
        """
        proposal = self._read(message)
        if not client.permissions.may_propose(proposal.instance.topic):
            raise denied()
        check_ordered(self._cluster, proposal.instance.topic, appends=False)
        with self._flights.place(client, len(proposal.value)):
            began = time.perf_counter()
            try:
                with self._budgets.wasted.checking(client.name, len(proposal.value)):
                    decision = await self._own.propose(client.name, proposal)
            except QbftError as error:
                raise refusal_of(error) from error
            self._metrics.propose_seconds.add(time.perf_counter() - began)
        return decision

    async def propose_stream(
        self, requests: AsyncIterator[pb.ProposeStreamRequest | None], client: Caller
    ) -> None:
        """Have decided what a stream asks for, and write what becomes of each.

        It is not read from while it has too many in flight, decided or not, or does not read what
        was decided.

        Raises:
            Refusal: there is no room for a reply, or for one more stream; or something was no
                request, which is None.
        """
        replies = Replies(self._metrics.bites)
        unread = self._budgets.unread
        with self._budgets.shares.place(client.name, self._budgets.streams):
            has_room = True
            async with asyncio.TaskGroup() as tasks:
                proposing = tasks.create_task(self._propose_all(requests, replies, client))
                while has_room and (outcome := await replies.take()) is not None:
                    has_room = await unread.is_written(reply_to(*outcome), client)
                    replies.written(outcome)
                proposing.cancel()
            if not has_room:  # raised within the group it would be part of a group itself
                raise unread_full()
            if not proposing.result():
                raise invalid(NO_MESSAGE)

    async def _propose_all(
        self,
        requests: AsyncIterator[pb.ProposeStreamRequest | None],
        replies: Replies,
        client: Caller,
    ) -> bool:
        """Propose what a stream asks for, and end its replies, which have one writer.

        Gives whether all of it were requests; after what is none, nothing is read. Nor is it where
        there is no place for a reply: gRPC keeps all that has come of a message that is being read.
        """
        is_request = True
        async with asyncio.TaskGroup() as tasks:
            await replies.place()
            async for request in requests:
                if request is None:
                    is_request = False
                    break
                tasks.create_task(self._propose_one(request, replies, client))
                del request  # or it is kept until the next one has come
                await replies.place()
        replies.end()
        return is_request

    async def _propose_one(
        self, request: pb.ProposeStreamRequest, replies: Replies, client: Caller
    ) -> None:
        outcome: Decision | pb.Failure
        try:
            outcome = await self.propose(request.proposal, client)
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            outcome, code = failure_of(refusal), refusal.code
        replies.put((request.id, outcome))
        self._metrics.call_ended("ProposeStream item", code.name)

    def _read(self, message: messages_pb2.Proposal) -> Proposal:
        instance = instance_of(message.instance.topic, message.instance.height)
        size, limit = len(message.value), self._value_bytes_max
        if not size:
            raise invalid("the value is empty; a value has at least one byte")
        if size > limit:
            raise invalid(f"the value has {size} bytes; at most {limit} are allowed")
        if len(message.proposer) not in (0, 32) or len(message.signature) not in (0, 64):
            raise invalid("a proposer is 32 bytes and its signature 64, or both are left out")
        return Proposal(instance, message.value, message.proposer, message.signature)

    def _hand_over(self, proposal: Proposal) -> asyncio.Future[Decision]:
        """Let the replica have a value decided."""
        deciding = self._replica.propose(proposal, now_ms())
        self._driver.wake()
        if self._traces is not None:
            self._traces.join(proposal.instance)
        return deciding

    def _is_open(self, instance: InstanceId) -> bool:
        return self._replica.is_open(instance)

    def _is_decided(self, instance: InstanceId) -> bool:
        return self._store.get(instance) is not None
