"""Whether a certificate file proves what it claims: offline, from the cluster's public keys alone.

docs/PROTOCOL.md describes the steps for other languages. Nothing here imports gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass

from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.certificate import service_content, verify_certificate
from qbft.errors import CertificateError
from qbft.wire.decisions import decode_decision


@dataclass(frozen=True, slots=True)
class VerifiedDecision:
    """What a cluster has decided, beyond doubt as long as at most f of its validators lie.

    `digest` is that of the value (32 bytes), `value` the bytes themselves where the file has them,
    `signers` the indices of the validators whose COMMITs prove it, ascending.
    """

    instance: InstanceId
    round: int
    digest: bytes
    value: bytes | None
    signers: tuple[int, ...]


def verify(data: bytes, cluster: Cluster) -> VerifiedDecision:
    """Verify a file that holds a decision, or only its certificate.

    Args:
        data: a `Decision` or a `Certificate` of messages.proto, serialised.
        cluster: whose decision it has to be.

    Raises:
        CertificateError: it proves nothing; one line that says why.
    """
    try:
        decision = decode_decision(data)
    except ValueError as error:
        raise CertificateError(str(error)) from None
    value, certificate = decision.value, decision.certificate
    instance, digest = service_content(certificate)
    if not isinstance(value, bytes | None):
        raise CertificateError("not a value of the service")
    verify_certificate(certificate, cluster.roster, value)
    signers = tuple(commit.source for commit in certificate.commits)
    return VerifiedDecision(instance, certificate.round, digest, value, signers)
