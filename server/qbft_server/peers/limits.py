"""The bounds and paces of the links (DESIGN, bounds; HARDENING U5)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """Every bound of the transport; all are per peer unless they say otherwise."""

    message_bytes_max: int = (1 << 20) + (256 << 10)
    """One gRPC message: the value limit and 256 KiB."""

    outgoing_frames_max: int = 4_096
    outgoing_bytes_max: int = 32 << 20
    """Frames that wait for a slow peer; the next one is dropped and the peer is lagging."""

    incoming_frames_max: int = 1_024
    incoming_bytes_max: int = 8 << 20
    """Frames that wait for `receive`; at either bound the peer's stream is not read any more."""

    batch_frames_max: int = 256
    batch_bytes_max: int = 256 << 10
    batch_elements_max: int = 512
    """What one `receive` reads at one go, of all peers together, votes and nested votes being
    elements; the last frame may exceed the bytes, and takes several goes where it is full of
    elements: due timers run in between (DESIGN, async)."""

    hello_seconds_max: float = 5.0
    """Dialling, TLS and the hellos together, on either side."""

    backoff_seconds_min: float = 0.05
    backoff_seconds_max: float = 5.0
    """Between two attempts to dial: at random up to a span that doubles from min to max, or until
    the peer dials us ..."""

    stable_seconds_min: float = 5.0
    """... and begins again once a link has lasted so long; no wait is cut short more often."""

    keepalive_seconds: float = 5.0
    keepalive_timeout_seconds: float = 5.0
    """A ping after so much silence, and how long its answer may take: finds half-open TCP (M14)."""

    streams_per_connection_max: int = 4
    """Streams on one connection."""

    idle_connection_seconds_max: float = 30.0
    """A connection with no stream on it is closed after this."""

    streams_extra_max: int = 16
    """Streams of all peers together beyond two per validator: one live and one in its hello."""
