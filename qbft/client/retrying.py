"""Statuses of gRPC as failures of the client, and which of them are worth another try.

A node that is down, starting, stopping or full may answer later, so the same node is asked again
after a growing, jittered wait, or when it said to come back. Everything else it will say again.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

import grpc
import tenacity
from grpc import aio

from qbft.client.errors import ClientError, Conflict, Refused, Unavailable

T = TypeVar("T")
Metadatum = tuple[str, str | bytes]

PUSHBACK = "grpc-retry-pushback-ms"
FIRST_DIGEST = "qbft-first-digest"
RETRY_SECONDS_FIRST = 0.05
RETRY_SECONDS_MAX = 2.0
"""Between two attempts, where no node says how long: at random up to a span that doubles."""

PUSHBACK_MS_MIN = 50
"""A node that asks to be asked at once, again and again, is a liar's way to keep a client busy."""
PUSHBACK_MS_MAX = 60_000
"""A node may ask for this much patience at most; another is asked meanwhile anyway."""
MESSAGE_CHARACTERS_MAX = 500
"""Of why a node refuses: it chooses these words."""

_TLS_FAILURES = {
    "CERTIFICATE_VERIFY_FAILED": (
        "it shows another TLS key than the cluster file has for it; "
        "is it a node of this cluster, and the cluster file the present one?"
    ),
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS",
    "Socket closed": "it hung up; does it want a client certificate, or is it full?",
}
"""What an operator can put right, by the words that gRPC and OpenSSL have for it."""

_NOT_CONNECTED = re.compile(r"failed to connect.*; last error: [A-Z_]+: (.*)", re.DOTALL)

_WHERE = re.compile(r"(ipv[46]:\S+: )?(Failed to connect to remote host: )?")
"""What gRPC says before the reason; whose address it is, the cluster file says."""

_TOO_LARGE = re.compile(r"(?:SERVER: )?Received message larger than max \((\d+) vs\. (\d+)\)")

_FULL_SERVER = "Concurrent RPC limit exceeded!"
"""What gRPC says for a server with more calls than it may have; it names no time to come back."""

_FINAL = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


def failure_of(node: int, error: aio.AioRpcError) -> ClientError:
    """What a call that failed means."""
    trailers = dict(cast("Iterable[Metadatum]", error.trailing_metadata() or ()))
    return failure(
        node,
        error.code(),
        error.details() or "no details",
        retry_ms=_milliseconds(trailers.get(PUSHBACK)),
        first_digest=_hex(trailers.get(FIRST_DIGEST)),
    )


def failure(
    node: int, code: grpc.StatusCode, message: str, *, retry_ms: int = 0, first_digest: bytes = b""
) -> ClientError:
    """What a status means, from wherever it came.

    A full node says when to come back; a RESOURCE_EXHAUSTED that does not is gRPC's own: its server
    is full, or, and that is final, a message is too large.
    """
    message = _without_grpc_chatter(message)[:MESSAGE_CHARACTERS_MAX]
    if code is grpc.StatusCode.ALREADY_EXISTS:
        return Conflict(message, code=code.name, node=node, first_digest=first_digest)
    is_too_large = (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and not retry_ms and message != _FULL_SERVER
    )
    if code in _FINAL or is_too_large:
        return Refused(message, code=code.name, node=node)
    if retry_ms:
        retry_ms = min(max(retry_ms, PUSHBACK_MS_MIN), PUSHBACK_MS_MAX)
    return Unavailable(f"node {node}: {code.name}: {message}", node=node, retry_ms=retry_ms)


def _without_grpc_chatter(message: str) -> str:
    """What failed last where gRPC could not connect, and what its own limit means."""
    if (found := _TOO_LARGE.match(message)) is not None:
        return f"too large: {found[1]} bytes with all around it, and it takes {found[2]}"
    found = _NOT_CONNECTED.match(message)
    if found is None:
        return message
    last = found.group(1)
    for sign, meaning in _TLS_FAILURES.items():
        if sign in last:
            return f"cannot connect: {meaning}"
    return f"cannot connect: {_WHERE.sub('', last, count=1)}"


def _milliseconds(text: str | bytes | None) -> int:
    if isinstance(text, str) and text.isascii() and text.isdigit():
        return int(text[:9])
    return 0


def _hex(text: str | bytes | None) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""


_growing = tenacity.wait_random_exponential(multiplier=RETRY_SECONDS_FIRST, max=RETRY_SECONDS_MAX)


def _wait_seconds(state: tenacity.RetryCallState) -> float:
    """As long as the node said, and up to a tenth more so that not all come at once; or growing."""
    failed = _failed(state)
    if failed is not None and failed.retry_ms:
        return failed.retry_ms / 1000 * random.uniform(1.0, 1.1)  # noqa: S311 - no secret
    return _growing(state)


def _failed(state: tenacity.RetryCallState) -> Unavailable | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Unavailable) else None


async def until_available(
    call: Callable[[], Coroutine[Any, Any, T]],
    stumbled: Callable[[Unavailable], None],
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Call, and call again as long as it is `Unavailable`; the caller's deadline ends it.

    `stumbled` is told of each failure before the wait that follows it, which `rest` is. A first try
    that succeeds, as nearly all do, passes tenacity by, whose bookkeeping costs as much as a
    certificate's proof.

    Raises:
        ClientError: any other failure of the call, at once.
    """
    try:
        return await call()
    except Unavailable as failed:
        first: Unavailable | None = failed

    async def call_again() -> T:
        """The first failure once more, so that it is waited for and counted as all others."""
        nonlocal first
        if first is not None:
            failed, first = first, None
            raise failed
        return await call()

    def tell(state: tenacity.RetryCallState) -> None:
        if (failed := _failed(state)) is not None:
            stumbled(failed)

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(Unavailable),
        wait=_wait_seconds,
        before_sleep=tell,
        sleep=rest,
    )
    return await retrying(call_again)
