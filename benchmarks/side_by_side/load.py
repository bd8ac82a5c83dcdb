"""The load, the same for every system, and the figures that come of it."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from qbft.errors import QbftError

ANSWER_SECONDS_MAX = 30.0
"""An operation that takes longer ends the run: it would say nothing about speed."""

OPERATIONS_MIN = 2
"""Of fewer there are no percentiles."""

HEIGHT_BYTES = 8


class Source:
    """Hands out the values of one topic while a stretch of time lasts, and notes each latency.

    Every value begins with its height and goes on with random bytes, the same for all, so that no
    system gains by compressing them.
    """

    def __init__(self, topic: str, value_bytes: int) -> None:
        self.topic = topic
        self._rest = os.urandom(value_bytes - HEIGHT_BYTES)
        self._heights = count()
        self._begun: dict[int, float] = {}
        self._end = 0.0
        self.latencies: list[float] = []

    def begin(self, seconds: float) -> None:
        """Start a stretch; what was noted before is forgotten."""
        self.latencies = []
        self._end = time.perf_counter() + seconds

    def next(self) -> tuple[int, bytes] | None:
        """The next height and its value, or None when the stretch is over."""
        now = time.perf_counter()
        if now >= self._end:
            return None
        height = next(self._heights)
        self._begun[height] = now
        return height, height.to_bytes(HEIGHT_BYTES, "big") + self._rest

    def done(self, height: int) -> None:
        """Note that what was handed out is agreed."""
        self.latencies.append(time.perf_counter() - self._begun.pop(height))


Session = Callable[[Source, int], Awaitable[None]]
"""Keeps so many operations of the source in flight until the source has no more."""


def by_workers(propose: Callable[[str, int, bytes], Awaitable[object]]) -> Session:
    """A session of unary calls: each worker has one in flight, always."""

    async def session(source: Source, in_flight: int) -> None:
        async def work() -> None:
            while (item := source.next()) is not None:
                height, value = item
                await propose(source.topic, height, value)
                source.done(height)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(work())

    return session


@dataclass(frozen=True)
class Usage:
    """What all processes of a system have used so far; None is not known."""

    cpu_seconds: float
    fsyncs: float | None = None
    frames: float | None = None
    wire_bytes: float | None = None
    disk_bytes: float | None = None
    journal_bytes: float | None = None

    def since(self, before: Usage) -> Usage:
        """What was used from then to now."""
        return Usage(
            cpu_seconds=self.cpu_seconds - before.cpu_seconds,
            fsyncs=_less(self.fsyncs, before.fsyncs),
            frames=_less(self.frames, before.frames),
            wire_bytes=_less(self.wire_bytes, before.wire_bytes),
            disk_bytes=_less(self.disk_bytes, before.disk_bytes),
            journal_bytes=_less(self.journal_bytes, before.journal_bytes),
        )


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


class Running(Protocol):
    """A system whose processes run and are ready."""

    async def usage(self) -> Usage:
        """What its processes have used so far."""
        ...

    def session(self, variant: str) -> AbstractAsyncContextManager[Session]:
        """Clients of one kind, connected while the block lasts."""
        ...


class System(Protocol):
    """Something that agrees on values."""

    @property
    def variants(self) -> dict[str, str]:
        """The ways to use it, and what each promises, in a line."""
        ...

    def run(self, directory: Path) -> AbstractAsyncContextManager[Running]:
        """Run all its processes with fresh data in that directory while the block lasts."""
        ...


@dataclass(frozen=True)
class Stretch:
    """One stretch of load, measured."""

    latencies: list[float]
    elapsed: float
    used: Usage
    client_cpu_seconds: float

    @property
    def operations(self) -> int:
        """How many were agreed."""
        return len(self.latencies)

    @property
    def percentiles_ms(self) -> tuple[float, float, float]:
        """The latencies' 50th, 90th and 99th percentile."""
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        return cuts[49] * 1_000, cuts[89] * 1_000, cuts[98] * 1_000

    def figures(self) -> dict[str, float | None]:
        """What is compared: times in milliseconds, the rest per operation, over all processes."""
        p50, p90, p99 = self.percentiles_ms
        return {
            "ops_s": self.operations / self.elapsed,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "operations": self.operations,
            "cpu_ms_per_op": self.used.cpu_seconds / self.operations * 1_000,
            "client_cpu_ms_per_op": self.client_cpu_seconds / self.operations * 1_000,
            "fsyncs_per_op": self._per_operation(self.used.fsyncs),
            "frames_per_op": self._per_operation(self.used.frames),
            "wire_bytes_per_op": self._per_operation(self.used.wire_bytes),
            "disk_bytes_per_op": self._per_operation(self.used.disk_bytes),
        }

    def _per_operation(self, used: float | None) -> float | None:
        return None if used is None else used / self.operations


async def measure(
    running: Running,
    variant: str,
    in_flight: int,
    *,
    seconds: float,
    warm_up_seconds: float,
    value_bytes: int,
) -> Stretch:
    """Warm up, then keep so many operations in flight for so long.

    Raises:
        QbftError: too little was agreed to say anything.
    """
    words = variant.replace(" ", "-").replace(",", "")
    source = Source(f"bench/{words}/{in_flight}", value_bytes)
    async with running.session(variant) as keep:
        source.begin(warm_up_seconds)
        await keep(source, in_flight)
        before = await running.usage()
        source.begin(seconds)
        begun, cpu_begun = time.perf_counter(), time.process_time()
        await keep(source, in_flight)
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
        used = (await running.usage()).since(before)
    if len(source.latencies) < OPERATIONS_MIN:
        raise QbftError(f"{variant} agreed on next to nothing in {seconds} s: give it longer")
    return Stretch(source.latencies, elapsed, used, cpu)
