"""Peers whose frames are left unread for a while: what is not read costs nothing (HARDENING U7)."""

from __future__ import annotations

import asyncio
import logging

import pytest
from grpc import aio
from grpc._cython import cygrpc
from loopback import Loopback, until
from test_strangers import greet

from qbft.transport import Frame
from qbft.wire import encode_frame
from qbft_server.peers.stream import hush_cancelled_calls

pytestmark = pytest.mark.real_clock


async def test_a_peer_that_may_not_be_read_is_read_later() -> None:
    """SCENARIOS F16: its frames wait in its own inbox, none is lost, and others are heard."""
    cluster = Loopback(3)
    unread = {1}
    async with (
        cluster.node(0, may_read=lambda peer: peer not in unread) as node,
        cluster.dial(0, cluster.identities[1]) as held,
        cluster.dial(0, cluster.identities[2]) as other,
    ):
        await greet(cluster, held)
        await other.write(cluster.encoded_hello(2))
        await other.read()
        await held.write(encode_frame(Frame(acknowledged=1)))
        await until(lambda: node.transport.counters[1].frames_received == 1)
        await other.write(encode_frame(Frame(acknowledged=2)))
        await until(lambda: node.heard(2) == [2])
        assert node.heard(1) == []
        unread.clear()
        await until(lambda: node.heard(1) == [1])


@pytest.mark.parametrize(
    ("data", "work"),
    [
        (b"\xff" * 100, 1),
        (b"\xff" * 30_000, 21),
        (encode_frame(Frame()) + b"\x12\x00" * 15_512, 21),
    ],
    ids=["garbage", "much of it", "nothing, many times"],
)
async def test_what_is_refused_is_held_against_its_sender(data: bytes, work: int) -> None:
    """Frames that say nothing right cost their reading all the same, by their bytes."""
    cluster = Loopback(2)
    wasted: list[tuple[int, int]] = []
    async with (
        cluster.node(0, wasted=lambda peer, work: wasted.append((peer, work))) as node,
        cluster.dial(0, cluster.identities[1]) as call,
    ):
        await greet(cluster, call)
        await call.write(data)
        await call.write(encode_frame(Frame(acknowledged=3)))
        await until(lambda: 3 in node.heard(1))
        assert wasted == [(1, work)]


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (asyncio.CancelledError(), False),
        (aio.UsageError("RPC already finished"), False),
        (cygrpc.ExecuteBatchError("Failed execute_batch"), False),
        (BaseExceptionGroup("", [ExceptionGroup("", [aio.UsageError()])]), False),
        (ValueError("a bug"), True),
        (ExceptionGroup("", [aio.UsageError(), ValueError("a bug")]), True),
    ],
)
def test_a_caller_that_leaves_writes_no_line(
    error: BaseException, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """SCENARIOS F16: each stream that went in the middle of its hello left a traceback in the log.

    What is no doing of a caller's is told as before.
    """
    hush_cancelled_calls()
    logging.getLogger("grpc._cython.cygrpc").error(
        "Unexpected error", exc_info=(type(error), error, None)
    )
    assert bool(caplog.records) is is_told
