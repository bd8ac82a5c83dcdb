"""The guard between epochs: an instance is voted on in one of them (docs/adr/013-epochs.md).

A node that helps to decide a seal has signed nothing that the successor is to decide, and signs
nothing of it from then on. It knows no clock, no disk and no engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.crypto.seal import SEAL_TOPIC, Seal, decode_seal, seal_instance
from qbft.errors import Busy, InvariantViolation, OtherEpoch, QbftError

SEALS_MAX = 16
"""Seals of one epoch that a node holds itself to, and as many whose refusal it remembers; only an
operator can make any."""

SEAL_RETRY_MS = 1_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a cluster file says of its epoch.

    `number` is the epoch's, `begins` the seal of the one before it, None where it has none, and
    `is_sealable` whether there is an operator who may end it.
    """

    number: int = 0
    begins: Seal | None = None
    is_sealable: bool = False


class EpochGuard:
    """Which instances this node may vote in, as far as epochs go."""

    def __init__(self, epoch: Epoch) -> None:
        self.instance = seal_instance(epoch.number)
        """The instance that decides the seal of this epoch."""
        self.sealed: Seal | None = None
        """The seal that was decided; from then on no other one matters."""
        self._epoch = epoch
        self._accepted: dict[bytes, Seal] = {}

    def read(self, proposal: Proposal) -> Seal | None:
        """The seal that is proposed; None where its value is not valid (DESIGN, validity).

        Deterministic in (instance, value): whether this node has voted too high is no part of it.
        """
        if not self._epoch.is_sealable or proposal.instance != self.instance:
            return None
        try:
            seal = decode_seal(proposal.value)
        except ValueError:
            return None
        begins = self._epoch.begins
        return seal if begins is None or seal.follows(begins) else None

    def accept(self, digest: bytes, seal: Seal) -> None:
        """Vote for no instance from now on that this seal claims, unless another one is decided."""
        self._accepted[digest] = seal

    def has_accepted(self, digest: bytes) -> bool:
        """Whether this node holds itself to that seal."""
        return digest in self._accepted

    def conclude(self, seal: Seal) -> None:
        """Take the seal that was decided: what others claimed is voted on again."""
        self.sealed = seal
        self._accepted.clear()

    def may_vote(self, instance: InstanceId) -> bool:
        """Whether the instance is this epoch's."""
        if instance.topic == SEAL_TOPIC:
            return self._epoch.is_sealable and instance == self.instance
        begins = self._epoch.begins
        if begins is not None and not begins.claims(instance):
            return False
        if self.sealed is not None:
            return not self.sealed.claims(instance)
        return not any(seal.claims(instance) for seal in self._accepted.values())

    def admit(self, instance: InstanceId) -> None:
        """Let a vote pass that is about to be signed.

        Raises:
            InvariantViolation: it is of an instance of another epoch.
        """
        if not self.may_vote(instance):
            raise InvariantViolation(f"a vote in {instance}, which is another epoch's")

    def refusal(self, instance: InstanceId) -> QbftError:
        """What to tell a client of an instance that this node may not vote in."""
        if self.sealed is not None and self.sealed.claims(instance):
            name = self.sealed.successor.hex()
            return OtherEpoch(f"{instance} is decided by the next epoch, cluster id {name}")
        if any(seal.claims(instance) for seal in self._accepted.values()):
            return Busy(f"{instance} may be the next epoch's: a seal is undecided", SEAL_RETRY_MS)
        return OtherEpoch(f"{instance} is not of epoch {self._epoch.number}")
