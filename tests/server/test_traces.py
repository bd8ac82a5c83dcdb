"""Traces for OpenTelemetry: a span for each instance (issue "See it, run it", seeing)."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.service_clients import SECONDS, channel_to, proposal
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from replica.replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    own_section,
    round_change,
    vote,
)
from replica.replica_builders import proposal as proposed

from qbft.client.tracing import trace_metadata
from qbft.core import Failed, Start
from qbft.errors import ClusterError
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.config import NodeConfig
from qbft_server.initialise import init_cluster
from qbft_server.local import LocalCluster
from qbft_server.node import _traces
from qbft_server.telemetry import traces as traces_module
from qbft_server.telemetry.traces import Traces

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"
V = proposed(b"v")


class Collector:
    """Traces that are kept here, and what became spans of them."""

    def __init__(self, exporter: SpanExporter | None = None, ratio: float = 1.0) -> None:
        self.memory = InMemorySpanExporter()
        self.traces = Traces(exporter or self.memory, node="test/1", ratio=ratio)

    def spans(self) -> tuple[ReadableSpan, ...]:
        """All that have ended."""
        self.traces.flush()
        return self.memory.get_finished_spans()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that is closed in the end."""
    made = Collector()
    yield made
    made.traces.close()


def decide(rig: Rig, leader: int = 0, round_: int = 1) -> None:
    """Let the others vote until it is decided."""
    rig.receive(leader, own_section(vote(PP, leader, V, round_)))
    for kind in (PREPARE, COMMIT):
        for source in (0, 2, 3):
            rig.receive(source, own_section(vote(kind, source, V, round_)))


def events(span: ReadableSpan) -> list[tuple[str, object]]:
    """What happened, and in which round."""
    return [(event.name, (event.attributes or {})["qbft.round"]) for event in span.events]


def test_an_instance_is_a_span_and_each_rule_an_event(collector: Collector) -> None:
    """By the names of the upon rules; the span lasts as long as the engine."""
    rig = Rig(1, observer=collector.traces)
    rig.receive(0, proposals=(V,))
    assert collector.spans() == ()
    decide(rig)
    (span,) = collector.spans()
    assert span.name == "qbft.instance"
    assert span.attributes == {
        "qbft.instance": str(V.instance),
        "qbft.opener": 0,
        "qbft.decided_round": 1,
    }
    assert span.parent is None
    assert events(span) == [
        ("justified_pre_prepare", 1),
        ("quorum_prepares", 1),
        ("quorum_commits", 1),
    ]
    assert span.resource.attributes["service.name"] == "qbft"
    assert span.resource.attributes["service.instance.id"] == "test/1"


def test_changes_of_round_are_events_too(collector: Collector) -> None:
    """So that a trace shows where the time went."""
    rig = Rig(1, observer=collector.traces)
    rig.receive(0, proposals=(V,))
    rig.wait(1_000)
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 2)))
    decide(rig, leader=1, round_=2)
    (span,) = collector.spans()
    (changed,) = [event for event in span.events if event.name == "round_changed"]
    assert changed.attributes == {
        "qbft.from_round": 1,
        "qbft.round": 2,
        "qbft.rule": "round_timeout",
    }
    assert (span.attributes or {})["qbft.decided_round"] == 2


def test_a_restart_and_a_bug_are_told(collector: Collector) -> None:
    """What went on from the journal begins a span of its own; a failed engine is an error."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    again = rig.restart(observer=collector.traces)
    collector.traces.stepped(V.instance, 1, Start(), (Failed("a bug"),), 5)
    decide(again)
    (span,) = collector.spans()
    assert (span.attributes or {})["qbft.resumed_votes"] == 1
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "a bug")


def test_what_a_client_opens_is_part_of_its_trace(collector: Collector) -> None:
    """W3C trace context, from the call's metadata; nothing else of what they tell is taken over."""
    metadata = (("traceparent", PARENT), ("tracestate", "vendor=secret"), ("baggage", "a=b"))
    with collector.traces.continued(metadata):
        collector.traces.opened(V.instance, 1, 0)
        collector.traces.join(V.instance)
    collector.traces.closed(V.instance, 5)
    collector.traces.opened(V.instance, 2, 6)
    with collector.traces.continued(metadata):
        collector.traces.join(V.instance)
        collector.traces.join(proposed(b"v", 7).instance)
    collector.traces.closed(V.instance, 7)
    called, joined = collector.spans()
    assert called.parent is not None
    assert (f"{called.parent.trace_id:032x}", f"{called.parent.span_id:016x}") == (TRACE, CALLER)
    assert called.context is not None
    assert not called.context.trace_state
    assert not called.links
    assert joined.parent is None
    (link,) = joined.links
    assert f"{link.context.trace_id:032x}" == TRACE


def test_the_client_tells_the_trace_of_its_program(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its current span, and not its state; a program without OpenTelemetry tells nothing."""
    with collector.traces.continued([("traceparent", PARENT)]):
        assert trace_metadata() == (("traceparent", PARENT),)
    assert trace_metadata() == ()
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with collector.traces.continued([("traceparent", PARENT)]):
        assert trace_metadata() == ()


@pytest.mark.parametrize(
    "parent", [None, b"\xff", "", "nonsense", PARENT.replace("00-", "ff-", 1), "0" * 100_000]
)
def test_nonsense_begins_a_trace_of_its_own(
    parent: str | bytes | None, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Hostile input is a value: no error, and nothing in the log above debug."""
    traces_module.hush()
    with collector.traces.continued(None if parent is None else [("traceparent", parent)]):
        collector.traces.opened(V.instance, 1, 0)
    collector.traces.closed(V.instance, 5)
    (span,) = collector.spans()
    assert span.parent is None
    assert caplog.records == []


async def test_calls_side_by_side_do_not_mix(collector: Collector) -> None:
    """Each task has its own caller."""

    async def call(number: int) -> None:
        parent = f"00-{number + 1:032x}-{CALLER}-01"
        with collector.traces.continued([("traceparent", parent)]):
            await asyncio.sleep(0.01)
            collector.traces.opened(proposed(b"v", number).instance, 1, 0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(call(number))
    for number in range(3):
        collector.traces.closed(proposed(b"v", number).instance, 0)
    parents = [span.parent.trace_id for span in collector.spans() if span.parent is not None]
    assert parents == [1, 2, 3]


def test_what_is_not_kept_costs_no_memory() -> None:
    """The ratio is the operator's, and an instance that is left out is forgotten at once."""
    collector = Collector(ratio=0)
    collector.traces.opened(V.instance, 1, 0)
    assert not collector.traces._spans
    collector.traces.closed(V.instance, 5)
    assert collector.traces.ended == 0
    collector.traces.close()


def test_what_cannot_be_sent_is_counted() -> None:
    """A collector that refuses, and the end of the node, which waits for none for long."""

    class Refusing(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.FAILURE

    collector = Collector(Refusing())
    collector.traces.opened(V.instance, 1, 0)
    collector.traces.closed(V.instance, 5)
    collector.traces.flush()
    assert (collector.traces.ended, collector.traces.exporter.failed) == (1, 1)
    collector.traces.exporter.give_up_at = 0.0
    assert collector.traces.exporter.export([]) is SpanExportResult.FAILURE
    collector.traces.close()


def test_a_node_without_traces_needs_no_packages_for_them() -> None:
    """The extra is an extra: what a node imports at its start does not reach OpenTelemetry."""
    script = "import sys, qbft_server.node; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_node_that_lacks_the_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors name the fix."""
    init_cluster(tmp_path / "c", 1)
    monkeypatch.setenv("QBFT_TRACES__ENDPOINT", "http://127.0.0.1:4318/v1/traces")
    config = NodeConfig.load(tmp_path / "c" / "node-0" / "node.toml")
    monkeypatch.setitem(sys.modules, "qbft_server.telemetry.traces", None)
    with pytest.raises(ClusterError, match=r"traces.endpoint = http://.*: needs `qbft\[otel\]`"):
        _traces(config, config.load_cluster()[0])


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector at a port of this machine: its address, and what it was sent."""
    requests: list[ExportTraceServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", requests
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.e2e
async def test_a_nodes_traces_reach_a_collector(tmp_path: Path) -> None:
    """From a client's call to OTLP: the decision is in the client's trace, with all its rules."""
    async with collecting() as (endpoint, requests):
        async with LocalCluster.create(tmp_path / "cluster") as cluster:
            await cluster.start(0, environment={"QBFT_TRACES__ENDPOINT": endpoint})
            await cluster.start(1, 2, 3)
            await cluster.wait_until_ready()
            async with channel_to(cluster, 0) as channel:
                stub = DecisionServiceStub(channel)
                metadata = (("traceparent", PARENT),)
                given = proposal("t", 1, b"v")
                await stub.Propose(given, metadata=metadata, timeout=SECONDS)
            await cluster.stop(0)
        spans = [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        (span,) = [span for span in spans if span.trace_id.hex() == TRACE]
        assert span.parent_span_id.hex() == CALLER
        assert {"quorum_prepares", "quorum_commits"} <= {event.name for event in span.events}
