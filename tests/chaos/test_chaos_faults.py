"""What faults leave able to work: the conditions under which the judge demands decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbft_server.chaos.faults import Injector
from qbft_server.chaos.history import Conditions, Event
from qbft_server.chaos.plan import Fault, Kind
from qbft_server.chaos.relays import Relays, Weather
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.real_clock

SILENT = Fault(Kind.ONE_WAY, links=((0, 1), (0, 2)))
SLOW = Fault(Kind.DELAY, links=((0, 1), (1, 0)), ms=50)


async def test_faults_of_one_link_end_one_by_one(tmp_path: Path) -> None:
    """A link that two faults disturb is whole when both have ended, and not before."""
    seen: list[Event] = []
    local = LocalCluster.create(tmp_path / "cluster")
    async with local, Relays(local.cluster, 0) as relays:
        injector = Injector(local, relays, seen.append)
        assert injector.is_able
        await injector.begin(SILENT)
        await injector.begin(SLOW)
        assert relays.weather((0, 1)) == relays.weather((1, 0)) == Weather(delay_ms=50)
        assert relays.weather((0, 2)) == Weather(is_silent=True)
        await injector.end(SLOW)
        assert not injector.is_able
        assert relays.weather((0, 1)) == Weather(is_silent=True)
        assert relays.weather((1, 0)) == Weather()
        await injector.end(SILENT)
        assert injector.is_able
        assert {relays.weather(link) for link in SILENT.links + SLOW.links} == {Weather()}
    told = [event.is_able for event in seen if isinstance(event, Conditions)]
    assert told == [False, False, False, True]
