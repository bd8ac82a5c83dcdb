"""What a commit of the vote journal costs, in the event loop and in a thread (ADR 003).

    python benchmarks/journal.py [--directory DIR] [--json]

Each row: commits a second one after the other, median and 99th percentile of one commit, and the
longest that a due timer of 1 ms waited. `busy` rows share the loop with a task that always has
work, in pieces of 200 us; `+30 ms` rows add that to every fsync, inside the kernel's part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from qbft.core.messages import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.protocols import ProposalRecord, Record
from qbft_server.store.journal import JournalLimits, VoteJournal

INLINE = JournalLimits(inline_seconds_max=3_600)
THREAD = JournalLimits(inline_bytes_max=0)
CLUSTER = bytes(32)

Turn = Callable[[int], Sequence[Record]]


class SlowDisk:
    """A fault hook that makes every fsync take longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """Take the time, without the interpreter's lock, as fsync does."""
        if label == "after_append" and self._seconds:
            time.sleep(self._seconds)


def one_record(number: int) -> Sequence[Record]:
    """A turn of about 2 KB in one record."""
    return (ProposalRecord(Proposal(InstanceId("bench", number), os.urandom(2_000)), True),)


def many_records(number: int) -> Sequence[Record]:
    """A turn under load: 64 records of about 300 bytes."""
    first = number * 64
    return tuple(
        ProposalRecord(Proposal(InstanceId("bench", height), os.urandom(256)), True)
        for height in range(first, first + 64)
    )


async def tick(waited: list[float]) -> None:
    """A timer that is due every millisecond; notes by how much it is late."""
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        waited.append(time.perf_counter() - begun - 0.001)


async def always_work() -> None:
    """A task that never lets the loop idle."""
    while True:
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def measure(
    directory: Path, limits: JournalLimits, turn: Turn, count: int, *, busy: bool, slow_s: float
) -> dict[str, float]:
    """Commit so many turns, one after the other."""
    VoteJournal.create(directory, CLUSTER, 0)
    journal = VoteJournal.open(directory, CLUSTER, 0, limits=limits, fault=SlowDisk(slow_s))
    turns = [turn(number) for number in range(count)]
    waited: list[float] = [0.0]
    seconds: list[float] = []
    beside = [asyncio.create_task(tick(waited))]
    beside += [asyncio.create_task(always_work()) for _ in range(busy)]
    for records in turns:
        begun = time.perf_counter()
        await journal.commit(records)
        seconds.append(time.perf_counter() - begun)
        await asyncio.sleep(0)
    for task in beside:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await journal.aclose()
    seconds.sort()
    return {
        "commits_s": round(count / sum(seconds)),
        "p50_us": round(seconds[count // 2] * 1e6),
        "p99_us": round(seconds[count * 99 // 100] * 1e6),
        "timer_late_ms_max": round(max(waited) * 1e3, 1),
        "bytes": journal.stats.bytes_written // count,
    }


ROWS: dict[str, tuple[JournalLimits, Turn, int, bool, float]] = {
    "inline, 1 record": (INLINE, one_record, 3_000, False, 0),
    "thread, 1 record": (THREAD, one_record, 3_000, False, 0),
    "inline, 64 records": (INLINE, many_records, 500, False, 0),
    "thread, 64 records": (THREAD, many_records, 500, False, 0),
    "inline, 1 record, busy": (INLINE, one_record, 300, True, 0),
    "thread, 1 record, busy": (THREAD, one_record, 300, True, 0),
    "inline, +30 ms": (INLINE, one_record, 50, False, 0.03),
    "as shipped, +30 ms": (JournalLimits(), one_record, 50, False, 0.03),
}


async def main() -> None:
    """Measure all rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="on the disk to measure; default: temporary files")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, (limits, turn, count, busy, slow_s) in ROWS.items():
        with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
            directory = Path(scratch) / "journal"
            result = await measure(directory, limits, turn, count, busy=busy, slow_s=slow_s)
        results[name] = result
        if not options.json:
            print(f"{name:24}", *(f"{key} {value:>8}" for key, value in result.items()), flush=True)
    if options.json:
        json.dump(results, sys.stdout, indent=2)


if __name__ == "__main__":
    asyncio.run(main())
