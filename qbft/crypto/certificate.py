"""Certificates: a quorum of signed COMMITs that anyone can check offline."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core.messages import Message, Value


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of COMMITs of one instance, round and value, by distinct validators.

    Canonical when the COMMITs are sorted by source and match exactly (HARDENING D17). In the service
    `value` is the 32-byte digest; over `run()` it is whatever the caller's values are.
    """

    instance: object
    round: int
    value: Value
    commits: tuple[Message, ...]
