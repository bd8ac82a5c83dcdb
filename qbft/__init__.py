"""qbft: Byzantine-fault-tolerant agreement on exactly one value per instance.

`qbft.core` is the algorithm, a pure state machine; `run` drives one instance of it over any
`Transport`; `qbft.replica` drives many with a vote journal; `qbft.client` asks a cluster;
`qbft.verify` checks a certificate offline.

The names below load their modules when they are first used, so that `qbft.core` alone stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbft.core import Definition, InstanceId
    from qbft.decision import Decision
    from qbft.errors import QbftError
    from qbft.runner import run

__all__ = ["Decision", "Definition", "InstanceId", "QbftError", "run"]

_HOMES = {
    "Decision": "qbft.decision",
    "Definition": "qbft.core",
    "InstanceId": "qbft.core",
    "QbftError": "qbft.errors",
    "run": "qbft.runner",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'qbft' has no attribute {name!r}")
    return getattr(import_module(home), name)
