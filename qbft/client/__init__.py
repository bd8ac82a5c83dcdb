"""The client of a cluster, async-native: `async with Client("cluster.toml") as client: ...`.

It needs to trust no node: whatever it gives has been verified from the cluster's public keys.
"""

from qbft.client.access import Access
from qbft.client.client import Client
from qbft.client.errors import (
    BelowMark,
    ClientError,
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
