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


class EvidenceError(QbftError):
    """Evidence does not prove that a validator contradicted itself."""


class ProposalConflict(QbftError):  # noqa: N818 - named for what the client meets
    """This node's clients already proposed another value for the instance (SCENARIOS G4)."""

    def __init__(self, first_digest: bytes) -> None:
        super().__init__(f"another value was proposed here first, digest {first_digest.hex()}")
        self.first_digest = first_digest


class UnauthorisedProposal(QbftError):  # noqa: N818 - named for what the client meets
    """The topic takes only proposals that one of its proposers has signed (SCENARIOS G16).

    It is said before anything is looked up, so that it tells nothing of the instance.
    """

    def __init__(self) -> None:
        super().__init__("this topic takes only what one of its proposers has signed")


class Busy(QbftError):  # noqa: N818 - named for what the client meets
    """A limit is reached; try again after `retry_ms` (SCENARIOS G15)."""

    def __init__(self, what: str, retry_ms: int) -> None:
        super().__init__(f"{what}; try again in {retry_ms} ms")
        self.what = what
        self.retry_ms = retry_ms


class TooManyTopics(QbftError):  # noqa: N818 - named for what the client meets
    """The topic would be a new one of a prefix that has as many as it may (DESIGN, retention)."""

    def __init__(self, topic: str, prefix: str, topics_max: int) -> None:
        super().__init__(
            f"{topic!r} would be a new topic, and prefix {prefix!r} has as many as it may: "
            f"topics_max = {topics_max}; use one of those, or have the operators raise it in the "
            "cluster file"
        )


class BelowLowWaterMark(QbftError):  # noqa: N818 - named for what the client meets
    """The instance is no longer kept, and never voted on again (DESIGN, retention)."""

    def __init__(self, instance: object, mark: int) -> None:
        super().__init__(
            f"{instance} is below the low-water mark of its topic, which is kept from height "
            f"{mark} on; it is not voted on again"
        )
        self.mark = mark


class OtherEpoch(QbftError):  # noqa: N818 - named for what the client meets
    """The instance is decided by an earlier or a later epoch, which is another cluster."""


class InvariantViolation(QbftError):  # noqa: N818 - named for what it is
    """A bug: what cannot happen has happened (DESIGN, errors)."""


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first exception that a task group collected, however deep."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
