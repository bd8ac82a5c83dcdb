"""The end of an epoch in a replica: its seal is learnt, held to, decided (docs/adr/013-epochs.md).

Whether a seal is valid all nodes answer alike. Whether this node may PREPARE it, it alone knows:
not where it has voted on what the seal gives to the successor. A PRE-PREPARE with a quorum of
PREPAREs of an earlier round is exempt, as it is from an application's check: the nodes of that
quorum hold themselves to the seal, and are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.crypto.seal import Seal, decode_seal
from qbft.decision import Decision
from qbft.errors import InvariantViolation, QbftError
from qbft.records import ProposalRecord
from qbft.replica.epoch import SEALS_MAX, Epoch, EpochGuard
from qbft.replica.open_instance import OpenInstance
from qbft.replica.protocols import DecisionStore
from qbft.replica.recovery import Recovered
from qbft.replica.voice import Voice

TOO_LOW = "this node has voted, or knows of decisions, at heights that the seal gives away"


class Sealing:
    """Holds a node to the seals that it accepts.

    `used()` gives all instances in which this node has voted, or may have, or that are decided, of
    each topic at least the highest. `close(instance, error)` closes an engine that has not voted;
    `abandon(instance, error)` gives an instance up for good.
    """

    def __init__(
        self,
        epoch: Epoch,
        *,
        used: Callable[[], Iterable[InstanceId]],
        open_instances: Callable[[], Iterable[InstanceId]],
        voice: Voice,
        close: Callable[[InstanceId, QbftError], None],
        abandon: Callable[[InstanceId, QbftError], None],
    ) -> None:
        self.guard = EpochGuard(epoch)
        self.instance = self.guard.instance
        self._used = used
        self._open_instances = open_instances
        self._voice = voice
        self._close = close
        self._abandon = abandon
        self._answers: dict[bytes, bool] = {}
        self._set_aside: dict[InstanceId, bool] = {}
        """Whether they have votes, of an earlier life."""

    def recover(self, recovered: Recovered, store: DecisionStore) -> None:
        """Hold to what was journaled: each seal that was accepted, or the one that was decided."""
        decision = store.get(self.instance)
        if decision is not None:
            self.guard.conclude(_seal_of(decision))
        for record in recovered.proposals.get(self.instance, ()):
            seal = self.guard.read(record.proposal)
            if seal is not None:
                self._answers[record.proposal.digest] = True
                self.guard.accept(record.proposal.digest, seal)

    def accepts(self, proposal: Proposal) -> bool:
        """Whether this node may PREPARE a valid seal; from then on it is held to it.

        A no is for good: what was voted on stays so, and the oldest may be forgotten. What is
        journaled here leaves with the turn, before any vote of it.
        """
        digest = proposal.digest
        answer = self._answers.get(digest)
        if answer is None:
            seal = self.guard.read(proposal)
            refused = [each for each, is_accepted in self._answers.items() if not is_accepted]
            if seal is None or len(self._answers) - len(refused) >= SEALS_MAX:
                return False
            if len(refused) >= SEALS_MAX:
                del self._answers[refused[0]]
            answer = self._answers[digest] = not any(map(seal.claims, self._used()))
            if answer:
                self.guard.accept(digest, seal)
                self._voice.record(ProposalRecord(proposal, is_input=False))
                for instance in list(self._open_instances()):
                    self.pass_over(instance)
        return answer

    def inform(self, opened: OpenInstance, now_ms: int) -> None:
        """Let the seal's engine take the PRE-PREPAREs of what is accepted, and of nothing else."""
        for digest, answer in self._answers.items():
            if answer:
                opened.journaled.add(digest)
            opened.conclude_check(digest, now_ms, valid=answer)

    def voted_aside(self) -> Iterator[InstanceId]:
        """The instances with votes that were not gone on with after a restart."""
        return (instance for instance, voted in self._set_aside.items() if voted)

    def pass_over(self, instance: InstanceId, *, voted: bool = False) -> None:
        """Close an instance that is not this epoch's, for good once that is decided."""
        if self.guard.may_vote(instance):
            return
        error = self.guard.refusal(instance)
        if self.guard.sealed is not None:
            self._set_aside.pop(instance, None)
            self._abandon(instance, error)
        else:
            self._set_aside[instance] = voted
            self._close(instance, error)

    def end(self, decision: Decision) -> None:
        """Take the decided seal: what it claims is the successor's, all else goes on here."""
        self.guard.conclude(_seal_of(decision))
        for instance in [*self._open_instances(), *self._set_aside]:
            self.pass_over(instance)
        self._set_aside.clear()


def _seal_of(decision: Decision) -> Seal:
    """What was decided; f+1 correct nodes have found it valid.

    Raises:
        InvariantViolation: it is no seal: more than f validators are faulty.
    """
    try:
        return decode_seal(decision.value if isinstance(decision.value, bytes) else b"")
    except ValueError as error:
        raise InvariantViolation(f"{decision.instance} was decided and is no seal") from error
