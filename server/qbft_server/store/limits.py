"""What the store takes, and what it has done: its bounds and its counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from qbft.distribution import Distribution
from qbft_server.store.journal import SECONDS, JournalLimits


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of the store."""

    flush_interval_ms: int = 200
    """Decisions are moved to SQLite after so long ..."""

    flush_retry_ms: int = 1_000
    """(or so long after that has failed)"""

    flush_decisions_max: int = 1_000
    flush_bytes_max: int = 8 << 20
    """... or at once when so many, or so many bytes of values, wait: as much as one transaction
    takes."""

    insert_decisions_max: int = 16
    """Of these so many are written in one piece of work of the event loop."""

    pending_decisions_max: int = 10_000
    pending_bytes_max: int = 128 << 20
    """When so many wait, a commit moves some first, and fails if that fails."""

    recent_decisions_max: int = 4_096
    recent_bytes_max: int = 32 << 20
    """Decisions kept in memory beside SQLite; the one used longest ago goes."""

    retain_interval_ms: int = 1_000
    """How often retention looks for what to delete."""

    delete_decisions_max: int = 256
    """Decisions deleted in one transaction."""

    journal: JournalLimits = field(default_factory=JournalLimits)


@dataclass(slots=True)
class StoreStats:
    """Counters of one life of the store, beside those of its journal."""

    flushes: int = 0
    flush_failures: int = 0
    flush_seconds_last: float = 0.0
    flush_seconds_max: float = 0.0
    flush_seconds: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    full_waits: int = 0
    deleted: int = 0
