"""The one method of the peer service, whose messages pass through gRPC as the bytes they are."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeGuard

from grpc import aio

SERVICE = "qbft.v1.PeerService"
METHOD = "Exchange"

Call = aio.StreamStreamCall[Any, Any]
"""The dialer's end."""

Context = aio.ServicerContext[bytes, bytes]
"""The acceptor's end."""


def is_message(read: object) -> TypeGuard[bytes]:
    """Whether what was read is a message, rather than the end of the stream."""
    return isinstance(read, bytes)


def hush_cancelled_calls() -> None:
    """Keep gRPC from logging an error when a caller leaves while its call is being ended.

    Anyone can trigger that at will; other errors of that logger are still logged. Idempotent.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, asyncio.CancelledError)
