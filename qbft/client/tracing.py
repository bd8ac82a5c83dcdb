"""The trace that a call is part of, told to the node (W3C trace context)."""

from __future__ import annotations

import sys

Metadata = tuple[tuple[str, str], ...]


def trace_metadata() -> Metadata:
    """The `traceparent` of the calling program's current span, where it uses OpenTelemetry.

    A program that does not is not made to import it.
    """
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - it may be missing
        TraceContextTextMapPropagator,
    )

    told: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(told)
    return tuple((key, value) for key, value in told.items() if key == "traceparent")
