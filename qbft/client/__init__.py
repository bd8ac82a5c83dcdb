"""The client of a cluster, async-native: `async with Client("cluster.toml") as client: ...`.

It needs to trust no node: whatever it gives has been verified from the cluster's public keys.

The names below load their modules when they are first used: a node dials its peers as the client
does (`pinned`), and has no use for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbft.client.access import Access
    from qbft.client.client import Client
    from qbft.client.errors import (
        BelowMark,
        ClientError,
        Closed,
        Conflict,
        DeadlineExceeded,
        Lied,
        NoDecision,
        NoNodeLeft,
        Refused,
        Unavailable,
        Undecided,
        Unknown,
    )
    from qbft.client.status import NodeStatus, PeerStatus

__all__ = [
    "Access",
    "BelowMark",
    "Client",
    "ClientError",
    "Closed",
    "Conflict",
    "DeadlineExceeded",
    "Lied",
    "NoDecision",
    "NoNodeLeft",
    "NodeStatus",
    "PeerStatus",
    "Refused",
    "Unavailable",
    "Undecided",
    "Unknown",
]

_HOMES = {
    "Access": "access",
    "Client": "client",
    "NodeStatus": "status",
    "PeerStatus": "status",
}
"""Modules of names; all others are errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'qbft.client' has no attribute {name!r}")
    return getattr(import_module(f"qbft.client.{_HOMES.get(name, 'errors')}"), name)
