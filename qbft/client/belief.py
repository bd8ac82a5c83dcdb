"""What makes a client believe a node: nothing but the certificate (SCENARIOS G10, G11)."""

from __future__ import annotations

from dataclasses import replace

from qbft.client.errors import Lied
from qbft.core import InstanceId
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.evidence import Evidence, verify_evidence
from qbft.crypto.roster import Roster
from qbft.crypto.signing import Verifier
from qbft.decision import Decision
from qbft.errors import CertificateError, EvidenceError
from qbft.wire import decision_from_pb, evidence_from_pb
from qbft.wire.v1 import messages_pb2 as pb


class Belief:
    """Verifies what nodes say, and remembers which of them have lied to this client."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._verifier = Verifier(roster)
        self._liars: dict[int, str] = {}

    @property
    def liars(self) -> dict[int, str]:
        """The nodes that were caught, and why each is asked no more."""
        return dict(self._liars)

    def believes(self, node: int) -> bool:
        """Whether the node has not been caught."""
        return node not in self._liars

    def check(
        self,
        node: int,
        message: pb.Decision | None,
        instance: InstanceId | None = None,
        proposed: bytes | None = None,
    ) -> Decision:
        """The decision that a node tells, once its certificate has proven it.

        Args:
            node: who says so.
            message: what it said; None for what was no message at all.
            instance: the one asked for; None where any will do.
            proposed: the value that the client proposed itself, which makes the decision its own.

        Raises:
            Lied: it proves nothing, or something else; the node is remembered.
        """
        try:
            decision = self._verified(message)
        except (CertificateError, ValueError) as error:
            raise self.caught(node, str(error)) from error
        if instance is not None and decision.instance != instance:
            raise self.caught(node, f"asked for {instance}, it told of {decision.instance}")
        return replace(decision, own=proposed is not None and decision.value == proposed)

    def check_evidence(self, node: int, message: pb.Evidence) -> Evidence:
        """What a node holds against a validator, once it has proven itself.

        Raises:
            Lied: it proves nothing; the node is remembered.
        """
        try:
            evidence = evidence_from_pb(message)
            verify_evidence(evidence, self._roster, self._verifier)
        except (EvidenceError, ValueError) as error:
            raise self.caught(node, str(error)) from error
        return evidence

    def _verified(self, message: pb.Decision | None) -> Decision:
        if message is None:
            raise ValueError("malformed message")
        decision = decision_from_pb(message, self._roster.nodes)
        if not isinstance(decision.value, bytes):
            raise CertificateError("a decision without its value")
        verify_certificate(decision.certificate, self._roster, decision.value, self._verifier)
        return decision

    def caught(self, node: int, reason: str) -> Lied:
        """Remember that a node lied; gives the exception to raise."""
        self._liars.setdefault(node, reason)
        return Lied(node, reason)
