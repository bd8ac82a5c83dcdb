"""Test-only: a transport that passes the labelled points of sending (SCENARIOS K2, K3)."""

from __future__ import annotations

import asyncio

from qbft.transport import Batch, Frame
from qbft_server.peers.transport import GrpcTransport
from qbft_server.store.faults import FaultHook


class FaultyTransport:
    """A `GrpcTransport` that tells a fault hook before it sends and after one peer got the frame.

    To make the second point real it sends to one peer first and waits until that is written, so it
    is slower than the real one, and only `QBFT_TEST_FAULTS=1` puts it in place.
    """

    def __init__(self, transport: GrpcTransport, fault: FaultHook) -> None:
        self._transport = transport
        self._fault = fault

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """See `qbft.transport.Transport.send`."""
        kinds = frozenset(vote.type.name for vote in frame.votes)
        self._fault("before_send", kinds)
        connected = sorted(self._transport.connected)
        if to is not None or not connected:
            await self._transport.send(frame, to)
            return
        first, *others = connected
        await self._transport.send(frame, first)
        while any(self._transport.queued(first)):  # noqa: ASYNC110 - test-only, no event
            await asyncio.sleep(0.001)
        self._fault("after_first_send", kinds)
        for peer in others:
            await self._transport.send(frame, peer)

    async def receive(self) -> Batch:
        """See `qbft.transport.Transport.receive`."""
        return await self._transport.receive()
