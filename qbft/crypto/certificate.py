"""Certificates: a quorum of signed COMMITs that anyone can check offline."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from qbft.core import InstanceId, Message, MessageType, Value
from qbft.core.messages import ROUND_MAX
from qbft.crypto.proposal import value_digest
from qbft.crypto.roster import Roster
from qbft.crypto.signing import Verifier
from qbft.errors import CertificateError


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of COMMITs of one instance, round and value, by distinct validators.

    Canonical when the COMMITs are sorted by source and match exactly (HARDENING D17). In the
    service `value` is the 32-byte digest; over `run()` it is whatever the caller's values are.
    """

    instance: Hashable
    round: int
    value: Value | None
    commits: tuple[Message, ...]
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def encoded(self, encode: Callable[[Certificate], bytes]) -> bytes:
        """Its bytes, made once: a node writes each certificate to journal, store and clients."""
        encoded = self._encoded
        if encoded is None:
            encoded = encode(self)
            object.__setattr__(self, "_encoded", encoded)
        return encoded


def verify_certificate(
    certificate: Certificate,
    roster: Roster,
    value: bytes | None = None,
    verifier: Verifier | None = None,
) -> None:
    """Check a certificate from the cluster's public keys alone; with `value` also the bytes.

    Args:
        certificate: what is to be proven.
        roster: the cluster it must come from.
        value: the decided bytes, where they are at hand.
        verifier: one that may have verified some of the signatures already.

    Raises:
        CertificateError: it does not prove that this cluster decided this value; one over
            `run()`, of an instance or a value that is none of the service's, never does.
    """
    service_content(certificate)
    verifier = verifier or Verifier(roster)
    for commit in certificate.commits:
        _check_matches(commit, certificate, roster)
    sources = {commit.source for commit in certificate.commits}
    if len(sources) < len(certificate.commits):
        raise CertificateError("a validator counts twice")
    if len(sources) < roster.quorum:
        raise CertificateError(
            f"{len(sources)} COMMITs are no quorum: {roster.quorum} of {roster.nodes} are needed"
        )
    if value is not None and value_digest(value) != certificate.value:
        raise CertificateError("the value is not the one that was decided")
    for commit in certificate.commits:
        if not verifier.verify_vote(commit):
            raise CertificateError(f"the signature of validator {commit.source} is not valid")


def service_content(certificate: Certificate) -> tuple[InstanceId, bytes]:
    """Give the instance and the digest that a certificate of the service is about.

    Raises:
        CertificateError: it is none of the service, but one over `run()` for other values.
    """
    instance, digest = certificate.instance, certificate.value
    if not isinstance(instance, InstanceId) or not isinstance(digest, bytes):
        raise CertificateError("not a certificate of the service")
    if not 1 <= certificate.round <= ROUND_MAX:
        raise CertificateError(f"there is no round {certificate.round}")
    return instance, digest


def _check_matches(commit: Message, certificate: Certificate, roster: Roster) -> None:
    if commit.type is not MessageType.COMMIT:
        raise CertificateError(f"it holds a {commit.type.name}, not only COMMITs")
    if commit.instance != certificate.instance:
        raise CertificateError("a COMMIT is of another instance")
    if commit.round != certificate.round:
        raise CertificateError("a COMMIT is of another round")
    if commit.value != certificate.value:
        raise CertificateError("a COMMIT is for another value")
    if commit.prepared_round or commit.prepared_value is not None or commit.justification:
        raise CertificateError("a COMMIT carries more than a COMMIT does")
    if not 0 <= commit.source < roster.nodes:
        raise CertificateError(f"validator {commit.source} is no member of the cluster")


def canonical_certificate(
    instance: Hashable, round_: int, value: Value | None, commits: Iterable[Message]
) -> Certificate:
    """Make a certificate of exactly the COMMITs that match, sorted by source (HARDENING D17)."""
    matching = {
        commit.source: commit.stripped()
        for commit in commits
        if commit.type is MessageType.COMMIT and commit.round == round_ and commit.value == value
    }
    return Certificate(
        instance, round_, value, tuple(matching[source] for source in sorted(matching))
    )
