"""From an engine's decision to the caller: bytes and certificate first durable, then told (W4)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from qbft.core import InstanceId
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import ProposalConflict


@dataclass(slots=True)
class _Waiter:
    """A client's call that waits for the decision."""

    digest: bytes
    future: asyncio.Future[Decision]


class Conclusions:
    """Decisions on their way out, and the clients' calls that wait for them."""

    def __init__(self) -> None:
        self.bare: dict[InstanceId, Certificate] = {}
        """Decided, by certificate, but the value's bytes are not here yet."""
        self.settling: dict[InstanceId, Decision] = {}
        """Complete; durable at the end of this turn."""
        self._waiters: dict[InstanceId, list[_Waiter]] = {}
        self._first_own: dict[InstanceId, bytes] = {}

    def complete(self, certificate: Certificate, proposal: Proposal) -> None:
        """Put certificate and bytes together."""
        self.bare.pop(proposal.instance, None)
        self.settling.setdefault(proposal.instance, Decision(proposal.value, certificate))

    def wait(self, proposal: Proposal) -> asyncio.Future[Decision]:
        """Let an own client wait for the decision of the instance it proposes for.

        Raises:
            ProposalConflict: an own client proposed another value for it before (SCENARIOS G4).
        """
        instance = proposal.instance
        first = self._first_own.setdefault(instance, proposal.digest)
        if first != proposal.digest:
            raise ProposalConflict(first)
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(instance, []).append(_Waiter(proposal.digest, future))
        future.add_done_callback(lambda done: self._forget(instance, done))
        return future

    def publish(self) -> list[Decision]:
        """Tell everyone who waited for what is durable now; give those decisions."""
        settled, self.settling = self.settling, {}
        for instance, decision in settled.items():
            self._first_own.pop(instance, None)
            for waiter in self._waiters.pop(instance, ()):
                if not waiter.future.done():
                    waiter.future.set_result(as_seen_by(decision, waiter.digest))
        return list(settled.values())

    def _forget(self, instance: InstanceId, future: asyncio.Future[Decision]) -> None:
        waiters = self._waiters.get(instance)
        if waiters is None:
            return
        waiters[:] = [waiter for waiter in waiters if waiter.future is not future]
        if not waiters:
            del self._waiters[instance]


def as_seen_by(decision: Decision, digest: bytes) -> Decision:
    """Mark the decision as the caller's own where its value is (SCENARIOS G2)."""
    own = decision.certificate.value == digest
    return Decision(decision.value, decision.certificate, own)
