"""Streams from the peers: who they are, their hello, and their bounded buffers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.peers.events import PeerRecorder
from qbft_server.peers.limits import PeerLimits
from qbft_server.peers.stream import METHOD, SERVICE, Context, is_message
from qbft_server.peers.tls import Identities

END_REASONS = {
    "stream_replaced": "replaced by a newer stream",
    "key_replaced": "this key is not the pinned one any more",
}
"""Why a stream is ended here, as it is counted and as the peer is told."""


class Inbox:
    """Frames of one peer that wait for `receive`, still encoded; its filler waits for room."""

    def __init__(
        self, limits: PeerLimits, peer: int | None = None, bites: Bites | None = None
    ) -> None:
        self._limits = limits
        self._peer = peer
        self._bites = bites or Bites()
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._room: asyncio.Event = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> int:
        """Bytes of what waits."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether the peer's stream must not be read for now."""
        return not self._room.is_set()

    def put(self, data: bytes) -> None:
        """Keep a frame; allowed while not full, so one frame may exceed the bound of bytes."""
        self._frames.append(data)
        self._bytes += len(data)
        is_many = len(self._frames) >= self._limits.incoming_frames_max
        if is_many or self._bytes >= self._limits.incoming_bytes_max:
            self._room.clear()
            self._bites.note(
                NodeBound.INCOMING_FRAMES_MAX if is_many else NodeBound.INCOMING_BYTES_MAX,
                self._peer,
            )

    def take(self) -> bytes:
        """The oldest frame. Room is made when half is free, so that a reader is not woken for each.

        Raises:
            IndexError: there is none.
        """
        data = self._frames.popleft()
        self._bytes -= len(data)
        if (
            not self._room.is_set()
            and 2 * len(self._frames) <= self._limits.incoming_frames_max
            and 2 * self._bytes <= self._limits.incoming_bytes_max
        ):
            self._room.set()
        return data

    async def room(self) -> None:
        """Wait until it is not full."""
        await self._room.wait()


@dataclass(slots=True)
class _Stream:
    """One call of a peer, by the task that serves it."""

    task: asyncio.Task[object]
    pin: str
    end_reason: str | None = None
    is_writing: bool = False

    def end(self, reason: str) -> None:
        """End it, once. What is being written goes first: else gRPC could not tell the peer."""
        if self.end_reason is None:
            self.end_reason = reason
            if not self.is_writing:
                self.task.cancel()

    async def write(self, context: Context, data: bytes) -> None:
        """Write; it is no end of the stream that cuts it off.

        Raises:
            CancelledError: the stream was ended meanwhile.
        """
        self.is_writing = True
        try:
            await context.write(data)
        finally:
            self.is_writing = False
        if self.end_reason is not None:
            raise asyncio.CancelledError


class Acceptor:
    """Serves `PeerService.Exchange`.

    Of each peer one stream is live and one in its hello, at most; a newer one replaces it. So a
    peer that opens a thousand streams spends only its own two places (SCENARIOS F16).
    """

    def __init__(
        self,
        *,
        identities: Identities,
        own: int,
        limits: PeerLimits,
        recorder: PeerRecorder,
        inboxes: dict[int, Inbox],
        hello: Callable[[int], bytes],
        check_hello: Callable[[int, bytes], str | None],
        arrived: Callable[[], None],
    ) -> None:
        self._identities = identities
        self._own = own
        self._limits = limits
        self._recorder = recorder
        self._inboxes = inboxes
        self._hello = hello
        self._check_hello = check_hello
        self._arrived = arrived
        self._greeting: dict[int, _Stream] = {}
        self._live: dict[int, _Stream] = {}

    @property
    def streams(self) -> int:
        """Streams being served now."""
        return len(self._greeting) + len(self._live)

    def end_unpinned(self) -> None:
        """End the streams of keys that are not pinned any more."""
        for streams in (self._greeting, self._live):
            for peer, stream in streams.items():
                if stream.pin != self._identities.pin_of(peer):
                    stream.end("key_replaced")

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a gRPC server needs; messages pass as the bytes they are."""
        exchange = grpc.stream_stream_rpc_method_handler(self._exchange)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: exchange})

    async def _exchange(self, _requests: object, context: Context) -> None:
        peer = self._identities.validator(context)
        if peer is None or peer == self._own:
            self._recorder.rejected("stranger", None)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not a peer of this cluster")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - gRPC runs every handler in a task
        stream = _Stream(task, self._identities.pin_of(peer))
        try:
            await self._greet(peer, stream, context)
            await self._read_frames(peer, context)
        except asyncio.CancelledError:
            if stream.end_reason is None or task.uncancel():
                raise
            self._recorder.rejected(stream.end_reason, peer)
            await context.abort(grpc.StatusCode.ABORTED, END_REASONS[stream.end_reason])
        finally:
            for streams in (self._greeting, self._live):
                if streams.get(peer) is stream:
                    del streams[peer]

    async def _greet(self, peer: int, stream: _Stream, context: Context) -> None:
        _take_place(self._greeting, peer, stream)
        try:
            async with asyncio.timeout(self._limits.hello_seconds_max):
                data = await context.read()
                refusal = self._check_hello(peer, data) if is_message(data) else "no_hello"
                if refusal is None:
                    await stream.write(context, self._hello(peer))
        except TimeoutError:
            refusal = "hello_timeout"
        if refusal is not None:
            self._recorder.rejected(refusal, peer)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"refused hello: {refusal}")
        del self._greeting[peer]
        _take_place(self._live, peer, stream)
        self._recorder.peers[peer].streams_accepted += 1

    async def _read_frames(self, peer: int, context: Context) -> None:
        """Read until cancelled: a peer that closes its half keeps its one place until it goes."""
        inbox, counters = self._inboxes[peer], self._recorder.peers[peer]
        while True:
            if inbox.is_full:
                await inbox.room()
            data = await context.read()
            if not is_message(data):
                await asyncio.get_running_loop().create_future()
            counters.frames_received += 1
            counters.bytes_received += len(data)
            inbox.put(data)
            self._arrived()


def _take_place(streams: dict[int, _Stream], peer: int, stream: _Stream) -> None:
    older = streams.get(peer)
    streams[peer] = stream
    if older is not None:
        older.end("stream_replaced")
