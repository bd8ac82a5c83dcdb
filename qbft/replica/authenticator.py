"""Whose words a replica may believe: signing its own votes, verifying everyone's.

The replica asks through a protocol, so that a simulation of a million messages may use a cheaper
proof than Ed25519; a node uses `Ed25519Authenticator`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from qbft.core import Message
from qbft.crypto.certificate import Certificate, verify_certificate
from qbft.crypto.entries import is_batch_valid
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal, is_proposal_genuine
from qbft.crypto.roster import Roster
from qbft.crypto.signing import BatchHeader, BatchSigner, Verifier
from qbft.errors import CertificateError


class Authenticator(Protocol):
    """Signs this node's votes and verifies those of all."""

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Sign a turn's votes together and fill their proofs; `sequence` numbers the first."""
        ...

    def has_signed(self, peer: int, votes: Sequence[Message], header: BatchHeader | None) -> bool:
        """Whether the peer signed these votes, all of them its own; fills their proofs."""
        ...

    def is_genuine(self, vote: Message) -> bool:
        """Whether a vote, and each one nested in it, has its source's portable signature."""
        ...

    def is_justification_genuine(self, vote: Message) -> bool:
        """Whether each vote nested in this one has its source's portable signature."""
        ...

    def proves(self, certificate: Certificate) -> bool:
        """Whether a certificate is a quorum of genuine COMMITs."""
        ...

    def is_proposed(self, proposal: Proposal) -> bool:
        """Whether a proposal has its proposer's signature."""
        ...

    def is_batch(self, proposal: Proposal, authors: Collection[bytes]) -> bool:
        """Whether it proposes entries of these authors, or of anyone, each of them genuine."""
        ...


class TurnSigner(Protocol):
    """Whatever has the vote key: `BatchSigner`, or a process elsewhere (docs/adr/015)."""

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Sign a turn's votes together and fill their proofs; `sequence` numbers the first.

        Raises:
            JournalError: they cannot be signed; then this node must not vote any more.
        """
        ...


class Ed25519Authenticator:
    """The real one (DESIGN, signatures); `key` is the vote key, or who has it."""

    def __init__(self, key: VoteKey | TurnSigner, roster: Roster, validator: int) -> None:
        self._signer: TurnSigner = (
            BatchSigner(key, roster, validator) if isinstance(key, VoteKey) else key
        )
        self._verifier = Verifier(roster)
        self._roster = roster

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Sign a turn's votes by one signature over their Merkle root."""
        return self._signer.sign(votes, store_id, sequence)

    def has_signed(self, peer: int, votes: Sequence[Message], header: BatchHeader | None) -> bool:
        """Verify an own-vote section by its one signature."""
        return header is not None and self._verifier.verify_section(peer, votes, header)

    def is_genuine(self, vote: Message) -> bool:
        """Verify a vote alone, with what it nests."""
        return self._verifier.verify_message(vote)

    def is_justification_genuine(self, vote: Message) -> bool:
        """Verify what a vote nests."""
        return all(map(self._verifier.verify_vote, vote.justification))

    def proves(self, certificate: Certificate) -> bool:
        """Verify a certificate as anyone would."""
        try:
            verify_certificate(certificate, self._roster, verifier=self._verifier)
        except CertificateError:
            return False
        return True

    def is_proposed(self, proposal: Proposal) -> bool:
        """Verify a client's signature."""
        return is_proposal_genuine(proposal, self._roster.cluster_id)

    def is_batch(self, proposal: Proposal, authors: Collection[bytes]) -> bool:
        """Verify the signatures of a batch's entries."""
        instance = proposal.instance
        topic, height = instance.topic, instance.height
        return is_batch_valid(proposal.value, self._roster.cluster_id, topic, height, authors)
