"""examples/judge.py, the program of docs/TUTORIAL.md, as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from qbft.core import InstanceId
from qbft_server.application import connect
from qbft_server.config import ApplicationSettings

EXAMPLE = Path(__file__).parents[2] / "examples" / "judge.py"
PRICE = InstanceId("prices/btc", 19)
SECONDS = 60.0


@pytest.mark.e2e
async def test_a_price_must_be_a_number(tmp_path: Path) -> None:
    """Issue 7, an application of one's own: as a node asks it, a number is valid, a word is not."""
    address = f"unix:{tmp_path / 'judge.sock'}"
    program = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), address)
    try:
        settings = ApplicationSettings(address=address, prefixes=("prices/",))
        async with (
            asyncio.timeout(SECONDS),
            connect(settings, value_bytes_max=1 << 20, message_bytes_max=2 << 20) as remote,
        ):
            assert remote is not None
            assert await remote.check_value(PRICE, b"64300.00", 0)
            for value in (b"cheap", b"1.", b".5", b"1e9", b"-1"):
                assert not await remote.check_value(PRICE, value, 0)
    finally:
        program.terminate()
        await program.wait()
