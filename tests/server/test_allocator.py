"""What was a large buffer goes back to the system (docs/adr/021)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library has another allocator"
)

TUNED = ("MALLOC_", "GLIBC_TUNABLES")

_HOLES = """
import sys
from pathlib import Path
from qbft_server.allocator import give_back_large_buffers
if sys.argv[1] == "kept to":
    give_back_large_buffers()
def resident_mib():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024
bytes(16 << 20)  # freed at once: from here on glibc takes what is smaller from its heap
before, small = resident_mib(), []
large = []
for _ in range(200):
    large.append(b"v" * (1 << 20))
    small.append(bytearray(2_000))
del large
print(resident_mib() - before)
"""
"""Large values come and go, and something small that stays is made between two of them."""


def kept_mib(how: str) -> float:
    """What a process still holds of 200 MiB that it has freed."""
    done = subprocess.run(
        [sys.executable, "-c", _HOLES, how],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={key: value for key, value in os.environ.items() if not key.startswith(TUNED)},
    )
    return float(done.stdout)


def test_what_was_a_large_value_is_given_back() -> None:
    """A node that had been flooded held three times what it had in use."""
    assert kept_mib("kept to") < 20


def test_by_itself_the_allocator_would_keep_it() -> None:
    """Or all this would not be needed any more."""
    assert kept_mib("not") > 150
