"""From an engine's decision to the caller: bytes and certificate first durable, then told (W4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qbft.core import InstanceId, Value
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import InvariantViolation, ProposalConflict, QbftError
from qbft.replica.bounds import Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_instance
from qbft.replica.peer import Peer


@dataclass(slots=True)
class _Waiter:
    """A client's call that waits for the decision."""

    digest: bytes
    future: asyncio.Future[Decision]


@dataclass(frozen=True, slots=True)
class Bare:
    """A decision without its bytes; `payer` is the peer that gave it where no engine was open."""

    certificate: Certificate
    silent: frozenset[int]
    payer: int | None


@dataclass(frozen=True, slots=True)
class Settling:
    """A complete decision on its way to the disk; `silent`: the peers that may not know of it."""

    decision: Decision
    silent: frozenset[int]


class Conclusions:
    """Decisions on their way out, and the clients' calls that wait for them."""

    def __init__(self, peers: Mapping[int, Peer], limits: ReplicaLimits) -> None:
        self.bare: dict[InstanceId, Bare] = {}
        """Decided, by certificate, but the value's bytes are not here yet."""
        self.settling: dict[InstanceId, Settling] = {}
        """Complete; durable at the end of this turn."""
        self._peers = peers
        self._limits = limits
        self._waiters: dict[InstanceId, list[_Waiter]] = {}
        self._first_own: dict[InstanceId, bytes] = {}

    def __contains__(self, instance: object) -> bool:
        """Whether it is decided here, but not durably and with its bytes yet."""
        return instance in self.bare or instance in self.settling

    def known(self, instance: InstanceId) -> Certificate | None:
        """Give the certificate of a decision on its way."""
        bare, settling = self.bare.get(instance), self.settling.get(instance)
        if settling is not None:
            return settling.decision.certificate
        return bare.certificate if bare is not None else None

    def add(
        self,
        certificate: Certificate,
        proposal: Proposal | None,
        *,
        silent: frozenset[int] = frozenset(),
        payer: int | None = None,
    ) -> bool:
        """Take a decision, with its bytes where they are here.

        `silent` are the peers that may not know of it. There are none where it was learnt from
        others by its certificate: the telling is their task.

        False where the payer gave more certificates without bytes than it may.
        """
        instance = as_instance(certificate.instance)
        if proposal is not None:
            self.settling[instance] = Settling(Decision(proposal.value, certificate), silent)
            return True
        if payer is not None:
            if self._peers[payer].bare >= self._limits.bare_certificates_per_peer_max:
                self._peers[payer].bitten(Bound.BARE_CERTIFICATES_PER_PEER_MAX)
                return False
            self._peers[payer].bare += 1
        self.bare[instance] = Bare(certificate, silent, payer)
        return True

    def complete(self, proposal: Proposal) -> bool:
        """Take the bytes of a decided value; False if no decision waits for them."""
        bare = self.bare.get(proposal.instance)
        if bare is None or bare.certificate.value != proposal.digest:
            return False
        del self.bare[proposal.instance]
        if bare.payer is not None:
            self._peers[bare.payer].bare -= 1
        return self.add(bare.certificate, proposal, silent=bare.silent)

    def wait(self, proposal: Proposal) -> asyncio.Future[Decision]:
        """Let an own client wait for the decision of the instance it proposes for."""
        instance = proposal.instance
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(instance, []).append(_Waiter(proposal.digest, future))
        future.add_done_callback(lambda done: self._forget(instance, done))
        return future

    def remember_own(self, proposal: Proposal) -> bool:
        """Note the value that own clients propose, until the instance is decided.

        Whether it is the first time.

        Raises:
            ProposalConflict: it was another one before (SCENARIOS G4).
        """
        first = self._first_own.get(proposal.instance)
        if first is None:
            self._first_own[proposal.instance] = proposal.digest
            return True
        if first != proposal.digest:
            raise ProposalConflict(first)
        return False

    def publish(self) -> list[Settling]:
        """Tell everyone who waited for what is durable now; give those decisions."""
        settled, self.settling = self.settling, {}
        for instance, settling in settled.items():
            self._first_own.pop(instance, None)
            for waiter in self._waiters.pop(instance, ()):
                if not waiter.future.done():
                    waiter.future.set_result(as_seen_by(settling.decision, waiter.digest))
        return list(settled.values())

    def fail(self, error: QbftError) -> None:
        """Tell everyone who waits that nothing will come from here any more."""
        waiters, self._waiters = self._waiters, {}
        for of_instance in waiters.values():
            _fail(of_instance, error)

    def give_up(self, instance: InstanceId, error: QbftError) -> None:
        """Tell everyone who waits for an instance that nothing will come of it here."""
        self._first_own.pop(instance, None)
        _fail(self._waiters.pop(instance, ()), error)

    def _forget(self, instance: InstanceId, future: asyncio.Future[Decision]) -> None:
        waiters = self._waiters.get(instance)
        if waiters is None:
            return
        waiters[:] = [waiter for waiter in waiters if waiter.future is not future]
        if not waiters:
            del self._waiters[instance]


def _fail(waiters: Iterable[_Waiter], error: QbftError) -> None:
    for waiter in waiters:
        if not waiter.future.done():
            waiter.future.set_exception(error)


def check_same(instance: InstanceId, known: Value | None, other: Certificate) -> None:
    """Demand that a proven certificate is for the value that was decided before (W4).

    Raises:
        InvariantViolation: two values are decided: more than F validators are faulty, or worse.
    """
    if known != other.value:
        raise InvariantViolation(
            f"two decisions of {instance}: {known!r}, and {other.value!r} in round {other.round}"
        )


def as_seen_by(decision: Decision, digest: bytes) -> Decision:
    """Mark the decision as the caller's own where its value is (SCENARIOS G2)."""
    own = decision.certificate.value == digest
    return Decision(decision.value, decision.certificate, own)
