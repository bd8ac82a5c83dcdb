"""Which value an engine is given to propose: an own client's, an adopted one, the application's.

Only the first counts (REFERENCE rule 8). It is journaled with the turn, so that a node that comes
back proposes the same again (SCENARIOS G4).
"""

from __future__ import annotations

from collections.abc import Callable

from qbft.core.messages import Leader
from qbft.crypto.proposal import Proposal
from qbft.errors import ProposalConflict
from qbft.replica.authority import Authority
from qbft.replica.conclusions import Conclusions
from qbft.replica.open_instance import OpenInstance
from qbft.replica.policy import Policies
from qbft.replica.protocols import OwnInput, ProposalRecord
from qbft.replica.sealing import Sealing
from qbft.replica.voice import Voice


class Inputs:
    """Gives open instances the values that come for them.

    `own_input` is what waits here for an instance of an ordered topic; `touch` is told of each
    instance that something was given to, `reject` what was refused, and whose it was.
    """

    def __init__(
        self,
        *,
        validator: int,
        leader: Leader,
        policies: Policies,
        authority: Authority,
        sealing: Sealing,
        conclusions: Conclusions,
        voice: Voice,
        own_input: OwnInput | None,
        reject: Callable[[str, int], None],
        touch: Callable[[OpenInstance], None],
        clock: Callable[[], int],
    ) -> None:
        self._validator = validator
        self._leader = leader
        self._policies = policies
        self._authority = authority
        self._sealing = sealing
        self._conclusions = conclusions
        self._voice = voice
        self._own_input = own_input
        self._reject = reject
        self._touch = touch
        self._clock = clock

    # --- own clients' -----------------------------------------------------------------------------

    def propose(self, opened: OpenInstance, proposal: Proposal, *, is_first: bool) -> None:
        """Give what an own client proposes, and tell the peers; a seal as it may be given."""
        if opened.instance == self._sealing.instance:
            # it may follow another one that too few could accept
            self.learn(opened, self._validator, proposal)
            self._voice.forward(proposal)
            return
        opened.learn(self._validator, proposal, self._clock())
        if opened.input is None:
            self._give(opened, proposal, is_own=True)
            if not self._leads(opened):
                self._voice.forward(proposal)
        elif is_first:
            opened.journaled.add(proposal.digest)
            self._voice.record(ProposalRecord(proposal, is_input=False, is_own=True))
        self._touch(opened)

    # --- peers' -----------------------------------------------------------------------------------

    def learn(self, opened: OpenInstance, sender: int, proposal: Proposal) -> None:
        """Take the bytes of a value, and adopt it where there is no input yet and it may be."""
        may_be_input = self._may_be_input(opened, proposal)
        if not opened.learn(sender, proposal, self._clock()):
            self._reject("value_budget", sender)
            return
        may_be_input = may_be_input and opened.input is None and not self._gives_own(opened)
        if may_be_input and opened.checks.may_adopt(sender, proposal.digest):
            self._give(opened, proposal)
        self._touch(opened)

    def _may_be_input(self, opened: OpenInstance, proposal: Proposal) -> bool:
        """Whether this node may take others' proposal as its own input."""
        if opened.instance == self._sealing.instance:
            is_accepted = self._sealing.accepts(proposal)
            if not is_accepted:
                self._reject("seal_too_low", self._validator)
            self._sealing.inform(opened, self._clock())
            return is_accepted
        return self._policies(proposal.instance.topic).adopts

    def _gives_own(self, opened: OpenInstance) -> bool:
        """Propose what waits here for an ordered topic, as its leader, before others' batches.

        Whoever is always the first to propose could else keep all others out (docs/adr/017).
        """
        instance = opened.instance
        is_ordered = self._policies(instance.topic).ordered
        if self._own_input is None or not is_ordered or not self._leads(opened):
            return False
        own = self._own_input(instance)
        if own is None or not self._authority.admits(own):
            return False
        try:
            self._conclusions.remember_own(own)
        except ProposalConflict:
            return False
        opened.learn(self._validator, own, self._clock())
        self._give(opened, own, is_own=True)
        return True

    # --- the application's ------------------------------------------------------------------------

    def judged(self, opened: OpenInstance, proposal: Proposal, valid: bool | None) -> None:
        """Take the application's answer about a value; None: it gave none."""
        opened.conclude_check(proposal.digest, self._clock(), valid=valid)
        is_wanted = valid and opened.input is None
        is_wanted = is_wanted and opened.checks.is_candidate(proposal.digest)
        if is_wanted and not self._gives_own(opened):
            self._give(opened, proposal)
        self._touch(opened)

    def may_be_provided(self, opened: OpenInstance, proposal: Proposal) -> bool:
        """Whether a value that the application gave can be proposed; counted if not."""
        if proposal.instance == opened.instance and self._authority.admits(proposal):
            return True
        self._reject("application_gave_bad_proposal", self._validator)
        return False

    def provided(self, opened: OpenInstance, proposal: Proposal) -> None:
        """Take such a value, as if an own client had proposed it."""
        if opened.input is None:
            opened.learn(self._validator, proposal, self._clock())
            self._give(opened, proposal)
            self._voice.forward(proposal)
            self._touch(opened)

    # ----------------------------------------------------------------------------------------------

    def _leads(self, opened: OpenInstance) -> bool:
        return self._leader(opened.instance, 1) == self._validator

    def _give(self, opened: OpenInstance, proposal: Proposal, *, is_own: bool = False) -> None:
        """Give an engine its input, and journal it with this turn."""
        opened.give_input(proposal, self._clock())
        opened.journaled.add(proposal.digest)
        self._voice.record(ProposalRecord(proposal, is_input=True, is_own=is_own))
