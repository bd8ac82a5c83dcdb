"""A node whose wall clock jumps, as a real process (SCENARIOS M13)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from e2e.crash_cluster import (
    SECONDS,
    TOPIC,
    cluster_with_faults,
    decided_everywhere,
    heights_led_by,
)

from qbft.client import Client

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(LIBRARY is None, reason="no libfaketime here (Debian's package faketime)"),
]


async def test_a_wall_clock_that_jumps_by_an_hour_matters_to_nobody(tmp_path: Path) -> None:
    """SCENARIOS M13: +-1 h; timers are monotonic, and certificates of TLS are valid at any time.

    While the clock is wrong an instance is decided by all, another one by a round change, for its
    leader is down, and that node's links are made anew when it comes back.
    """
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    wrong = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with (
        cluster_with_faults(tmp_path, {0: wrong}) as cluster,
        Client(cluster.cluster) as client,
    ):
        led_by_0, led_by_1 = heights_led_by(cluster, 0), heights_led_by(cluster, 1)
        for jump, seconds in (("+1h", 3_600), ("-1h", -3_600)):
            clock.write_text(f"{jump}\n")
            assert abs(_told_by_a_program(wrong) - time.time() - seconds) < 60
            height = next(led_by_0)
            await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
            assert await decided_everywhere(cluster, height) == {b"%d" % height}
            await cluster.kill(1)
            height = next(led_by_1)
            decision = await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
            assert decision.round > 1
            await cluster.start(1)
            assert await decided_everywhere(cluster, height) == {b"%d" % height}


def _told_by_a_program(environment: Mapping[str, str]) -> float:
    """The time that a program in this environment believes."""
    words = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, check=True, timeout=SECONDS
    )
    return float(told.stdout)
