"""Every test runs on a virtual clock, but for those on real sockets, disks or processes."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Generator, Mapping
from unittest.mock import patch

import pytest
from hypothesis import settings

from qbft.replica.bounds import Bites
from qbft.sim.clock import VirtualClockLoop

settings.register_profile("qbft", derandomize=True, deadline=None)
settings.load_profile("qbft")
"""The same examples each time, on a machine of any speed."""


class NotOfAnotherLoop(logging.Filter):
    """Leaves out what gRPC's poller, one for a process, tells of the loop of an earlier test.

    A call that such a test has ended may have its last event when that test's loop is closed, and
    whichever loop comes next is told. A node has one loop for all its life.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is about anything else."""
        error = record.exc_info[1] if record.exc_info else None
        return not (
            "PollerCompletionQueue._handle_events" in record.getMessage()
            and isinstance(error, RuntimeError)
            and str(error) == "Event loop is closed"
        )


logging.getLogger("asyncio").addFilter(NotOfAnotherLoop())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Demand that groups of tests stay together, and leave what is there out of garbage's walks."""
    if getattr(session.config.option, "loadgroup", False):
        grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
        if not all("@" in item.nodeid for item in grouped):
            raise pytest.UsageError("this pytest-xdist does not heed xdist_group")
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the loop of an async test: real where it is marked so, virtual everywhere else."""
    if item.get_closest_marker("real_clock") or item.get_closest_marker("e2e"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualClockLoop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Demand that the bounds which bite in a test, as it is marked, are counted in it."""
    marker = item.get_closest_marker("bites")
    if marker is None:
        return (yield)
    noted: set[str] = set()
    note = Bites.note

    def watched(bites: Bites, bound: str, peer: int | None = None) -> None:
        noted.add(bound)
        note(bites, bound, peer)

    with patch.object(Bites, "note", watched):
        result = yield
    assert noted.issuperset(marker.args), f"not counted: {set(marker.args) - noted}"
    return result
