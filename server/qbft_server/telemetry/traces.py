"""Traces for OpenTelemetry: a span for each instance while it is open here (docs/adr/018).

The package is an extra. Nothing here is imported, and nothing is spent, unless `traces.endpoint` is
set. Spans wait in a bounded queue; a thread of the library's sends them, and what does not fit is
left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from qbft.core import (
    Decide,
    Effect,
    Failed,
    Input,
    InstanceId,
    Message,
    OwnVote,
    RoundChanged,
    RuleFired,
    Value,
)
from qbft_server.version import VERSION

QUEUE_SPANS_MAX = 4_096
"""Spans that have ended and wait to be sent; beyond them the oldest are left out."""

SPAN_EVENTS_MAX = 128
SPAN_LINKS_MAX = 16
"""Of one span; beyond them the oldest are left out."""

EXPORT_SECONDS_MAX = 2.0
"""For sending some spans; and for sending the last ones, when the node stops."""

TRACEPARENT = "traceparent"


class Traces:
    """Looks on (`qbft.replica.observer.Observer`), and makes a span of each instance.

    An instance that a client's call opens is part of the client's trace, as the call's metadata
    tell it (W3C trace context). What else they tell, such as a state, is not taken over.
    """

    def __init__(self, exporter: SpanExporter, *, node: str, ratio: float = 1.0) -> None:
        self.ended = 0
        """Spans that have ended, of those that were chosen."""
        self.exporter = CountedExporter(exporter)
        self._spans: dict[InstanceId, Span] = {}
        self._propagator = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": "qbft",
                    "service.instance.id": node,
                    "service.version": VERSION,
                }
            ),
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            span_limits=SpanLimits(max_events=SPAN_EVENTS_MAX, max_links=SPAN_LINKS_MAX),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(self.exporter, max_queue_size=QUEUE_SPANS_MAX)
        )
        self._tracer = self._provider.get_tracer("qbft", VERSION)

    # --- what clients tell ------------------------------------------------------------------------

    @contextmanager
    def continued(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Iterator[None]:
        """Let what the block opens, and tasks that it begins, be part of the caller's trace."""
        told = {
            key: value
            for key, value in metadata or ()
            if key == TRACEPARENT and isinstance(value, str)
        }
        token = attach(self._propagator.extract(told, Context()))
        try:
            yield
        finally:
            detach(token)

    def join(self, instance: InstanceId) -> None:
        """Link an instance that was open already to the caller's trace."""
        span, caller = self._spans.get(instance), get_current_span().get_span_context()
        if span is None or not caller.is_valid:
            return
        if span.get_span_context().trace_id != caller.trace_id:
            span.add_link(caller)

    # --- what it is shown -------------------------------------------------------------------------

    def opened(self, instance: InstanceId, opener: int, now_ms: int) -> None:
        """Begin a span, in the trace of whoever's call this is."""
        self._begin(instance, {"qbft.opener": opener})

    def resumed(
        self,
        instance: InstanceId,
        votes: Sequence[OwnVote],
        input_: Value | None,
        effects: Sequence[Effect],
        now_ms: int,
    ) -> None:
        """Begin a span of what went on after a restart."""
        self._begin(instance, {"qbft.resumed_votes": len(votes)})

    def stepped(
        self,
        instance: InstanceId,
        sender: int,
        input_: Input,
        effects: tuple[Effect, ...],
        now_ms: int,
    ) -> None:
        """Note the rules that fired, and what came of them; most messages have no effect."""
        if effects:
            span = self._spans.get(instance)
            if span is not None:
                for effect in effects:
                    _note(span, effect)

    def timer_started(
        self, instance: InstanceId, round_: int, deadline_ms: int, now_ms: int
    ) -> None:
        """Leave it: a timer that matters runs out, which is a rule."""

    def put_aside(
        self, instance: InstanceId, sender: int, message: Message, why: str, now_ms: int
    ) -> None:
        """Leave it to the recorder: a liar can make as many as it likes."""

    def closed(self, instance: InstanceId, now_ms: int) -> None:
        """End the span."""
        span = self._spans.pop(instance, None)
        if span is not None:
            span.end()
            self.ended += 1

    def _begin(self, instance: InstanceId, attributes: dict[str, int]) -> None:
        span = self._tracer.start_span(
            "qbft.instance", attributes={"qbft.instance": str(instance), **attributes}
        )
        if span.is_recording():
            self._spans[instance] = span

    # --- the end ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Have all spans that have ended sent; blocks."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what is left, for a short time; blocks."""
        self.exporter.give_up_at = time.monotonic() + EXPORT_SECONDS_MAX
        self._provider.shutdown()


class CountedExporter(SpanExporter):
    """Counts what became of the spans; after a time at the end it sends no more."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exported = 0
        self.failed = 0
        self.give_up_at = float("inf")
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some."""
        if time.monotonic() > self.give_up_at:
            self.failed += len(spans)
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


def hush() -> None:
    """Keep the library's warnings out of the log: clients could cause them at will."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)


def exported_to(endpoint: str, *, node: str, ratio: float) -> Traces:
    """Traces that are sent to a collector, by OTLP over HTTP, to this very URL."""
    hush()
    exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS_MAX)
    return Traces(exporter, node=node, ratio=ratio)


def _note(span: Span, effect: Effect) -> None:
    match effect:
        case RuleFired(rule, round_):
            span.add_event(rule.value, {"qbft.round": round_})
        case RoundChanged(before, after, rule):
            changed = {"qbft.from_round": before, "qbft.round": after, "qbft.rule": rule.value}
            span.add_event("round_changed", changed)
        case Decide(_, round_, _):
            span.set_attribute("qbft.decided_round", round_)
        case Failed(reason):
            span.set_status(StatusCode.ERROR, reason)
        case _:
            pass
