"""Many runs in one process: what they leave is freed by its count, and cycles can wait."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_MAX = 50_000
"""Objects made and not yet freed that start the collector meanwhile; its default is 700."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have the cyclic garbage collector look for cycles seldom; also as a decorator.

    It walks whole worlds again and again to find next to nothing: that was a fifth of the time of
    simulated runs (docs/SIMULATION.md).
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_MAX, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
