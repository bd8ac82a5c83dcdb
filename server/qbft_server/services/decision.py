"""The decision service: what clients ask of a node (SCENARIOS, group G).

Every call answers from this node alone; what it says about a decision carries the certificate that
proves it. Requests are untrusted: what is malformed gets INVALID_ARGUMENT and changes nothing. Here
stands what there is to be called; how each is done stands in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from qbft.wire.accounts import account_to_pb
from qbft.wire.v1 import capture_pb2, inspection_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.access import Permissions
from qbft_server.parts import NodeParts
from qbft_server.services import accounts, proposing, reading
from qbft_server.services.admission import Caller
from qbft_server.services.appending import Appending, reply_of
from qbft_server.services.budgets import Budgets
from qbft_server.services.flights import Flights
from qbft_server.services.proposing import Proposing
from qbft_server.services.requests import readable
from qbft_server.services.watching import Watching
from qbft_server.telemetry.inspection import inspect


class DecisionService:
    """One node's decision service: its methods are the calls of the service in the protobuf schema.

    Each is called with a request that has come and the client that was let in; see `serve`.
    """

    def __init__(self, parts: NodeParts, budgets: Budgets) -> None:
        self._parts = parts
        self._unread = budgets.unread
        self._flights = Flights(parts.replica, budgets)
        self._proposing = Proposing(parts, budgets, self._flights)
        self._appending = Appending(parts, budgets, self._flights, self._proposing.opener)
        self._watching = Watching(parts.store, budgets)

    def drain(self) -> None:
        """Take no new values from now on; what was taken goes on."""
        self._flights.accepting = False

    # --- proposing --------------------------------------------------------------------------------

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, client: Caller
    ) -> pb.ProposeReply:
        """Have a value decided, and wait for the decision, whosever value it is."""
        decision = await self._proposing.propose(request.proposal, client)
        return self._unread.hold(proposing.reply(decision, self._unread.making(client)), client)

    async def ProposeStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ProposeStreamRequest], client: Caller
    ) -> None:
        """Have many values decided at once; replies come as the decisions do.

        A client is not read from while it has too many in flight, decided or not, or does not read
        what was decided.
        """
        client.require(_proposes)
        await self._proposing.propose_stream(requests, client)

    # --- ordered topics ---------------------------------------------------------------------------

    async def Append(  # noqa: N802
        self, request: pb.AppendRequest, client: Caller
    ) -> pb.AppendReply:
        """Put an entry at the next free position of an ordered topic, and wait until it stands."""
        appended = await self._appending.append(request, client)
        return self._unread.hold(reply_of(appended), client)

    async def GetNextHeight(  # noqa: N802
        self, request: pb.GetNextHeightRequest, client: Caller
    ) -> pb.GetNextHeightReply:
        """Say where the next entry of a topic would stand, as far as this node knows."""
        height = await self._appending.next_height(request.topic, client)
        return pb.GetNextHeightReply(height=height)

    # --- reading ----------------------------------------------------------------------------------

    async def GetDecision(  # noqa: N802
        self, request: pb.GetDecisionRequest, client: Caller
    ) -> pb.GetDecisionReply:
        """Read one instance: decided, undecided here, unknown, or not kept any more (G8, G9)."""
        instance = readable(client, request.instance.topic, request.instance.height)
        making = self._unread.making(client)
        return self._unread.hold(reading.read(self._parts, instance, making), client)

    async def ListDecisions(  # noqa: N802
        self, request: pb.ListDecisionsRequest, client: Caller
    ) -> pb.ListDecisionsReply:
        """Read a topic's decisions by height, a page at a time; gaps are not hidden."""
        start = readable(client, request.topic, request.from_height)
        page = reading.read_page(self._parts, start, request.limit, self._unread.making(client))
        return self._unread.hold(await page, client)

    async def ListHeights(  # noqa: N802
        self, request: pb.ListHeightsRequest, client: Caller
    ) -> None:
        """Say how far each topic has come that the client may read, some topics at a time."""
        with self._watching.place(client):
            for reply in reading.heights(self._parts, client):
                await client.context.write(reply)

    # --- watching ---------------------------------------------------------------------------------

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, client: Caller
    ) -> None:
        """Follow a topic height by height, without gaps, waiting at the first undecided one.

        It ends with OUT_OF_RANGE where the topic's low-water mark is above the height it is at.
        """
        client.require(lambda may: may.may_read(request.topic))
        start = readable(client, request.topic, request.from_height)
        await self._watching.watch(start, client)

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, client: Caller
    ) -> None:
        """Follow every decision in this node's order, from a cursor of this node or the start.

        Without a cursor it begins with what is still kept. It ends with OUT_OF_RANGE where what
        should come next may have been deleted. Topics that the client may not read are left out.
        """
        client.require(_reads)
        await self._watching.watch_all(request.cursor, client)

    # --- accounts of this node --------------------------------------------------------------------

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, client: Caller
    ) -> pb.GetStatusReply:
        """Say how this node is."""
        return accounts.status(self._parts)

    async def InspectInstance(  # noqa: N802
        self, request: inspection_pb2.InspectInstanceRequest, client: Caller
    ) -> inspection_pb2.InspectInstanceReply:
        """Say how this node stands in one instance (`qbft why`); no value is told."""
        instance = readable(client, request.instance.topic, request.instance.height)
        return account_to_pb(inspect(self._parts, instance))

    async def CaptureInstance(  # noqa: N802
        self, request: capture_pb2.CaptureInstanceRequest, client: Caller
    ) -> capture_pb2.CaptureInstanceReply:
        """Give what was recorded of one instance (`qbft capture`); no value is told."""
        instance = readable(client, request.instance.topic, request.instance.height)
        return self._unread.hold(await accounts.record(self._parts, instance), client)

    async def ListEvidence(  # noqa: N802
        self, request: pb.ListEvidenceRequest, client: Caller
    ) -> pb.ListEvidenceReply:
        """Give what this node holds against validators, a page at a time.

        Records of topics that the client may not read are left out.
        """
        return self._unread.hold(accounts.evidence(self._parts, client, request.after), client)


def _reads(may: Permissions) -> bool:
    return bool(may.read)


def _proposes(may: Permissions) -> bool:
    return bool(may.propose)
