"""Ending as Ctrl-C does when told to by a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from qbft_server.cli.exits import CommandError, ExitCode

T = TypeVar("T")


async def until_told_to_stop(work: Coroutine[Any, Any, T]) -> T:
    """Let SIGTERM and SIGHUP cancel the work as Ctrl-C does, so that they leave no node behind.

    Raises:
        CommandError: one of them came.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, stop)
    try:
        return await running
    except asyncio.CancelledError:
        if stopped:
            raise CommandError("interrupted", ExitCode.INTERRUPTED) from None
        raise
