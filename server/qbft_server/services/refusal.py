"""How the decision service says no: standard status codes, and messages that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from qbft.errors import Busy, ProposalConflict, QbftError

Metadata = Sequence[tuple[str, str]]


class Refusal(Exception):  # noqa: N818 - what the service answers
    """A call ends with this status; `metadata` goes with it as trailers.

    `grpc-retry-pushback-ms` is gRPC's own way to say when to come back, `qbft-first-digest` names
    the value that an own client proposed first.
    """

    def __init__(self, code: grpc.StatusCode, message: str, metadata: Metadata = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.metadata = metadata


def invalid(message: str) -> Refusal:
    """Refuse a request that no node will ever accept."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def refusal_of(error: QbftError) -> Refusal:
    """Say what the replica's refusal means to a client."""
    match error:
        case ProposalConflict():
            digest = error.first_digest.hex()
            return Refusal(
                grpc.StatusCode.ALREADY_EXISTS,
                f"another value was proposed here for this instance first (digest {digest}); "
                "propose that one, or read the decision with GetDecision",
                (("qbft-first-digest", digest),),
            )
        case Busy():
            return Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                str(error),
                (("grpc-retry-pushback-ms", str(error.retry_ms)),),
            )
        case _:
            return Refusal(grpc.StatusCode.FAILED_PRECONDITION, str(error))
