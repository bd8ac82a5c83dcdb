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


_CALLER_HAS_LEFT = (asyncio.CancelledError, aio.UsageError, aio.InternalError)
"""What gRPC raises in a handler whose caller has gone."""


def hush_cancelled_calls() -> None:
    """Keep gRPC from logging an error when a caller leaves while its call is being answered.

    Anyone can trigger that at will, each with a traceback of a hundred lines; other errors of that
    logger are still logged. Idempotent.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BaseExceptionGroup):
        return error.split(_CALLER_HAS_LEFT)[1] is not None
    return not isinstance(error, _CALLER_HAS_LEFT)
