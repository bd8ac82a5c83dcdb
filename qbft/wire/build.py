"""The frozen types to protobuf, written into messages in place. Internal to `qbft.wire`."""

from __future__ import annotations

from qbft.core import InstanceId, Message, Value
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import VoteSignature
from qbft.errors import InvariantViolation
from qbft.wire.v1 import messages_pb2 as pb


def fill_instance(target: pb.InstanceId, instance: object) -> None:
    """Write an instance id."""
    if not isinstance(instance, InstanceId):
        raise InvariantViolation(f"{instance!r} is no InstanceId")
    target.topic = instance.topic
    target.height = instance.height


def fill_vote(target: pb.Vote, vote: Message) -> None:
    """Write the fields that are signed; those that are absent cost nothing."""
    target.type = vote.type  # type: ignore[assignment]
    fill_instance(target.instance, vote.instance)
    target.source = vote.source
    target.round = vote.round
    if vote.value is not None:
        target.digest = _digest(vote.value)
    if vote.prepared_round:
        target.prepared_round = vote.prepared_round
    if vote.prepared_value is not None:
        target.prepared_digest = _digest(vote.prepared_value)


def fill_signed(target: pb.SignedVote, vote: Message) -> None:
    """Write a vote with its portable signature and what it nests."""
    fill_vote(target.vote, vote)
    fill_signature(target.signature, vote)
    fill_nested(target, vote)


def fill_nested(target: pb.SignedVote, vote: Message) -> None:
    """Write what a vote nests, stripped of its own justification."""
    for nested in vote.justification:
        entry = target.justification.add()
        fill_vote(entry.vote, nested)
        fill_signature(entry.signature, nested)


def fill_signature(target: pb.VoteSignature, vote: Message) -> None:
    """Write a vote's portable signature.

    Raises:
        InvariantViolation: it has none yet; what is unsigned is never sent or stored.
    """
    signature = vote.proof.signature if vote.proof is not None else None
    if not isinstance(signature, VoteSignature):
        raise InvariantViolation(f"{vote} is not signed")
    header = signature.header
    target.store_id = header.store_id
    target.sequence = header.sequence
    target.size = signature.size
    target.index = signature.index
    target.path.extend(signature.path)
    target.signature = header.signature


def fill_certificate(target: pb.Certificate, certificate: Certificate) -> None:
    """Write a certificate."""
    target.MergeFromString(encode_certificate(certificate))


def encode_certificate(certificate: Certificate) -> bytes:
    """Write a certificate, without the value that it proves, as the bytes of a file.

    Raises:
        InvariantViolation: a COMMIT is not signed.
    """
    return certificate.encoded(_encode_certificate)


def _encode_certificate(certificate: Certificate) -> bytes:
    """Write a certificate; its COMMITs say nothing that it does not say itself."""
    target = pb.Certificate()
    fill_instance(target.instance, certificate.instance)
    target.round = certificate.round
    target.digest = _digest(certificate.value)
    for commit in certificate.commits:
        entry = target.commits.add()
        entry.source = commit.source
        fill_signature(entry.signature, commit)
    return target.SerializeToString()


def fill_proposal(target: pb.Proposal, proposal: Proposal) -> None:
    """Write a proposal."""
    fill_instance(target.instance, proposal.instance)
    target.value = proposal.value
    target.proposer = proposal.proposer
    target.signature = proposal.signature


def _digest(value: Value | None) -> bytes:
    if not isinstance(value, bytes):
        raise InvariantViolation(f"value {value!r} is no digest")
    return value
