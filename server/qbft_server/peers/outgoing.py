"""The link to one peer: dialled, greeted, kept, and dialled again; and its bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import grpc
from grpc import aio
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from qbft.client.pinned import Options
from qbft_server.bounds import NodeBound
from qbft_server.peers.events import PeerRecorder
from qbft_server.peers.limits import PeerLimits
from qbft_server.peers.stream import METHOD, SERVICE, Call, is_message

_WHY_CHARACTERS_MAX = 200
"""Of the status with which a peer ends a stream: it chooses these words."""


class LinkDown(Exception):  # noqa: N818 - what happened, not what went wrong
    """The link could not be made, or broke before it was stable."""


class OutgoingLink:
    """Frames to one peer.

    After a loss (a break, a full queue) nothing is queued until the loss has been reported as
    `fresh`, so that what the sender promises in a frame (`Frame.covers`) holds when it arrives.
    """

    def __init__(
        self,
        peer: int,
        address: str,
        *,
        credentials: grpc.ChannelCredentials,
        options: Options,
        limits: PeerLimits,
        recorder: PeerRecorder,
        hello: Callable[[], bytes],
        check_hello: Callable[[bytes], str | None],
        report_fresh: Callable[[int], None],
    ) -> None:
        self.peer = peer
        self.is_up = False
        self._address = address
        self._credentials = credentials
        self._options = options
        self._limits = limits
        self._recorder = recorder
        self._counters = recorder.peers[peer]
        self._hello = hello
        self._check_hello = check_hello
        self._report_fresh = report_fresh
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_open = False
        self._has_lost = False
        self._wake: asyncio.Future[None] | None = None
        self._has_called: asyncio.Event = asyncio.Event()
        self._may_be_hastened_at = 0.0
        self._running = asyncio.Lock()

    @property
    def queued_frames(self) -> int:
        """Frames not yet written, the one being written included."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Bytes not yet written."""
        return self._queued_bytes

    def push(self, data: bytes) -> None:
        """Queue one encoded frame, or drop it."""
        if not self._is_open:
            self._counters.frames_dropped += 1
            return
        is_many = len(self._queue) >= self._limits.outgoing_frames_max
        if is_many or self._queued_bytes + len(data) > self._limits.outgoing_bytes_max:
            self._recorder.bites.note(
                NodeBound.OUTGOING_FRAMES_MAX if is_many else NodeBound.OUTGOING_BYTES_MAX,
                self.peer,
            )
            self.lose_frame()
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._rouse()

    def lose_frame(self) -> None:
        """A frame to this peer is lost: what is queued still goes, then the link is fresh."""
        self._counters.frames_dropped += 1
        if self._is_open:
            self._is_open = False
            self._has_lost = True
            self._counters.times_lagging += 1
            self._recorder.events.lagging(self.peer)
            self._rouse()

    def renew(self, address: str, credentials: grpc.ChannelCredentials) -> None:
        """Dial there, and with these, the next time."""
        self._address, self._credentials = address, credentials

    def open(self) -> None:
        """The loss has been reported: from here on, frames are queued again."""
        self._is_open = self.is_up

    def hasten(self) -> None:
        """The peer has just dialled us: dial it at once, not when the wait is over.

        No more often than a stable link would break, so that a peer cannot make us dial at will.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._may_be_hastened_at:
            self._may_be_hastened_at = now + self._limits.stable_seconds_min
            self._has_called.set()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> None:
        """Keep the link up until cancelled; begins when one that was cancelled before has ended."""
        async with self._running:
            while True:
                attempts = AsyncRetrying(
                    retry=retry_if_exception_type(LinkDown),
                    wait=wait_random_exponential(
                        multiplier=self._limits.backoff_seconds_min,
                        min=self._limits.backoff_seconds_min,
                        max=self._limits.backoff_seconds_max,
                    ),
                    sleep=self._pause,
                )
                async for attempt in attempts:
                    with attempt:
                        await self._dial()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, or until the peer dials us: then it is there again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_called.wait()

    async def _dial(self) -> None:
        """Make the link and use it until it breaks.

        Raises:
            LinkDown: it broke soon, or was never made; the next attempt waits longer.
        """
        self._counters.dials += 1
        self._has_called.clear()
        channel = aio.secure_channel(self._address, self._credentials, self._options)
        clock = asyncio.get_running_loop().time
        up_at = None
        why = "closed by the peer"
        try:
            call = channel.stream_stream(f"/{SERVICE}/{METHOD}", None, None)(None)
            async with asyncio.timeout(self._limits.hello_seconds_max):
                await self._greet(call)
            up_at = clock()
            await self._send_frames(call)
        except TimeoutError:
            why = "no hello in time"
        except LinkDown as error:
            why = str(error)
        except aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"[:_WHY_CHARACTERS_MAX]
        except (aio.UsageError, asyncio.InvalidStateError):
            pass  # the stream ended between two writes
        finally:
            self._forget_queue()
            await channel.close(None)
        self._recorder.events.link_down(self.peer, why)
        if up_at is None or clock() - up_at < self._limits.stable_seconds_min:
            raise LinkDown(why)

    async def _greet(self, call: Call) -> None:
        await call.write(self._hello())
        reply = await call.read()
        if not is_message(reply):
            raise LinkDown("closed before its hello")
        refusal = self._check_hello(reply)
        if refusal is not None:
            self._recorder.rejected(refusal, self.peer)
            raise LinkDown(f"refused hello: {refusal}")

    async def _send_frames(self, call: Call) -> None:
        """Write what is queued until the peer ends the stream, which it does by saying anything."""
        loop = asyncio.get_running_loop()
        end = loop.create_task(call.read())
        end.add_done_callback(lambda _: self._rouse())
        self._counters.links_up += 1
        self._recorder.events.link_up(self.peer)
        self.is_up = self._has_lost = True
        try:
            while not end.done():
                await self._drain(call)
                self._wake = loop.create_future()
                if not end.done():  # its callback may have come while there was no one to wake
                    await self._wake
            if is_message(end.result()):
                self._recorder.rejected("unexpected_message", self.peer)
        finally:
            self._wake = None
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)

    async def _drain(self, call: Call) -> None:
        queue, counters = self._queue, self._counters
        while queue:
            data = queue[0]
            await call.write(data)
            queue.popleft()
            self._queued_bytes -= len(data)
            counters.frames_sent += 1
            counters.bytes_sent += len(data)
        if self._has_lost:
            self._has_lost = False
            self._report_fresh(self.peer)

    def _forget_queue(self) -> None:
        self.is_up = self._is_open = False
        self._counters.frames_dropped += len(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
