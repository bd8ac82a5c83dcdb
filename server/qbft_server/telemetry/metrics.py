"""Metrics, by Prometheus conventions; what there is stands in `qbft_server.telemetry.catalogue`.

What happens is counted where it happens, in plain integers, and read when it is scraped: no call of
the library's on the way of a message. It is read from the admin port's threads, so what may change
its size meanwhile is copied first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from qbft.core import MessageType
from qbft.distribution import Distribution
from qbft.replica.bounds import Bites
from qbft.replica.driver import Driver
from qbft.replica.replica import Replica
from qbft.replica.tally import PROPOSAL
from qbft_server.application import RemoteApplication
from qbft_server.ordered.appends import Appends
from qbft_server.peers import GrpcTransport
from qbft_server.store.store import NodeStore
from qbft_server.telemetry.catalogue import BY_NAME
from qbft_server.telemetry.load import ClientLoad
from qbft_server.telemetry.recorder import Recorder
from qbft_server.version import VERSION

if TYPE_CHECKING:
    from qbft_server.telemetry.traces import Traces

LATE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
"""Of a due timer, which should wait no longer than 0.05 (DESIGN, async)."""

LATENCY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

TYPES = {int(type_): type_.name.lower() for type_ in MessageType} | {PROPOSAL: "proposal"}
"""The slots of `qbft.replica.tally.Tally`, by what they count."""

Value = float | Distribution
Samples = Iterable[tuple[tuple[str, ...], Value]]
"""The values of the labels, and what is told of them."""


def family(name: str, samples: Samples, unit: float = 1) -> Metric:
    """Make a metric of the catalogue; numbers of distributions are told times `unit`."""
    told = BY_NAME[name]
    match told.kind:
        case "counter":
            counter = CounterMetricFamily(name, told.text, labels=told.labels)
            for labels, value in samples:
                counter.add_metric(labels, _number(value))
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(name, told.text, labels=told.labels)
            for labels, value in samples:
                gauge.add_metric(labels, _number(value))
            return gauge
        case "histogram":
            histogram = HistogramMetricFamily(name, told.text, labels=told.labels)
            for labels, value in samples:
                assert isinstance(value, Distribution)  # noqa: S101 - as the catalogue says
                buckets = zip(_ends(value, unit), accumulate(value.counts), strict=True)
                histogram.add_metric(labels, list(buckets), value.sum * unit)
            return histogram


def _number(value: Value) -> float:
    assert not isinstance(value, Distribution)  # noqa: S101 - as the catalogue says
    return value


def _ends(distribution: Distribution, unit: float) -> Iterator[str]:
    """The upper ends of the buckets, as they are written."""
    for end in distribution.bounds:
        yield f"{end * unit:g}"
    yield "+Inf"


def _one(name: str, value: Value, unit: float = 1) -> Metric:
    return family(name, [((), value)], unit)


class Metrics(Collector):
    """One node's registry, and the counters that are told to it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self.bites = Bites()
        """Of the bounds of what serves clients and people."""
        self.propose_seconds = Distribution(LATENCY_SECONDS)
        """From a client's proposal to its decision."""
        self.timer_late_seconds = Distribution(LATE_SECONDS)
        """What a due timer waited at most, in each turn."""
        self.clients = ClientLoad()
        """What clients occupy now."""
        self._all_bites = [self.bites]
        self._rejects: dict[int | None, dict[str, int]] = {}
        self._calls: dict[tuple[str, str], int] = {}

    def reject(self, reason: str, peer: int | None) -> None:
        """Count a refusal; None is a stranger."""
        counts = self._rejects.setdefault(peer, {})
        counts[reason] = counts.get(reason, 0) + 1

    def rejects_of(self, peer: int | None) -> dict[str, int]:
        """What was refused of a peer, by reason, as long as this node has run."""
        return dict(self._rejects.get(peer, {}))

    def bitten(self) -> dict[tuple[str, int | None], int]:
        """How often each bound of the node has bitten, by the peer that ran into it."""
        counts: dict[tuple[str, int | None], int] = {}
        for bites in self._all_bites:
            counts |= bites.counts()
        return counts

    def call_ended(self, method: str, code: str) -> None:
        """Count a client's call; both words are of closed sets."""
        key = method, code
        self._calls[key] = self._calls.get(key, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Give what was counted here."""
        yield family("qbft_rejects", self._refused())
        yield family("qbft_bounds", self._bounds())
        yield family("qbft_client_calls", self._calls.copy().items())
        yield _one("qbft_propose_seconds", self.propose_seconds)
        yield _one("qbft_timer_late_seconds", self.timer_late_seconds)
        load = self.clients
        yield _one("qbft_client_calls_open", load.calls.total)
        yield _one("qbft_proposals_in_flight", load.proposals.total)
        yield _one("qbft_proposal_bytes_in_flight", load.proposal_bytes.total)
        yield _one("qbft_client_instances_open", load.undecided.total)
        yield _one("qbft_watches", load.watches.total)
        yield _one("qbft_propose_streams", load.propose_streams.total)
        yield _one("qbft_unread_bytes", load.unread_bytes.total)
        yield family("qbft_build_info", [((VERSION,), 1)])

    def _refused(self) -> Samples:
        for peer, counts in self._rejects.copy().items():
            for reason, count in counts.copy().items():
                yield (reason, "stranger" if peer is None else str(peer)), count

    def _bounds(self) -> Samples:
        for (bound, peer), count in self.bitten().items():
            yield (bound, "" if peer is None else str(peer)), count

    def watch(
        self,
        replica: Replica,
        driver: Driver,
        store: NodeStore,
        transport: GrpcTransport,
        *,
        recorder: Recorder | None = None,
        appends: Appends | None = None,
        application: RemoteApplication | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Read these at every scrape."""
        self._all_bites += [replica.bites, driver.bites, store.bites, transport.bites]
        if appends is not None:
            self._all_bites.append(appends.bites)
        parts = _Parts(
            replica,
            store,
            transport,
            recorder=recorder,
            appends=appends,
            application=application,
            traces=traces,
        )
        self.registry.register(parts)


class _Parts(Collector):
    """Reads the plain counters of the node's parts."""

    def __init__(
        self,
        replica: Replica,
        store: NodeStore,
        transport: GrpcTransport,
        *,
        recorder: Recorder | None,
        appends: Appends | None,
        application: RemoteApplication | None,
        traces: Traces | None,
    ) -> None:
        self._appends = appends
        self._application = application
        self._recorder = recorder
        self._traces = traces
        self._replica = replica
        self._store = store
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        """Give the parts' counters as metrics."""
        yield _one("qbft_tasks", len(asyncio.all_tasks(self._loop)))
        evidence = self._replica.misconduct.found.items()
        yield family("qbft_evidence", [((str(index),), count) for index, count in evidence])
        yield from self._deciding()
        yield from self._messages()
        yield from self._links()
        yield from self._waiting()
        yield from self._disks()
        yield from self._appended()
        yield from self._told()
        yield from self._recorded()
        yield family("qbft_spans", self._traced())

    def _deciding(self) -> Iterator[Metric]:
        status, tally = self._replica.status(), self._replica.tally
        yield _one("qbft_voting", status.voting)
        yield _one("qbft_behind", status.behind)
        yield _one("qbft_decisions", self._store.end)
        yield _one("qbft_open_instances", status.open_instances)
        yield _one("qbft_kept_out_instances", status.kept_out)
        yield _one("qbft_topics", status.topics)
        yield _one("qbft_held_votes", status.held_votes)
        yield _one("qbft_instances_opened", tally.opened)
        yield family(
            "qbft_instances_decided",
            [
                (("quorum",), tally.by_quorum),
                (("certificate",), tally.by_certificate),
                (("unopened",), tally.unopened),
            ],
        )
        yield _one("qbft_decision_round", tally.rounds)
        phases: Samples = [
            (("accepted",), tally.accepted_ms),
            (("prepared",), tally.prepared_ms),
            (("decided",), tally.decided_ms),
        ]
        yield family("qbft_phase_seconds", phases, unit=0.001)
        yield _one("qbft_round_timeouts", tally.expired)
        now = self._loop.time()
        oldest_ms = status.oldest_open_ms
        yield _one("qbft_oldest_open_seconds", 0 if oldest_ms is None else now - oldest_ms / 1000)
        silent = [((str(peer),), now - ms / 1000) for peer, ms in status.peers_heard.items()]
        yield family("qbft_peer_silent_seconds", silent)

    def _messages(self) -> Iterator[Metric]:
        tally = self._replica.tally
        yield family("qbft_messages_sent", [((TYPES[i],), tally.sent[i]) for i in TYPES])
        received = [
            ((TYPES[i], str(peer)), slots[i])
            for peer, slots in tally.received.items()
            for i in TYPES
        ]
        yield family("qbft_messages_received", received)

    def _links(self) -> Iterator[Metric]:
        connected, counters = self._transport.connected, self._transport.counters
        yield family("qbft_peer_up", [((str(peer),), peer in connected) for peer in counters])
        yield _one("qbft_peer_streams", self._transport.streams)
        names = {
            "qbft_peer_frames_sent": "frames_sent",
            "qbft_peer_frames_received": "frames_received",
            "qbft_peer_frames_dropped": "frames_dropped",
            "qbft_peer_bytes_sent": "bytes_sent",
            "qbft_peer_bytes_received": "bytes_received",
            "qbft_peer_links_up": "links_up",
            "qbft_peer_dials": "dials",
            "qbft_peer_lagging": "times_lagging",
            "qbft_peer_streams_accepted": "streams_accepted",
        }
        for name, slot in names.items():
            counts = [((str(peer),), getattr(each, slot)) for peer, each in counters.items()]
            yield family(name, counts)

    def _waiting(self) -> Iterator[Metric]:
        depths = self._replica.depths()
        yield _one("qbft_bare_decisions", depths.bare)
        yield _one("qbft_settling_decisions", depths.settling)
        queues = {peer: self._transport.queued(peer) for peer in depths.by_peer}
        inboxes = {peer: self._transport.unread(peer) for peer in depths.by_peer}
        for name, pairs in (("queue", queues), ("inbox", inboxes)):
            for place, what in enumerate(("frames", "bytes")):
                samples = [((str(peer),), pair[place]) for peer, pair in pairs.items()]
                yield family(f"qbft_peer_{name}_{what}", samples)
        for slot in (
            "waiting_work",
            "waiting_bytes",
            "held_votes",
            "kept_bytes",
            "opened_instances",
            "feed_position",
            "feed_end",
        ):
            of_peers = depths.by_peer.items()
            samples = [((str(peer),), getattr(each, slot)) for peer, each in of_peers]
            yield family(f"qbft_peer_{slot}", samples)

    def _disks(self) -> Iterator[Metric]:
        store, journal = self._store, self._store.journal
        yield _one("qbft_journal_commit_seconds", journal.stats.commit_seconds)
        yield _one("qbft_journal_fsync_seconds", journal.stats.fsync_seconds)
        yield _one("qbft_journal_commit_seconds_max", journal.stats.sync_seconds_max)
        yield _one("qbft_journal_commits", journal.stats.commits)
        yield _one("qbft_journal_thread_commits", journal.stats.thread_commits)
        yield _one("qbft_journal_fsyncs", journal.fsyncs)
        yield _one("qbft_journal_records", journal.stats.records)
        yield _one("qbft_journal_bytes", journal.stats.bytes_written)
        yield _one("qbft_journal_rotations", journal.stats.rotations)
        yield _one("qbft_journal_checkpoints", journal.stats.checkpoints)
        yield _one("qbft_journal_retained_bytes", journal.retained_bytes)
        yield _one("qbft_pending_decisions", journal.live.pending_count)
        yield _one("qbft_pending_decision_bytes", journal.live.pending_bytes)
        yield _one("qbft_decisions_commits", store.stats.flushes)
        yield _one("qbft_decisions_commit_failures", store.stats.flush_failures)
        yield _one("qbft_decisions_commit_seconds", store.stats.flush_seconds)
        yield _one("qbft_decisions_deleted", store.stats.deleted)

    def _appended(self) -> Iterator[Metric]:
        if self._appends is None:
            return
        yield _one("qbft_appends", self._appends.appended)
        yield _one("qbft_append_heights_lost", self._appends.heights_lost)

    def _told(self) -> Iterator[Metric]:
        """What the application is told; nothing is said of it where there is none to be told."""
        application = self._application
        untold: Samples = ()
        failures: Samples = ()
        if application is not None and application.told_position is not None:
            untold = [((), max(0, self._store.end - application.told_position))]
            failures = [((), application.failures)]
        yield family("qbft_application_untold_decisions", untold)
        yield family("qbft_application_untold", failures)

    def _traced(self) -> Samples:
        traces = self._traces
        if traces is not None:
            yield ("ended",), traces.ended
            yield ("exported",), traces.exporter.exported
            yield ("failed",), traces.exporter.failed

    def _recorded(self) -> Iterator[Metric]:
        recorder = self._recorder
        if recorder is None:
            return
        yield _one("qbft_recorder_bytes", recorder.bytes)
        yield _one("qbft_recorder_instances", len(recorder))
        yield _one("qbft_recorder_instances_dropped", recorder.instances_dropped)
        yield _one("qbft_recorder_entries_dropped", recorder.entries_dropped)
