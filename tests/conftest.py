"""Every test runs on a virtual clock, but for those on real sockets, disks or processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from qbft.sim.clock import VirtualClockLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the loop of an async test: real where it is marked so, virtual everywhere else."""
    if item.get_closest_marker("real_clock") or item.get_closest_marker("e2e"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualClockLoop}
