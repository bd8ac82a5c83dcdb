"""Blocking work of the disk, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def in_thread(work: Callable[[], object]) -> bool:
    """Run blocking work in a thread and wait for its end, even when cancelled meanwhile.

    Returns whether this task was cancelled, which the caller must pass on once its books are in
    order. What the work raises is raised, by a CancelledError's cause where both happened.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    interrupted = False
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            interrupted = True
    error = future.exception()
    if error is not None and interrupted:
        raise asyncio.CancelledError from error
    if error is not None:
        raise error
    return interrupted
