"""How the decision service says no: standard status codes, and messages that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from qbft.errors import (
    BelowLowWaterMark,
    Busy,
    JournalError,
    ProposalConflict,
    QbftError,
    TooManyTopics,
    UnauthorisedProposal,
)
from qbft.wire.v1.decision_pb2 import Failure
from qbft_server.store.decisions import DecisionsError

Metadata = Sequence[tuple[str, str | bytes]]


class Refusal(Exception):  # noqa: N818 - what the service answers
    """A call ends with this status; `metadata` goes with it as trailers.

    `first_digest` names the value that an own client proposed first, on a conflict; `retry_ms` is
    when to come back, 0 where that would not help.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, *, retry_ms: int = 0, first_digest: bytes = b""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_ms = retry_ms
        self.first_digest = first_digest

    @property
    def trailers(self) -> Metadata:
        """What goes with the status.

        When to come back stands there twice: as gRPC's own retries read it, and as `RetryInfo` of
        the rich error model for everyone else.
        """
        if self.first_digest:
            return (("qbft-first-digest", self.first_digest.hex()),)
        if not self.retry_ms:
            return ()
        delay = Duration()
        delay.FromMilliseconds(self.retry_ms)
        detail = Any()
        detail.Pack(RetryInfo(retry_delay=delay))
        status = Status(code=self.code.value[0], message=self.message, details=[detail])
        return (
            ("grpc-retry-pushback-ms", str(self.retry_ms)),
            ("grpc-status-details-bin", status.SerializeToString()),
        )


def failure_of(refusal: Refusal) -> Failure:
    """Say within a stream that goes on what a call would end with."""
    return Failure(
        code=refusal.code.value[0],
        message=refusal.message,
        first_digest=refusal.first_digest,
        retry_ms=refusal.retry_ms,
    )


def full(what: str, retry_ms: int) -> Refusal:
    """Refuse for now: a limit of this node is reached (SCENARIOS G15)."""
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{what}; try again in {retry_ms} ms, or at another node",
        retry_ms=retry_ms,
    )


def denied() -> Refusal:
    """Refuse what the client may not do, in the same words whatever there is to be known."""
    return Refusal(grpc.StatusCode.PERMISSION_DENIED, "this client may not do that for this topic")


def invalid(message: str) -> Refusal:
    """Refuse a request that no node will ever accept."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def refusal_of(error: QbftError) -> Refusal:
    """Say what the replica's refusal means to a client."""
    match error:
        case ProposalConflict():
            return Refusal(
                grpc.StatusCode.ALREADY_EXISTS,
                "another value was proposed here for this instance first "
                f"(digest {error.first_digest.hex()}); "
                "propose that one, or read the decision with GetDecision",
                first_digest=error.first_digest,
            )
        case UnauthorisedProposal():
            return Refusal(grpc.StatusCode.PERMISSION_DENIED, str(error))
        case BelowLowWaterMark():
            return Refusal(grpc.StatusCode.OUT_OF_RANGE, str(error))
        case Busy():
            return full(error.what, error.retry_ms)
        case TooManyTopics():  # it names no time to come back: waiting does not help
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        case DecisionsError():  # its words name files of this machine
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "this node cannot read its decisions now; ask another",
            )
        case JournalError():
            return Refusal(grpc.StatusCode.UNAVAILABLE, f"{error}; ask another node")
        case _:
            return Refusal(grpc.StatusCode.FAILED_PRECONDITION, str(error))
