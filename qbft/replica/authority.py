"""Who may propose what: each node judges it before it adopts or votes (DESIGN, who may propose)."""

from __future__ import annotations

from collections.abc import Callable

from qbft.crypto.entries import count_in
from qbft.crypto.proposal import Proposal
from qbft.crypto.seal import SEAL_TOPIC, Seal
from qbft.replica.authenticator import Authenticator
from qbft.replica.intake import ENTRIES_PER_WORK
from qbft.replica.policy import Policies


class Authority:
    """The topics' policies, with the signatures that they ask for.

    `read_seal` gives what a proposal of the reserved topic seals, None where that is no valid seal.
    """

    def __init__(
        self,
        policies: Policies,
        authenticator: Authenticator,
        read_seal: Callable[[Proposal], Seal | None],
    ) -> None:
        self._policies = policies
        self._authenticator = authenticator
        self._read_seal = read_seal

    def admits(self, proposal: Proposal) -> bool:
        """Whether its proposer may propose it, or of a batch each author its entry."""
        policy = self._policies(proposal.instance.topic)
        if proposal.instance.topic == SEAL_TOPIC and self._read_seal(proposal) is None:
            return False
        if policy.ordered:
            return self._authenticator.is_batch(proposal, policy.proposers)
        if not policy.proposers:
            return True
        return proposal.proposer in policy.proposers and self._authenticator.is_proposed(proposal)

    def work_of(self, proposal: Proposal) -> int:
        """What the entries of a batch cost; one signature may be in any proposal's own cost."""
        if not self._policies(proposal.instance.topic).ordered:
            return 0
        entries, signatures = count_in(proposal.value)
        return signatures + entries // ENTRIES_PER_WORK
