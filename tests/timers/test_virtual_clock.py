"""The virtual clock: nothing waits, time jumps, and a wait without end is found."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from qbft.replica.driver import now_ms
from qbft.sim.clock import DeadlockError, VirtualClockLoop, run_virtual


def test_twenty_years_pass_at_once() -> None:
    """DESIGN, time: waiting goes through the loop's clock, so that a virtual one costs nothing."""

    async def wait() -> float:
        for _ in range(20):
            await asyncio.sleep(365 * 24 * 3_600)
            await asyncio.sleep(0.001)
        return asyncio.get_running_loop().time()

    begin = time.monotonic()
    assert run_virtual(wait()) == pytest.approx(20 * 365 * 24 * 3_600 + 0.02)
    assert time.monotonic() - begin < 5


def test_timers_fire_in_order_and_at_their_time() -> None:
    """Timers of one moment fire in the order in which they were set, the rest by time."""

    async def wait() -> list[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[str, int]] = []
        for name, at_ms in (("c", 30), ("a", 10), ("b", 20), ("d", 30), ("now", 0)):
            loop.call_later(at_ms / 1000, lambda name=name: fired.append((name, now_ms())))
        await asyncio.sleep(1)
        return fired

    assert run_virtual(wait()) == [("now", 0), ("a", 10), ("b", 20), ("c", 30), ("d", 30)]


def test_every_millisecond_is_read_as_itself() -> None:
    """A timer set for a millisecond reads that one, not the one before: no float slips."""

    async def wait() -> None:
        for _ in range(10_000):
            due = now_ms() + 7
            fired = asyncio.Event()
            asyncio.get_running_loop().call_at(due / 1000, fired.set)
            await fired.wait()
            assert now_ms() == due

    run_virtual(wait())


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    """What was cancelled is not waited for."""

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(1_000, lambda: None).cancel()
        await asyncio.sleep(1)
        return loop.time()

    assert run_virtual(wait()) == pytest.approx(1)


def test_a_timeout_ends_a_wait_without_end() -> None:
    """`asyncio.timeout` works as on the real clock."""

    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(wait()) == pytest.approx(60)


def test_a_wait_without_end_is_a_deadlock() -> None:
    """A simulation in which nothing can happen any more fails at once, and cleans up."""
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(DeadlockError):
        run_virtual(wait())
    assert ended == [True]


def test_cancelling_works_as_on_the_real_clock() -> None:
    """A task that sleeps for an hour is cancelled now."""

    async def wait() -> float:
        sleeper = asyncio.create_task(asyncio.sleep(3_600))
        await asyncio.sleep(1)
        sleeper.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        return asyncio.get_running_loop().time()

    assert run_virtual(wait()) == pytest.approx(1)


async def test_sockets_are_refused() -> None:
    """A test that forgets its mark fails at once, instead of rushing through time for ever."""
    with socket.socket() as listener, pytest.raises(RuntimeError, match="real clock"):
        asyncio.get_running_loop().add_reader(listener, lambda: None)


async def test_async_tests_run_on_it() -> None:
    """No test sleeps for real unless it is marked so (docs/TESTING.md)."""
    assert isinstance(asyncio.get_running_loop(), VirtualClockLoop)


@pytest.mark.real_clock
async def test_marked_tests_run_on_the_real_one() -> None:
    """Sockets, disks and threads need the real loop."""
    assert not isinstance(asyncio.get_running_loop(), VirtualClockLoop)
