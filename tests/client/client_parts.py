"""What the tests of the client share: an instance, a deadline, and waiting for other ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pretend_cluster import TOPIC

from qbft.core import InstanceId

INSTANCE = InstanceId(TOPIC, 17)
SECONDS = 60.0
"""What must happen within it happens much sooner."""


def client_tasks() -> list[asyncio.Task[object]]:
    """The tasks that run code of the client; the pretended servers have their own."""
    codes = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
    return [task for task, code in codes.items() if code and "qbft/client" in code.co_filename]


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition of the real world, with a deadline."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - other ends of sockets set no event
            await asyncio.sleep(0.005)
