"""Whether a file proves what it claims, a decision or misbehaviour: offline, from public keys.

docs/PROTOCOL.md describes the steps for other languages. Nothing here imports gRPC.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from qbft.cluster import Cluster
from qbft.core import InstanceId, Message
from qbft.crypto.certificate import service_content, verify_certificate
from qbft.crypto.entries import Entry, entries_of
from qbft.crypto.evidence import Contradiction, Evidence
from qbft.crypto.evidence import verify_evidence as verify_record
from qbft.errors import CertificateError, EvidenceError
from qbft.wire.decisions import decode_decision
from qbft.wire.evidence import decode_evidence


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
        cluster: whose decision it has to be; of an instance that an earlier epoch had to decide,
            that epoch's, where the cluster file names it.

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
    verify_certificate(certificate, cluster.roster_of(instance), value)
    signers = tuple(commit.source for commit in certificate.commits)
    return VerifiedDecision(instance, certificate.round, digest, value, signers)


def verify_entry(data: bytes, cluster: Cluster, index: int) -> tuple[VerifiedDecision, Entry]:
    """Verify that an entry stands in an ordered topic: in the decided batch, at this index.

    Whether it repeats an earlier one, and so is void, only the heights before tell
    (`qbft.ordered.Window`).

    Raises:
        CertificateError: it proves nothing, or the batch has no such entry.
    """
    verified = verify(data, cluster)
    entries = entries_of(verified.value)
    if not 0 <= index < len(entries):
        raise CertificateError(f"{verified.instance} holds {len(entries)} entries, none at {index}")
    return verified, entries[index]


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """What a validator's key has signed, and no correct validator signs; beyond doubt.

    `epoch` is the one whose validator it is, `validator` its index there; `first` and `second` are
    the two votes, in the order of the file.
    """

    epoch: int
    validator: int
    instance: InstanceId
    contradiction: Contradiction
    first: Message
    second: Message


def verify_evidence(data: bytes, cluster: Cluster) -> VerifiedEvidence:
    """Verify a file that holds evidence against a validator (SCENARIOS B16).

    Args:
        data: an `Evidence` of messages.proto, serialised.
        cluster: whose validator it has to be, of this epoch or one that the cluster file names.

    Raises:
        EvidenceError: it proves nothing against anybody; one line that says why.
    """
    try:
        evidence = decode_evidence(data)
    except ValueError as error:
        raise EvidenceError(str(error)) from None
    epoch = _epoch_of(evidence, cluster)
    contradiction, first, second = evidence.contradiction, evidence.first, evidence.second
    if not isinstance(first.instance, InstanceId) or contradiction is None:
        raise EvidenceError("not evidence of the service")
    return VerifiedEvidence(epoch, first.source, first.instance, contradiction, first, second)


def _epoch_of(evidence: Evidence, cluster: Cluster) -> int:
    """The epoch that the votes were signed for; where it is none, what is said of the last one.

    A validator may contradict itself in an instance that its epoch was not to decide.
    """
    for ended in cluster.ended:
        with suppress(EvidenceError):
            verify_record(evidence, ended.roster)
            return ended.epoch
    verify_record(evidence, cluster.roster)
    return cluster.epoch
