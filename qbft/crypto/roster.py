"""Who votes in a cluster, and who leads (DESIGN, section 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from qbft.core import InstanceId, Leader, max_faulty, quorum
from qbft.crypto.encoding import number, pack

CLUSTER_TAG = b"qbft/cluster/v1"
LEADER_TAG = b"qbft/leader/v1"
LEADERS_CACHED_MAX = 16_384
"""Instances of which it is kept who leads first."""


@dataclass(frozen=True, slots=True)
class Roster:
    """A cluster's id (32 bytes) and its validators' public vote keys, by index."""

    cluster_id: bytes
    vote_keys: tuple[bytes, ...]

    @property
    def nodes(self) -> int:
        """How many validators there are."""
        return len(self.vote_keys)

    @property
    def quorum(self) -> int:
        """How many of them decide."""
        return quorum(self.nodes)

    @property
    def faulty(self) -> int:
        """How many of them may be faulty."""
        return max_faulty(self.nodes)


def cluster_id(name: str, epoch: int, vote_keys: Sequence[bytes]) -> bytes:
    """The 32 bytes that name a cluster: its name, epoch, size and vote keys, in order."""
    fields = [CLUSTER_TAG, name.encode(), number(epoch), number(len(vote_keys)), *vote_keys]
    return hashlib.sha256(pack(fields)).digest()


def first_leader(cluster: bytes, instance: InstanceId) -> int:
    """The number whose remainder by n is the leader of round 1: 8 bytes of a hash, big-endian."""
    fields = [LEADER_TAG, cluster, instance.topic.encode(), number(instance.height)]
    return int.from_bytes(hashlib.sha256(pack(fields)).digest()[:8], "big")


def service_leader(roster: Roster) -> Leader:
    """Give the service's leader function: a hash picks the first, then validators take turns."""
    base = lru_cache(LEADERS_CACHED_MAX)(partial(first_leader, roster.cluster_id))

    def leader(instance: Hashable, round_: int) -> int:
        if not isinstance(instance, InstanceId):
            raise TypeError(f"{instance!r} is no InstanceId")
        return (base(instance) + round_ - 1) % len(roster.vote_keys)

    return leader
