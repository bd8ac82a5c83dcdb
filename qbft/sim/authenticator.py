"""Proofs without arithmetic: in a simulation a message is genuine if its signer made it.

A simulated network hands over objects, not bytes, so a proof that only the signer's authenticator
can fill stands in for Ed25519; what is forged carries none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qbft.core import Message, MessageType, quorum
from qbft.crypto.certificate import Certificate
from qbft.crypto.entries import is_batch_valid
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader


@dataclass(frozen=True, slots=True)
class SimSignature:
    """Who signed what, and the vote's number in the signer's journal.

    Put on another vote it is worth nothing; `content` None is good for any, where a test hands out
    signatures by itself.
    """

    validator: int
    vote_sequence: int
    store_id: bytes = b""
    content: tuple[object, ...] | None = None


def content_of(vote: Message) -> tuple[object, ...]:
    """What a signature covers, but for the source (DESIGN, signatures)."""
    return (
        vote.type,
        vote.instance,
        vote.round,
        vote.value,
        vote.prepared_round,
        vote.prepared_value,
    )


class SimAuthenticator:
    """The authenticator of one simulated validator."""

    def __init__(self, validator: int, nodes: int) -> None:
        self._validator = validator
        self._quorum = quorum(nodes)

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Fill the proofs of these votes."""
        for number, vote in enumerate(votes, sequence):
            if vote.proof is not None and vote.proof.signature is None:
                vote.proof.signature = SimSignature(
                    self._validator, number, store_id, content_of(vote)
                )
        return BatchHeader(store_id, sequence, b"")

    def has_signed(self, peer: int, votes: Sequence[Message], header: BatchHeader | None) -> bool:
        """Whether each vote is the peer's own and genuine."""
        return all(vote.source == peer and _is_signed(vote) for vote in votes)

    def is_genuine(self, vote: Message) -> bool:
        """Whether the vote and all it nests is genuine."""
        return _is_signed(vote) and self.is_justification_genuine(vote)

    def is_justification_genuine(self, vote: Message) -> bool:
        """Whether all that the vote nests is genuine."""
        return all(map(_is_signed, vote.justification))

    def proves(self, certificate: Certificate) -> bool:
        """Whether it is a quorum of genuine COMMITs that match it, each source once."""
        sources = {commit.source for commit in certificate.commits}
        return self._quorum <= len(sources) == len(certificate.commits) and all(
            _is_signed(commit)
            and commit.type is MessageType.COMMIT
            and commit.instance == certificate.instance
            and commit.round == certificate.round
            and commit.value == certificate.value
            for commit in certificate.commits
        )

    def is_proposed(self, proposal: Proposal) -> bool:
        """Believe any proposal."""
        return True

    def is_batch(self, proposal: Proposal, authors: Collection[bytes]) -> bool:
        """Verify entries as a node does: a simulated cluster has the cluster id of all zeroes."""
        instance = proposal.instance
        return is_batch_valid(proposal.value, bytes(32), instance.topic, instance.height, authors)


def _is_signed(vote: Message) -> bool:
    signature = vote.proof.signature if vote.proof is not None else None
    return (
        isinstance(signature, SimSignature)
        and signature.validator == vote.source
        and (signature.content is None or signature.content == content_of(vote))
    )
