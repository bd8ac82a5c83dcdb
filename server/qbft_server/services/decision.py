"""The decision service: what clients ask of a node (SCENARIOS, group G).

Every call answers from this node alone; what it says about a decision carries the certificate that
proves it. Requests are untrusted: what is malformed gets INVALID_ARGUMENT and changes nothing. Here
stands what there is to be called; how each is done stands in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from qbft.wire import decision_to_pb
from qbft.wire.accounts import account_to_pb
from qbft.wire.v1 import capture_pb2, inspection_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceServicer
from qbft_server.access import Permissions
from qbft_server.parts import NodeParts
from qbft_server.services import accounts, reading
from qbft_server.services.admission import Admission, Context, Needs
from qbft_server.services.appending import Appending, reply_of
from qbft_server.services.budgets import Budgets
from qbft_server.services.calls import Calls
from qbft_server.services.flights import Flights
from qbft_server.services.proposing import Proposing
from qbft_server.services.requests import readable
from qbft_server.services.watching import Watching
from qbft_server.telemetry.inspection import inspect


class DecisionService(DecisionServiceServicer):
    """One node's decision service.

    Raises:
        ClusterError: a client's token cannot be read.
    """

    def __init__(self, parts: NodeParts) -> None:
        budgets = Budgets(
            parts.config.limits,
            parts.metrics.clients,
            parts.metrics.bites,
            lambda: parts.replica.resumed_of_clients,
        )
        self._parts = parts
        self._calls = Calls(parts, budgets)
        self._unread = budgets.unread
        self._flights = Flights(parts.replica, budgets)
        self._proposing = Proposing(parts, budgets, self._flights)
        self._appending = Appending(parts, budgets, self._flights, self._proposing.opener)
        self._watching = Watching(parts.store, budgets)

    @property
    def admission(self) -> Admission:
        """Who is let in."""
        return self._calls.admission

    def drain(self) -> None:
        """Take no new values from now on; what was taken goes on."""
        self._flights.accepting = False

    # --- proposing --------------------------------------------------------------------------------

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, context: Context
    ) -> pb.ProposeReply:
        """Have a value decided, and wait for the decision, whosever value it is."""
        async with self._calls.call("Propose", context) as client:
            decision = await self._proposing.propose(request.proposal, client)
            return self._unread.hold(pb.ProposeReply(decision=decision_to_pb(decision)), client)

    async def ProposeStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ProposeStreamRequest], context: Context
    ) -> None:
        """Have many values decided at once; replies come as the decisions do.

        A client is not read from while it has too many in flight, decided or not, or does not read
        what was decided.
        """
        async with self._calls.call("ProposeStream", context, _proposes) as client:
            await self._proposing.propose_stream(requests, client)

    # --- ordered topics ---------------------------------------------------------------------------

    async def Append(  # noqa: N802
        self, request: pb.AppendRequest, context: Context
    ) -> pb.AppendReply:
        """Put an entry at the next free position of an ordered topic, and wait until it stands."""
        async with self._calls.call("Append", context) as client:
            appended = await self._appending.append(request, client)
            return self._unread.hold(reply_of(appended), client)

    async def GetNextHeight(  # noqa: N802
        self, request: pb.GetNextHeightRequest, context: Context
    ) -> pb.GetNextHeightReply:
        """Say where the next entry of a topic would stand, as far as this node knows."""
        async with self._calls.call("GetNextHeight", context) as client:
            height = await self._appending.next_height(request.topic, client)
            return pb.GetNextHeightReply(height=height)

    # --- reading ----------------------------------------------------------------------------------

    async def GetDecision(  # noqa: N802
        self, request: pb.GetDecisionRequest, context: Context
    ) -> pb.GetDecisionReply:
        """Read one instance: decided, undecided here, unknown, or not kept any more (G8, G9)."""
        async with self._calls.call("GetDecision", context) as client:
            instance = readable(client, request.instance.topic, request.instance.height)
            return self._unread.hold(reading.read(self._parts, instance), client)

    async def ListDecisions(  # noqa: N802
        self, request: pb.ListDecisionsRequest, context: Context
    ) -> pb.ListDecisionsReply:
        """Read a topic's decisions by height, a page at a time; gaps are not hidden."""
        async with self._calls.call("ListDecisions", context) as client:
            start = readable(client, request.topic, request.from_height)
            page = reading.read_page(self._parts, start, request.limit)
            return self._unread.hold(await page, client)

    async def ListHeights(  # noqa: N802
        self, request: pb.ListHeightsRequest, context: Context
    ) -> None:
        """Say how far each topic has come that the client may read, some topics at a time."""
        async with self._calls.call("ListHeights", context) as client:
            with self._watching.place(client):
                for reply in reading.heights(self._parts, client):
                    await context.write(reply)

    # --- watching ---------------------------------------------------------------------------------

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> None:
        """Follow a topic height by height, without gaps, waiting at the first undecided one.

        It ends with OUT_OF_RANGE where the topic's low-water mark is above the height it is at.
        """
        needs: Needs = lambda may: may.may_read(request.topic)  # noqa: E731
        async with self._calls.call("Watch", context, needs) as client:
            start = readable(client, request.topic, request.from_height)
            await self._watching.watch(start, client)

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, context: Context
    ) -> None:
        """Follow every decision in this node's order, from a cursor of this node or the start.

        Without a cursor it begins with what is still kept. It ends with OUT_OF_RANGE where what
        should come next may have been deleted. Topics that the client may not read are left out.
        """
        async with self._calls.call("WatchAll", context, _reads) as client:
            await self._watching.watch_all(request.cursor, client)

    # --- accounts of this node --------------------------------------------------------------------

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusReply:
        """Say how this node is."""
        async with self._calls.call("GetStatus", context):
            return accounts.status(self._parts)

    async def InspectInstance(  # noqa: N802
        self, request: inspection_pb2.InspectInstanceRequest, context: Context
    ) -> inspection_pb2.InspectInstanceReply:
        """Say how this node stands in one instance (`qbft why`); no value is told."""
        async with self._calls.call("InspectInstance", context) as client:
            instance = readable(client, request.instance.topic, request.instance.height)
            return account_to_pb(inspect(self._parts, instance))

    async def CaptureInstance(  # noqa: N802
        self, request: capture_pb2.CaptureInstanceRequest, context: Context
    ) -> capture_pb2.CaptureInstanceReply:
        """Give what was recorded of one instance (`qbft capture`); no value is told."""
        async with self._calls.call("CaptureInstance", context) as client:
            instance = readable(client, request.instance.topic, request.instance.height)
            return self._unread.hold(await accounts.record(self._parts, instance), client)

    async def ListEvidence(  # noqa: N802
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceReply:
        """Give what this node holds against validators, a page at a time.

        Records of topics that the client may not read are left out.
        """
        async with self._calls.call("ListEvidence", context) as client:
            return self._unread.hold(accounts.evidence(self._parts, client, request.after), client)


def _reads(may: Permissions) -> bool:
    return bool(may.read)


def _proposes(may: Permissions) -> bool:
    return bool(may.propose)
