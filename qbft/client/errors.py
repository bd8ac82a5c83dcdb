"""What can go wrong between a client and its cluster; each names the node, where one is at fault.

`NoDecision` and its kinds are answers, not failures: the cluster was asked and has none to give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qbft.core import InstanceId
from qbft.errors import QbftError


class ClientError(QbftError):
    """Whatever keeps a client from giving what it was asked for."""


class Closed(ClientError):  # noqa: N818 - named for what the client meets
    """The client was closed, its `async with` block left, while the call still ran."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class Unavailable(ClientError):  # noqa: N818 - named for what the client meets
    """A node cannot answer now, or none can; asking again may help, after `retry_ms` if not 0."""

    def __init__(self, message: str, *, node: int | None = None, retry_ms: int = 0) -> None:
        super().__init__(message)
        self.node = node
        self.retry_ms = retry_ms


class NoNodeLeft(ClientError):  # noqa: N818 - named for what the client meets
    """Every node that could be asked has lied to this client."""


class DeadlineExceeded(ClientError):  # noqa: N818 - named as the status code is
    """No good answer came in time; what was proposed may still be decided (SCENARIOS G6, G12).

    `failures` is what each node that was asked said last, if it said anything.
    """

    def __init__(self, what: str, seconds: float, failures: Mapping[int, ClientError]) -> None:
        told = same_together({node: str(failure) for node, failure in failures.items()})
        super().__init__(f"{what}: no answer in {seconds:g} s{': ' if told else ''}{told}")
        self.failures = dict(failures)


class Refused(ClientError):  # noqa: N818 - named for what the client meets
    """A node will not do this, however often it is asked; `code` is the name of the gRPC status.

    Where several nodes gave different reasons, the message has them all, `code` is UNKNOWN and
    `node` None.
    """

    def __init__(self, message: str, *, code: str, node: int | None) -> None:
        super().__init__(message if node is None else f"node {node}: {code}: {message}")
        self.code = code
        self.message = message
        self.node = node


class Conflict(Refused):
    """The node's clients proposed another value first, of digest `first_digest` (SCENARIOS G4).

    Several nodes that do not name the same one leave `first_digest` empty.
    """

    def __init__(self, message: str, *, code: str, node: int | None, first_digest: bytes) -> None:
        super().__init__(message, code=code, node=node)
        self.first_digest = first_digest


def same_together(reasons: Mapping[int, str]) -> str:
    """What nodes gave as their reasons, in one line; those that gave the same stand together."""
    nodes: dict[str, list[int]] = {}
    for node in sorted(reasons):
        nodes.setdefault(without_node(node, reasons[node]), []).append(node)
    told = []
    for reason, those in nodes.items():
        has_names = reason == reasons[those[0]]  # it does not begin with the node
        name = f"node{'s' if len(those) > 1 else ''} {', '.join(map(str, those))}: "
        told.append(reason if has_names else f"{name}{reason}")
    return "; ".join(told)


def without_node(node: int, reason: str) -> str:
    """A reason without the node that it begins with, for a place that names the node anyway."""
    return reason.removeprefix(f"node {node}: ")


def refused_by(refusals: Sequence[Refused]) -> Refused:
    """What to tell when so many nodes refuse that one of them is honest.

    What all give as their reason is true; of reasons that differ none can be told apart from a
    liar's, who makes up a conflict, or the digest of one.
    """
    digests = {refusal.first_digest for refusal in refusals if isinstance(refusal, Conflict)}
    codes = {refusal.code for refusal in refusals}
    if len(codes) == 1 and len(digests) <= 1:
        return refusals[0]
    told = "; ".join(map(str, refusals))
    if len(codes) > 1:
        return Refused(told, code="UNKNOWN", node=None)
    return Conflict(told, code=refusals[0].code, node=None, first_digest=b"")


class Lied(ClientError):  # noqa: N818 - named for what the node did
    """What a node said does not prove itself; the client asks it nothing more (SCENARIOS G11)."""

    def __init__(self, node: int, reason: str) -> None:
        super().__init__(f"node {node} is not to be believed: {reason}")
        self.node = node
        self.reason = reason


class NoDecision(ClientError):  # noqa: N818 - an answer
    """There is no decision to give; the kinds of this say why (SCENARIOS G8, G9)."""

    def __init__(self, instance: InstanceId, message: str) -> None:
        super().__init__(f"{instance}: {message}")
        self.instance = instance


class Undecided(NoDecision):
    """The instance is open where it was asked for."""

    def __init__(self, instance: InstanceId) -> None:
        super().__init__(instance, "undecided")


class Unknown(NoDecision):
    """Whoever was asked has never heard of the instance."""

    def __init__(self, instance: InstanceId) -> None:
        super().__init__(instance, "never heard of: not proposed, or not come here yet")


class BelowMark(NoDecision):
    """The decision was deleted by the operator's policy; the topic is kept from `mark` on."""

    def __init__(self, instance: InstanceId, mark: int) -> None:
        super().__init__(instance, f"deleted; the topic is kept from height {mark} on")
        self.mark = mark
