"""What agreement gives: the value, and the certificate that proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qbft.crypto.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Decision:
    """One instance's outcome.

    In the service `value` is the decided bytes, `instance` an `InstanceId` and
    `certificate.value` the digest; over `run()` value and digest are the engine's value. `own`
    tells whether the value is the one that was proposed by whoever received this decision
    (SCENARIOS G2).
    """

    value: Any
    certificate: Certificate
    own: bool = False

    @property
    def instance(self) -> Any:
        """The instance decided: of the service an `InstanceId`, with `topic` and `height`."""
        return self.certificate.instance

    @property
    def round(self) -> int:
        """The round in which the COMMITs were given."""
        return self.certificate.round
