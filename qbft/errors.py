"""Operating failures: exceptions at the edge of the library (DESIGN, errors).

Hostile or stale input is never one of these: it is a counted value, see `RejectReason`.
"""


class QbftError(Exception):
    """Whatever stops `run()`, a replica, a node or a client from doing what it was asked."""


class EngineFailed(QbftError):  # noqa: N818 - reads as the effect it comes from
    """The engine of one instance stopped: an unsupported input, or a bug at its caller."""


class TransportError(QbftError):
    """The transport cannot send or receive any more."""


class JournalError(QbftError):
    """The vote journal cannot be read or written; voting stops (HARDENING W7)."""


class ClusterError(QbftError):
    """A cluster file or a node's configuration is not usable."""


class CertificateError(QbftError):
    """A certificate does not prove what it claims."""


class ProposalConflict(QbftError):  # noqa: N818 - named for what the client meets
    """This node's clients already proposed another value for the instance (SCENARIOS G4)."""

    def __init__(self, first_digest: bytes) -> None:
        super().__init__(f"another value was proposed here first, digest {first_digest.hex()}")
        self.first_digest = first_digest


class Busy(QbftError):  # noqa: N818 - named for what the client meets
    """A limit is reached; try again after `retry_ms` (SCENARIOS G15)."""

    def __init__(self, what: str, retry_ms: int) -> None:
        super().__init__(f"{what}; try again in {retry_ms} ms")
        self.what = what
        self.retry_ms = retry_ms


class BelowLowWaterMark(QbftError):  # noqa: N818 - named for what the client meets
    """The instance is no longer kept, and never voted on again (DESIGN, retention)."""

    def __init__(self, instance: object, mark: int) -> None:
        super().__init__(
            f"{instance} is below the low-water mark of its topic, which this node keeps from "
            f"height {mark} on; it is not voted on again"
        )
        self.mark = mark


class InvariantViolation(QbftError):  # noqa: N818 - named for what it is
    """A bug: what cannot happen has happened (DESIGN, errors)."""


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first exception that a task group collected, however deep."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
