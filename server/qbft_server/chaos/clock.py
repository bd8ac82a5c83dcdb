"""The clock of all events."""

from __future__ import annotations

import asyncio


def now() -> float:
    """The running loop's clock, in seconds."""
    return asyncio.get_running_loop().time()
