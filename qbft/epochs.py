"""Epochs that have ended, and which of them decides an instance (docs/adr/013-epochs.md).

A cluster file of a later epoch names those before it, each with the decision of its seal. So one
file verifies the certificates of all of them, and whoever trusts an old cluster can see from its
validators' signatures that it has handed over to the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from qbft.core import InstanceId
from qbft.crypto.certificate import service_content, verify_certificate
from qbft.crypto.roster import Roster
from qbft.crypto.seal import SEAL_TOPIC, Seal, decode_seal, seal_instance
from qbft.errors import CertificateError
from qbft.wire.decisions import decode_decision


@dataclass(frozen=True, slots=True)
class SealedEpoch:
    """An epoch that has decided its seal: its number, its validators, and what the seal says."""

    epoch: int
    roster: Roster
    seal: Seal

    def decides(self, instance: InstanceId) -> bool:
        """Whether the instance belongs to this epoch, or to one before it."""
        if instance.topic == SEAL_TOPIC:
            return instance.height <= self.epoch
        return not self.seal.claims(instance)


def read_sealed_epoch(epoch: int, roster: Roster, data: bytes, successor: bytes) -> SealedEpoch:
    """Verify the decision of a seal: that this epoch handed over to the cluster `successor`.

    Args:
        epoch: the number of the epoch that ends.
        roster: its validators.
        data: a `Decision` of messages.proto, serialised, with its value.
        successor: the cluster id that the seal has to name.

    Raises:
        CertificateError: it proves nothing of the kind; one line that says why.
    """
    try:
        decision = decode_decision(data)
        if not isinstance(decision.value, bytes):
            raise CertificateError("the decision of a seal has to hold its value")
        seal = decode_seal(decision.value)
    except ValueError as error:
        raise CertificateError(f"no decision of a seal: {error}") from None
    instance, _ = service_content(decision.certificate)
    if instance != seal_instance(epoch):
        raise CertificateError(f"it decides {instance}, not {seal_instance(epoch)}")
    verify_certificate(decision.certificate, roster, decision.value)
    if seal.successor != successor:
        raise CertificateError(f"the seal names another successor, {seal.successor.hex()}")
    return SealedEpoch(epoch, roster, seal)


def check_order(ended: Sequence[SealedEpoch]) -> None:
    """Check that seals, oldest first, leave each instance to one epoch.

    Raises:
        CertificateError: a topic changes over at a lower height than by the seal before.
    """
    for earlier, later in pairwise(ended):
        if not later.seal.follows(earlier.seal):
            raise CertificateError(f"the seal of epoch {later.epoch} reaches into an earlier epoch")


def roster_of(ended: Sequence[SealedEpoch], last: Roster, instance: InstanceId) -> Roster:
    """Whose certificates count for an instance: the first epoch that has not handed it over."""
    return next((each.roster for each in ended if each.decides(instance)), last)
