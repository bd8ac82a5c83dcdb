"""Nodes that say whatever a test wants: real gRPC servers on loopback without a replica behind.

The test holds all validators' keys, so it can make genuine decisions, and forge them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio

from qbft.client import Access, Client, ClientError, Refused
from qbft.client.pinned import Options
from qbft.client.retrying import failure
from qbft.cluster import Cluster, Validator
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import value_digest
from qbft.crypto.roster import Roster, service_leader
from qbft.crypto.signing import BatchSigner
from qbft.decision import Decision
from qbft.diagnosis import InstanceAccount, InstanceState, NodeAccount
from qbft.wire import decision_to_pb
from qbft.wire.accounts import account_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft.wire.v1.decision_pb2_grpc import (
    DecisionServiceServicer,
    add_DecisionServiceServicer_to_server,
)
from qbft_server.identity import TlsIdentity, create_tls_identity

TOPIC = "prices/btc"
Context = aio.ServicerContext[Any, Any]
Tell = Callable[["PretendNode", InstanceId, bytes], Awaitable[messages_pb2.Decision]]


class Say(Exception):  # noqa: N818 - what a node is made to answer
    """A pretended node ends a call with this status."""

    def __init__(self, code: grpc.StatusCode, message: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.code = code
        self.told = metadata
        self.metadata = tuple((key.replace("_", "-"), value) for key, value in metadata.items())

    def failure(self, node: int) -> ClientError:
        """What it means to a client of that node."""
        first_digest = bytes.fromhex(self.told.get("qbft_first_digest", ""))
        retry_ms = int(self.told.get("grpc_retry_pushback_ms", "0"))
        return failure(node, self.code, str(self), retry_ms=retry_ms, first_digest=first_digest)


class PretendNode(DecisionServiceServicer):
    """One node; `proposed` and `read` are what a test makes it answer."""

    def __init__(self, pretend: PretendCluster, index: int) -> None:
        self.pretend = pretend
        self.index = index
        self.calls: list[tuple[str, InstanceId]] = []
        self.times: list[float] = []
        self.cancelled = 0
        self.metadata: dict[str, str] = {}
        self.asked_after: list[int] = []
        self.proposed: Tell = decides
        self.read: Tell = decides
        self.watched: Callable[[InstanceId], AsyncIterator[messages_pb2.Decision]] = self._forever
        self.pages: list[pb.ListDecisionsReply] = []
        self.evidence: list[pb.ListEvidenceReply] | None = []
        self.state = InstanceState.UNKNOWN
        self.all: Callable[[bytes], AsyncIterator[pb.WatchAllReply]] | None = None

    async def _tell(
        self, tell: Tell, name: str, instance: InstanceId, value: bytes, context: Context
    ) -> messages_pb2.Decision:
        self.calls.append((name, instance))
        self.times.append(asyncio.get_running_loop().time())
        self.metadata = {k: str(v) for k, v in context.invocation_metadata() or ()}
        try:
            return await tell(self, instance, value)
        except Say as said:
            await context.abort(said.code, str(said), said.metadata)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def Propose(  # noqa: N802 - the name on the wire
        self, request: pb.ProposeRequest, context: Context
    ) -> pb.ProposeReply:
        """Answer as `proposed` says."""
        instance, value = _instance(request.proposal.instance), request.proposal.value
        decision = await self._tell(self.proposed, "Propose", instance, value, context)
        return pb.ProposeReply(decision=decision)

    async def ProposeStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ProposeStreamRequest], context: Context
    ) -> AsyncIterator[pb.ProposeStreamReply]:
        """Answer one after the other, as `proposed` says; ABORTED breaks the stream."""
        async for request in requests:
            instance = _instance(request.proposal.instance)
            self.calls.append(("ProposeStream", instance))
            try:
                decision = await self.proposed(self, instance, request.proposal.value)
                yield pb.ProposeStreamReply(id=request.id, decision=decision)
            except Say as said:
                if said.code is grpc.StatusCode.ABORTED:
                    await context.abort(said.code, str(said))
                failure = pb.Failure(code=said.code.value[0], message=str(said), retry_ms=5)
                yield pb.ProposeStreamReply(id=request.id, failure=failure)

    async def GetDecision(  # noqa: N802
        self, request: pb.GetDecisionRequest, context: Context
    ) -> pb.GetDecisionReply:
        """Answer as `read` says; `NoneHere` gives a state without a decision."""
        instance = _instance(request.instance)
        try:
            decision = await self._tell(self.read, "GetDecision", instance, b"value", context)
        except NoneHere as none:
            return pb.GetDecisionReply(state=none.state, low_water_mark=none.mark)
        return pb.GetDecisionReply(state=pb.DECISION_STATE_DECIDED, decision=decision)

    async def ListDecisions(  # noqa: N802
        self, request: pb.ListDecisionsRequest, context: Context
    ) -> pb.ListDecisionsReply:
        """Give the next of `pages`."""
        self.calls.append(("ListDecisions", InstanceId(request.topic, request.from_height)))
        return self.pages.pop(0)

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[messages_pb2.Decision]:
        """Give what `watched` gives."""
        start = InstanceId(request.topic, request.from_height)
        self.calls.append(("Watch", start))
        try:
            async for decision in self.watched(start):
                yield decision
        except Say as said:
            await context.abort(said.code, str(said))

    async def WatchAll(  # noqa: N802
        self, request: pb.WatchAllRequest, context: Context
    ) -> AsyncIterator[pb.WatchAllReply]:
        """Give what `all` gives."""
        assert self.all is not None
        self.calls.append(("WatchAll", InstanceId(TOPIC, len(request.cursor))))
        try:
            async for reply in self.all(request.cursor):
                yield reply
        except Say as said:
            await context.abort(said.code, str(said))

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusReply:
        """An account."""
        heard = pb.PeerStatus(validator=1, connected=True, last_heard_ms=3)
        peers = [heard, pb.PeerStatus(validator=2)]
        return pb.GetStatusReply(node_name="n", validator=self.index, peers=peers)

    async def InspectInstance(  # noqa: N802
        self, request: pb.InspectInstanceRequest, context: Context
    ) -> pb.InspectInstanceReply:
        """Say that the instance stands here as `state` says."""
        about = InstanceAccount(_instance(request.instance), self.state, round=1)
        return account_to_pb(NodeAccount(self.index, voting=True, about=about))

    async def ListEvidence(  # noqa: N802
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceReply:
        """Give the next of `evidence`, nothing when there is none left, or never answer."""
        if self.evidence is None:
            await asyncio.Event().wait()
        self.asked_after.append(request.after)
        return self.evidence.pop(0) if self.evidence else pb.ListEvidenceReply()

    async def _forever(self, start: InstanceId) -> AsyncIterator[messages_pb2.Decision]:
        """The values v0, v1, ... of its topic, one for each height."""
        for height in range(start.height, start.height + 1_000):
            yield self.pretend.decision(InstanceId(start.topic, height), b"v%d" % height)


class NoneHere(Exception):  # noqa: N818 - an answer
    """A pretended node has no decision."""

    def __init__(self, state: pb.DecisionState, mark: int = 7) -> None:
        super().__init__(state)
        self.state = state
        self.mark = mark


async def decides(node: PretendNode, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
    """Honest: the value that was asked for is decided."""
    return node.pretend.decision(instance, value)


async def is_silent(node: PretendNode, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def says(code: grpc.StatusCode, message: str = "", **metadata: str) -> Tell:
    """Always ends with this status."""

    async def tell(_: PretendNode, __: InstanceId, ___: bytes) -> messages_pb2.Decision:
        raise Say(code, message, **metadata)

    return tell


def has_none(state: pb.DecisionState, mark: int = 7) -> Tell:
    """Reads give this state, and this mark."""

    async def tell(_: PretendNode, __: InstanceId, ___: bytes) -> messages_pb2.Decision:
        raise NoneHere(state, mark)

    return tell


def takes(seconds: float, tell: Tell = decides) -> Tell:
    """Tells after so much time."""

    async def wait(node: PretendNode, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
        await asyncio.sleep(seconds)
        return await tell(node, instance, value)

    return wait


def gives(decision: messages_pb2.Decision) -> Tell:
    """Always the same."""

    async def tell(_: PretendNode, __: InstanceId, ___: bytes) -> messages_pb2.Decision:
        return decision

    return tell


def at_first(tells: Sequence[Tell], then: Tell = decides) -> Tell:
    """One after the other, and then always the last."""
    left = list(tells)

    async def tell(node: PretendNode, instance: InstanceId, value: bytes) -> messages_pb2.Decision:
        return await (left.pop(0) if left else then)(node, instance, value)

    return tell


class PretendCluster:
    """Keys, nodes and servers; `client()` asks them."""

    def __init__(self, nodes: int, *, tls: bool = False, options: Options | None = None) -> None:
        self.options = options or []
        self.calls_max: int | None = None
        self.keys = [VoteKey.generate() for _ in range(nodes)]
        self.tls = tls
        self.identities = [create_tls_identity(f"node {n}", []) for n in range(nodes)]
        self.nodes = [PretendNode(self, index) for index in range(nodes)]
        self.cluster = self._cluster([f"127.0.0.1:{n + 1}" for n in range(nodes)])
        self._servers: list[aio.Server] = []

    def _cluster(self, addresses: Sequence[str], name: str = "pretend") -> Cluster:
        return Cluster(
            name=name,
            validators=tuple(
                Validator(
                    vote_key=key.public.hex(),
                    peer=f"127.0.0.1:{60_000 + index}",
                    client=address,
                    tls_key_sha256=identity.pin,
                    tls_certificate=identity.certificate_pem.decode(),
                )
                for index, (key, identity, address) in enumerate(
                    zip(self.keys, self.identities, addresses, strict=True)
                )
            ),
        )

    @property
    def roster(self) -> Roster:
        """Whose signatures count."""
        return self.cluster.roster

    async def start(self, identities: Sequence[TlsIdentity] | None = None) -> None:
        """Serve, each node on a port of its own; `identities` instead of the pinned ones."""
        addresses = []
        for node, identity in zip(self.nodes, identities or self.identities, strict=True):
            server = aio.server(
                options=[("grpc.so_reuseport", 0), *self.options],
                maximum_concurrent_rpcs=self.calls_max,
            )
            add_DecisionServiceServicer_to_server(node, server)
            if self.tls:
                pair = (identity.key_pem, identity.certificate_pem)
                port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
            else:
                port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            self._servers.append(server)
            addresses.append(f"127.0.0.1:{port}")
        self.cluster = self._cluster(addresses)

    def move(self, *addresses: str) -> None:
        """Let clients made from now on dial the nodes there."""
        self.cluster = self._cluster(addresses)

    async def stop(self, *nodes: int) -> None:
        """Stop these servers, or all."""
        for node in nodes or range(len(self._servers)):
            await self._servers[node].stop(None)

    def client(self, **settings: Any) -> Client:
        """A client that is quick to hedge, of this cluster."""
        settings.setdefault("access", Access(insecure_plaintext=not self.tls))
        settings.setdefault("timeout", 60.0)
        return Client(self.cluster, **settings)

    def client_on_virtual_clock(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Client:
        """A client of this cluster that calls its nodes without sockets; no server is needed."""
        link = type("Link", (VirtualLink,), {"pretend": self})
        monkeypatch.setattr("qbft.client.asking.NodeLink", link)
        return self.client(**settings)

    def order(self, instance: InstanceId) -> list[PretendNode]:
        """The nodes, the leader of round 1 first."""
        leader = service_leader(self.roster)
        return [self.nodes[leader(instance, 1 + turn)] for turn in range(len(self.nodes))]

    # --- decisions, genuine and forged ------------------------------------------------------------

    def signed(
        self, source: int, instance: InstanceId, digest: bytes, roster: Roster, **changes: Any
    ) -> Message:
        """A vote that its source has signed: a COMMIT of round 1, but for the changes."""
        fields = {"type": MessageType.COMMIT, "round": 1, **changes}
        signer = fields.pop("signer", source)
        vote = Message(fields["type"], instance, source, fields["round"], digest, proof=Proof())
        key = self.keys[signer] if signer < len(self.keys) else VoteKey(bytes(32))
        BatchSigner(key, roster, source).sign([vote], bytes(16), 1)
        return vote

    def decision(
        self,
        instance: InstanceId,
        value: bytes,
        *,
        sources: Iterable[int] | None = None,
        roster: Roster | None = None,
        **changes: Any,
    ) -> messages_pb2.Decision:
        """A decision that a quorum, or the sources, prove; `changes` are those of `signed`."""
        digest = value_digest(value)
        voters = range(self.roster.quorum) if sources is None else sources
        commits = tuple(
            self.signed(source, instance, digest, roster or self.roster, **changes)
            for source in voters
        )
        return decision_to_pb(Decision(value, Certificate(instance, 1, digest, commits)))


class VirtualLink:
    """What the client uses of a `NodeLink`, without a socket; for a virtual clock."""

    pretend: PretendCluster

    def __init__(self, node: int, *_: object) -> None:
        self.node = node
        self._pretended = self.pretend.nodes[node]

    async def _told(
        self, tell: Tell, name: str, instance: InstanceId, value: bytes
    ) -> messages_pb2.Decision:
        self._pretended.calls.append((name, instance))
        self._pretended.times.append(asyncio.get_running_loop().time())
        try:
            return await tell(self._pretended, instance, value)
        except Say as said:
            raise said.failure(self.node) from None

    async def propose(
        self, proposal: messages_pb2.Proposal, seconds: float | None
    ) -> messages_pb2.Decision:
        """As `PretendNode.Propose`."""
        tell, instance = self._pretended.proposed, _instance(proposal.instance)
        return await self._told(tell, "Propose", instance, proposal.value)

    async def get(self, instance: InstanceId, seconds: float | None) -> pb.GetDecisionReply:
        """As `PretendNode.GetDecision`."""
        try:
            told = await self._told(self._pretended.read, "GetDecision", instance, b"value")
        except NoneHere as none:
            return pb.GetDecisionReply(state=none.state, low_water_mark=none.mark)
        return pb.GetDecisionReply(state=pb.DECISION_STATE_DECIDED, decision=told)

    async def list_page(
        self, start: InstanceId, limit: int, seconds: float | None
    ) -> pb.ListDecisionsReply:
        """As `PretendNode.ListDecisions`, when `read` has told."""
        await self._told(self._pretended.read, "ListDecisions", start, b"value")
        return self._pretended.pages.pop(0)

    async def propose_stream(
        self, requests: AsyncIterator[pb.ProposeStreamRequest]
    ) -> AsyncIterator[pb.ProposeStreamReply]:
        """As `PretendNode.ProposeStream`, but never broken."""
        async for request in requests:
            try:
                told = await self.propose(request.proposal, None)
            except ClientError as error:
                name = error.code if isinstance(error, Refused) else "UNAVAILABLE"
                told_no = pb.Failure(code=grpc.StatusCode[name].value[0], message=str(error))
                yield pb.ProposeStreamReply(id=request.id, failure=told_no)
            else:
                yield pb.ProposeStreamReply(id=request.id, decision=told)

    async def rest(self, seconds: float) -> None:
        """As `NodeLink.rest`, of a link that is never closed."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Nothing was opened."""


@asynccontextmanager
async def pretend_cluster(
    nodes: int = 4, *, tls: bool = False, options: Options | None = None
) -> AsyncIterator[PretendCluster]:
    """A cluster whose servers run while the block lasts, with these settings of gRPC."""
    pretend = PretendCluster(nodes, tls=tls, options=options)
    await pretend.start()
    try:
        yield pretend
    finally:
        await pretend.stop()


def _instance(message: messages_pb2.InstanceId) -> InstanceId:
    return InstanceId(message.topic, message.height)
