"""What agreement gives: the value, and the certificate that proves it."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core.messages import Value
from qbft.crypto.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Decision:
    """One instance's outcome.

    In the service `value` is the decided bytes and `certificate.value` their digest; over `run()`
    both are the engine's value. `own` tells whether the value is the one that was proposed by
    whoever received this decision (SCENARIOS G2).
    """

    value: Value
    certificate: Certificate
    own: bool = False

    @property
    def instance(self) -> object:
        """The instance decided."""
        return self.certificate.instance

    @property
    def round(self) -> int:
        """The round in which the COMMITs were given."""
        return self.certificate.round
