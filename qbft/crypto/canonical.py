"""The bytes that stand for a vote when it is signed (DESIGN, signatures)."""

from __future__ import annotations

from functools import lru_cache

from qbft.core import InstanceId, Message, Value
from qbft.crypto.encoding import number, pack

VOTE_TAG = b"qbft/vote"
SIGNING_VERSION = 1
PREFIXES_CACHED_MAX = 16_384


def canonical_vote(vote: Message, cluster_id: bytes) -> bytes:
    """Domain tag, signing version, cluster, instance, and all fields but the justification.

    Raises:
        TypeError: the instance or a value is not one of the service.
    """
    return _prefix(cluster_id, vote.instance) + pack(
        (
            number(vote.type),
            number(vote.source),
            number(vote.round),
            _digest(vote.value),
            number(vote.prepared_round),
            _digest(vote.prepared_value),
        )
    )


@lru_cache(maxsize=PREFIXES_CACHED_MAX)
def _prefix(cluster_id: bytes, instance: InstanceId) -> bytes:
    return pack(
        (
            VOTE_TAG,
            number(SIGNING_VERSION),
            cluster_id,
            instance.topic.encode(),
            number(instance.height),
        )
    )


def _digest(value: Value | None) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{value!r} is no digest")
