"""examples/locks.py, over a log in this process; the log itself is tested elsewhere."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

from pretend_log import PretendLog

from qbft.ordered import Position

EXAMPLE = Path(__file__).parents[2] / "examples" / "locks.py"


def locks_of(log: PretendLog) -> Any:
    """The example's locks, over that log."""
    return runpy.run_path(str(EXAMPLE))["Locks"](log)


async def test_one_after_the_other_holds_it() -> None:
    """Issue 7: first come, first served, never two at once, tokens that grow; others' locks not."""
    log = PretendLog()
    await log.append("locks/all", b'["no claim"]')
    inside: list[str] = []
    tokens: list[Position] = []

    async def work(lock: str) -> None:
        async with locks_of(log).hold(lock) as token:
            assert lock not in inside
            inside.append(lock)
            tokens.append(token)
            await asyncio.sleep(1)
            inside.remove(lock)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for lock in ("b", "a", "a", "a"):
            await asyncio.sleep(0.05)
            tasks.create_task(work(lock))
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 4


async def test_a_holder_that_has_died_is_evicted() -> None:
    """A holder without a sign of life is passed by; one that gives signs holds as long as it likes.

    A slow holder that comes back has a lower token than the next one.
    """
    log = PretendLog()
    dead = '{"what": "claim", "lock": "a", "claim": "dead"}'
    await log.append("locks/all", dead.encode())
    now = asyncio.get_running_loop().time
    locks = locks_of(log)

    async def hold() -> Position:
        async with locks.hold("a", patience=3) as token:
            return token

    async with locks.hold("a", patience=3) as first:
        assert 3 < now() < 6
        next_one = asyncio.ensure_future(hold())
        await asyncio.sleep(20)
        assert not next_one.done()
    assert await next_one > first > log.entries[0].position
