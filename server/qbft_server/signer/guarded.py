"""The guarded key: what it has signed it never contradicts, whoever asks (HARDENING W2, W3).

Nor does it sign what another epoch decides, as far as a cluster file tells (docs/adr/013): nothing
below the heights at which its own begins, and no seal but its own's. Of the seal that ends its own
epoch it sees a digest only.
"""

from __future__ import annotations

from qbft.core import InstanceId
from qbft.crypto.keys import VoteKey
from qbft.crypto.roster import Roster
from qbft.crypto.signing import BatchSigner
from qbft.errors import InvariantViolation, JournalError
from qbft.replica.epoch import Epoch, EpochGuard
from qbft.replica.guard import VoteGuard
from qbft.wire.signer import SignReply, SignRequest
from qbft_server.signer.memory import SignerMemory


class GuardedKey:
    """Signs for one validator of one cluster what contradicts nothing that it remembers."""

    def __init__(
        self,
        key: VoteKey,
        roster: Roster,
        validator: int,
        memory: SignerMemory,
        epoch: Epoch,
    ) -> None:
        self._signer = BatchSigner(key, roster, validator)
        self._public = key.public
        self._cluster_id = roster.cluster_id
        self._validator = validator
        self._memory = memory
        self._epoch = EpochGuard(epoch)

    def answer(self, request: SignRequest) -> SignReply:
        """Sign, durably remembered, or say why not; of a batch that is refused nothing is kept."""
        if (request.cluster_id, request.validator) != (self._cluster_id, self._validator):
            return self._refuse("this key is of another validator or another cluster")
        if not request.votes:
            return SignReply(public_key=self._public)
        try:
            self._check(request)
            self._memory.remember(request.votes)
        except (InvariantViolation, JournalError) as error:
            return self._refuse(str(error))
        header = self._signer.sign(request.votes, request.store_id, request.sequence)
        return SignReply(header.signature, public_key=self._public)

    def _refuse(self, why: str) -> SignReply:
        return SignReply(refused=why, public_key=self._public)

    def _check(self, request: SignRequest) -> None:
        """Ask the guard of each instance for each vote, in the order in which they were cast.

        Raises:
            InvariantViolation: one of them contradicts what was signed, is another epoch's, or is
                not this key's.
        """
        guards: dict[InstanceId, VoteGuard] = {}
        for vote in request.votes:
            instance = vote.instance
            if not isinstance(instance, InstanceId) or vote.source != self._validator:
                raise InvariantViolation("a vote is not of this validator")
            if instance not in guards:
                self._epoch.admit(instance)
                guards[instance] = VoteGuard(self._memory.votes(instance, self._validator))
            guards[instance].admit(vote)
