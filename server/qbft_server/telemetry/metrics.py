"""Metrics, by Prometheus conventions.

What happens often is counted where it happens, in plain integers, and read when it is scraped; what
is rare is counted here. No label comes from a client; peers are validators' indexes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qbft.replica.replica import Replica
from qbft_server.peers import GrpcTransport
from qbft_server.store.store import NodeStore

LATENCY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """One node's registry, and the counters that are told to it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rejects = Counter(
            "qbft_rejects",
            "Messages, or parts of them, that were refused, by reason and peer.",
            ["reason", "peer"],
            registry=self.registry,
        )
        self._calls = Counter(
            "qbft_client_calls",
            "Calls of clients that ended, by method and status code.",
            ["method", "code"],
            registry=self.registry,
        )
        self.propose_seconds = Histogram(
            "qbft_propose_seconds",
            "Seconds from a client's proposal to its decision.",
            buckets=LATENCY_SECONDS,
            registry=self.registry,
        )

    def reject(self, reason: str, peer: int | None) -> None:
        """Count a refusal; None is a stranger."""
        self._rejects.labels(reason, "stranger" if peer is None else str(peer)).inc()

    def call_ended(self, method: str, code: str) -> None:
        """Count a client's call."""
        self._calls.labels(method, code).inc()

    def watch(self, replica: Replica, store: NodeStore, transport: GrpcTransport) -> None:
        """Read these at every scrape."""
        self.registry.register(_Parts(replica, store, transport))


class _Parts(Collector):
    """Reads the plain counters of the node's parts."""

    def __init__(self, replica: Replica, store: NodeStore, transport: GrpcTransport) -> None:
        self._replica = replica
        self._store = store
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        """Give the parts' counters as metrics."""
        status = self._replica.status()
        journal = self._store.journal
        gauges = {
            "qbft_open_instances": ("Undecided instances with an engine.", status.open_instances),
            "qbft_held_votes": ("Votes that wait for their instance.", status.held_votes),
            "qbft_voting": ("Whether this node votes.", int(status.voting)),
            "qbft_decisions": ("Decisions stored here.", self._store.end),
            "qbft_tasks": ("Tasks of the event loop.", len(asyncio.all_tasks(self._loop))),
            "qbft_journal_commit_seconds_max": (
                "The slowest write and fsync of the journal.",
                journal.stats.sync_seconds_max,
            ),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        counters = {
            "qbft_journal_commits": ("Turns made durable.", journal.stats.commits),
            "qbft_journal_fsyncs": ("Times the journal made the disk write.", journal.fsyncs),
            "qbft_decisions_commits": (
                "Times decisions were synced in SQLite, each one fsync.",
                self._store.stats.flushes,
            ),
            "qbft_decisions_deleted": (
                "Decisions deleted because retention keeps them no longer.",
                self._store.stats.deleted,
            ),
            "qbft_journal_records": ("Records in these commits.", journal.stats.records),
            "qbft_journal_bytes": ("Bytes written to the journal.", journal.stats.bytes_written),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value=value)
        yield from self._peers()

    def _peers(self) -> Iterator[Metric]:
        connected = self._transport.connected
        up = GaugeMetricFamily("qbft_peer_up", "Whether our link to a peer is up.", labels=["peer"])
        families = {
            name: CounterMetricFamily(f"qbft_peer_{name}", text, labels=["peer"])
            for name, text in (
                ("frames_sent", "Frames sent to a peer."),
                ("frames_received", "Frames received from a peer."),
                ("frames_dropped", "Frames not sent: the peer lags or is away."),
                ("bytes_sent", "Bytes sent to a peer."),
                ("bytes_received", "Bytes received from a peer."),
                ("links_up", "Times our link to a peer came up."),
            )
        }
        for peer, counted in self._transport.counters.items():
            up.add_metric([str(peer)], int(peer in connected))
            for name, family in families.items():
                family.add_metric([str(peer)], getattr(counted, name))
        yield up
        yield from families.values()
