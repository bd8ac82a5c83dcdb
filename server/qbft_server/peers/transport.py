"""`qbft.transport.Transport` over gRPC: one dialled link and one inbox for each peer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

from grpc import aio

from qbft.cluster import Cluster
from qbft.errors import ClusterError, TransportError
from qbft.replica.bounds import Bites
from qbft.transport import Batch, Frame
from qbft.wire import (
    Decoded,
    Hello,
    WireLimits,
    decode_hello,
    decode_in_steps,
    encode_frame,
    encode_hello,
)
from qbft_server.bounds import NodeBound
from qbft_server.identity import TlsIdentity
from qbft_server.listener_tls import ListenerTls
from qbft_server.peers.events import NoEvents, PeerCounters, PeerEvents, PeerRecorder
from qbft_server.peers.incoming import END_REASONS, Acceptor, Inbox
from qbft_server.peers.limits import PeerLimits
from qbft_server.peers.outgoing import OutgoingLink
from qbft_server.peers.split import split_frame
from qbft_server.peers.stream import hush_cancelled_calls
from qbft_server.peers.tls import (
    Identities,
    channel_credentials,
    channel_options,
    peer_roots,
    server_options,
)

HOLD_SECONDS = 0.01
"""How soon it is asked again whether a peer may be read whose frames are left in its inbox."""

ELEMENTS_PER_WORK = 4
"""Elements that are read in about the time of one signature check."""

BYTES_PER_WORK = 1_500
"""Bytes of empty elements, the most costly ones, that are parsed in about that time."""


class GrpcTransport:
    """The links of one node, while the `async with` block lasts; no task outlives it.

    `hello(peer)` says what to tell a peer when a stream begins, `heard(peer, hello)` is given what
    an acceptable hello of that peer said, on either of the two streams. While `may_read(peer)` says
    no, what that peer sent is left unread: first in its inbox, then in its own socket. `wasted` is
    told who sent what had to be refused, and what reading it has cost, in checks of one signature.
    """

    def __init__(
        self,
        cluster: Cluster,
        validator: int,
        identity: TlsIdentity,
        listen: str,
        *,
        hello: Callable[[int], Hello],
        heard: Callable[[int, Hello], None] | None = None,
        may_read: Callable[[int], bool] | None = None,
        wasted: Callable[[int, int], None] | None = None,
        limits: PeerLimits | None = None,
        wire_limits: WireLimits | None = None,
        events: PeerEvents | None = None,
    ) -> None:
        self.validator = validator
        self.limits = limits or PeerLimits()
        self._wire_limits = wire_limits or WireLimits()
        self._cluster = cluster
        self._identity = identity
        self._listen = listen
        self._hello = hello
        self._heard = heard
        self._may_read = may_read
        self._wasted = wasted
        self._roster = cluster.roster
        self._recorder = PeerRecorder(len(cluster.validators), validator, events or NoEvents())
        peers = list(self._recorder.peers)
        self._inboxes = {peer: Inbox(self.limits, peer, self._recorder.bites) for peer in peers}
        self._turns = deque(peers)
        self._links = {peer: self._make_link(peer) for peer in peers}
        self._identities = Identities(cluster)
        self._tls = ListenerTls(identity, peer_roots(cluster, validator, identity))
        self._acceptor = Acceptor(
            identities=self._identities,
            own=validator,
            limits=self.limits,
            recorder=self._recorder,
            inboxes=self._inboxes,
            hello=self._encoded_hello,
            check_hello=self._check_caller,
            arrived=self._rouse,
        )
        self._fresh: set[int] = set()
        self._reading: tuple[int, Generator[None, None, Decoded]] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_holding = False
        self._is_running = False
        self._server: aio.Server | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._link_tasks: dict[int, asyncio.Task[None]] = {}
        self.port = 0
        """The port it listens on, once it runs."""

    # --- the life of it

    async def __aenter__(self) -> Self:
        """Listen, and begin to dial.

        Raises:
            ClusterError: the address cannot be listened on.
        """
        hush_cancelled_calls()
        limits = self.limits
        server = aio.server(
            options=server_options(limits, len(self._cluster.validators)),
            maximum_concurrent_rpcs=2 * len(self._cluster.validators) + limits.streams_extra_max,
        )
        server.add_generic_rpc_handlers((self._acceptor.handler(),))
        try:
            self.port = server.add_secure_port(self._listen, self._tls.credentials())
        except RuntimeError as error:
            raise ClusterError(
                f"listen.peer = {self._listen!r}: cannot listen there; "
                "allowed is a free port at an address of this machine"
            ) from error
        await _start(server)
        self._server = server
        self._tasks = await asyncio.TaskGroup().__aenter__()
        for peer in self._links:
            self._keep_link(peer)
        self._is_running = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break all links and stop listening."""
        self._is_running = False
        self._rouse()
        assert self._tasks is not None and self._server is not None  # noqa: S101, PT018
        for task in self._link_tasks.values():
            task.cancel()
        try:
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                await self._tasks.__aexit__(kind, error, trace)
            else:  # an exception of the caller's passes through as it is
                await self._tasks.__aexit__(None, None, None)
        finally:
            await self._server.stop(None)

    def renew(self, cluster: Cluster, identity: TlsIdentity) -> None:
        """Take up other certificates, TLS keys and addresses of this same cluster (M14).

        New connections go by them, and standing ones go on; only those with a peer of which another
        key is pinned now are ended, in both directions, and made anew.
        """
        self._cluster, self._identity = cluster, identity
        self._tls.renew(identity, peer_roots(cluster, self.validator, identity))
        for peer, link in self._links.items():
            validator = cluster.validators[peer]
            link.renew(validator.peer, channel_credentials(cluster, peer, identity))
            if self._is_running and validator.tls_key_sha256 != self._identities.pin_of(peer):
                if link.is_up:
                    self._recorder.events.link_down(peer, END_REASONS["key_replaced"])
                self._keep_link(peer)
        self._identities.renew(cluster)
        self._acceptor.end_unpinned()

    def _keep_link(self, peer: int) -> None:
        """Keep the link to a peer up, instead of one that was made before."""
        assert self._tasks is not None  # noqa: S101 - only while it runs
        if peer in self._link_tasks:
            self._link_tasks[peer].cancel()
        work = self._links[peer].run()
        self._link_tasks[peer] = self._tasks.create_task(work, name=f"peer link {peer}")

    # --- the contract of Transport

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Queue a frame for one peer, or for every peer; never waits.

        Serialised once, whatever the number of peers. A frame above the message limit is sent as
        several, in the order of `split_frame`.

        Raises:
            TransportError: the transport is not running.
        """
        if not self._is_running:
            raise TransportError("the transport is closed")
        links = self._links.values() if to is None else (self._links[to],)
        data = encode_frame(frame)
        if len(data) <= self.limits.message_bytes_max:
            for link in links:
                link.push(data)
            return
        for piece in split_frame(frame, encode_frame, self.limits.message_bytes_max):
            for link in links:
                if piece is None:
                    link.lose_frame()
                else:
                    link.push(piece)

    async def receive(self) -> Batch:
        """The next frames, peers taken in turn, and the peers whose link is fresh.

        Lets the event loop run at least once, so that a node under load still writes and reads; and
        again within a frame that takes long to read, so that due timers do not wait for it.

        Raises:
            TransportError: the transport is closed.
        """
        await asyncio.sleep(0)
        while self._is_running:
            batch = self._take()
            if batch.frames or batch.fresh:
                return batch
            if self._reading is not None:
                await asyncio.sleep(0)
                continue
            await self._rest()
        raise TransportError("the transport is closed")

    async def _rest(self) -> None:
        """Wait until something arrives, or a peer that is left unread may be read again."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        again = loop.call_later(HOLD_SECONDS, self._rouse) if self._is_holding else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if again is not None:
                again.cancel()

    # --- what telemetry and status read

    @property
    def counters(self) -> dict[int, PeerCounters]:
        """The counters of each peer, live."""
        return self._recorder.peers

    @property
    def stranger_rejects(self) -> dict[str, int]:
        """Refusals of streams that no validator opened, by reason, live."""
        return self._recorder.stranger_rejects

    @property
    def connected(self) -> frozenset[int]:
        """The peers to which our link is up."""
        return frozenset(peer for peer, link in self._links.items() if link.is_up)

    @property
    def streams(self) -> int:
        """Streams of peers being served now."""
        return self._acceptor.streams

    @property
    def bites(self) -> Bites:
        """How often which bound of the links has bitten, live."""
        return self._recorder.bites

    def unread(self, peer: int) -> tuple[int, int]:
        """(frames, bytes) of a peer that are received and wait to be read."""
        inbox = self._inboxes[peer]
        return len(inbox), inbox.size

    def queued(self, peer: int) -> tuple[int, int]:
        """(frames, bytes) that wait for a peer."""
        link = self._links[peer]
        return link.queued_frames, link.queued_bytes

    # --- inside

    def _make_link(self, peer: int) -> OutgoingLink:
        return OutgoingLink(
            peer,
            self._cluster.validators[peer].peer,
            credentials=channel_credentials(self._cluster, peer, self._identity),
            options=channel_options(self.limits),
            limits=self.limits,
            recorder=self._recorder,
            hello=lambda: self._encoded_hello(peer),
            check_hello=lambda data: self._check_hello(peer, data),
            report_fresh=self._report_fresh,
        )

    def _encoded_hello(self, peer: int) -> bytes:
        return encode_hello(self._hello(peer))

    def _check_hello(self, peer: int, data: bytes) -> str | None:
        """Why this hello of that peer is refused, or None."""
        hello = decode_hello(data)
        if isinstance(hello, str):
            return hello
        if hello.cluster_id != self._roster.cluster_id:
            return "wrong_cluster"
        if hello.validator != peer:
            return "wrong_validator"
        own = self._hello(peer)
        if hello.protocol_max < own.protocol_min or own.protocol_max < hello.protocol_min:
            return "wrong_version"
        if self._heard is not None:
            self._heard(peer, hello)
        return None

    def _check_caller(self, peer: int, data: bytes) -> str | None:
        """The same of a peer that dials us: it is there, so our link to it can be made."""
        refusal = self._check_hello(peer, data)
        if refusal is None:
            self._links[peer].hasten()
        return refusal

    def _report_fresh(self, peer: int) -> None:
        self._fresh.add(peer)
        self._rouse()

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> Batch:
        """What can be had at one go: it may be nothing yet of a frame that takes long to read."""
        fresh = tuple(sorted(self._fresh))
        self._fresh.clear()
        for peer in fresh:
            self._links[peer].open()
        frames: list[tuple[int, Frame]] = []
        bytes_left, elements_left = self.limits.batch_bytes_max, self.limits.batch_elements_max
        while len(frames) < self.limits.batch_frames_max and bytes_left > 0 and elements_left > 0:
            if self._reading is None:
                peer_and_data = self._next_data()
                if peer_and_data is None:
                    break
                peer, data = peer_and_data
                bytes_left -= len(data)
                steps = decode_in_steps(data, peer, self._roster, self._wire_limits)
                self._reading = peer, steps
            peer, steps = self._reading
            try:
                next(steps)
                break
            except StopIteration as end:
                self._reading = None
                decoded: Decoded = end.value
            elements_left -= decoded.elements
            for reason in decoded.rejects:
                self._recorder.rejected(reason, peer)
            if len(decoded.rejects) >= self._wire_limits.rejects_max:
                self._recorder.bites.note(NodeBound.REJECTS_MAX, peer)
            if (decoded.rejects or decoded.wasted_bytes) and self._wasted is not None:
                self._wasted(peer, _work_wasted(decoded))
            if decoded.frame is not None:
                frames.append((peer, decoded.frame))
        return Batch(tuple(frames), fresh)

    def _next_data(self) -> tuple[int, bytes] | None:
        """The oldest frame of the peer whose turn it is, of those that have one and may be read."""
        turns = self._turns
        self._is_holding = False
        for _ in range(len(turns)):
            peer = turns[0]
            turns.rotate(-1)
            inbox = self._inboxes[peer]
            if not inbox:
                continue
            if self._may_read is None or self._may_read(peer):
                return peer, inbox.take()
            self._is_holding = True
        return None


def _work_wasted(decoded: Decoded) -> int:
    """What reading a frame has cost of which something was refused, or that is mostly nothing."""
    elements = decoded.elements if decoded.rejects else 0
    return 1 + elements // ELEMENTS_PER_WORK + decoded.wasted_bytes // BYTES_PER_WORK


async def _start(server: aio.Server) -> None:
    """Start it whole: a server cancelled half way through its start cannot be stopped any more."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        await server.stop(None)
        raise
