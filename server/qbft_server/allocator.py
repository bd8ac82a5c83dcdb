"""The C library's allocator: what was a large value goes back to the system when it is freed."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3
_ARENAS = -8
"""Numbers of glibc's <malloc.h>."""

LARGE_BYTES = 128 << 10
"""From this size on a buffer is mapped by itself. glibc begins so too, but once one such buffer is
freed it raises this, up to 32 MiB, and values, frames and records of all sizes leave holes in its
heap: a node that held 100 MiB took 300 (docs/adr/021-when-nodes-are-late.md)."""

ARENAS_MAX = 2
"""Heaps that threads may have of their own, each with its own holes; glibc has 8 for each core."""


def give_back_large_buffers() -> None:
    """Have glibc keep to these; elsewhere do nothing."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
            mallopt(_ARENAS, ARENAS_MAX)
