"""The bytes that stand for a vote when it is signed (DESIGN, signatures)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from struct import Struct

from qbft.core import InstanceId, Message, Value
from qbft.crypto.encoding import number, pack

VOTE_TAG = b"qbft/vote"
SIGNING_VERSION = 1
PREFIXES_CACHED_MAX = 16_384
"""Instances of which the beginning of what is signed is kept as bytes."""

_NUMBER = Struct(">IQ")
"""A field of 8 bytes behind its length, as `pack` writes it; every vote of a frame is written so,
hence without the detour of a list of fields."""
_NUMBERS = Struct(">IQIQIQ")
_NO_DIGEST = pack((b"",))
_NOTHING_PREPARED = _NUMBER.pack(8, 0) + _NO_DIGEST


def canonical_vote(vote: Message, cluster_id: bytes) -> bytes:
    """Domain tag, signing version, cluster, instance, and all fields but the justification.

    Raises:
        TypeError: the instance or a value is not one of the service.
    """
    prepared = _NOTHING_PREPARED
    if vote.prepared_round or vote.prepared_value is not None:
        prepared = _NUMBER.pack(8, vote.prepared_round) + _digest(vote.prepared_value)
    return (
        _prefix(cluster_id, vote.instance)
        + _NUMBERS.pack(8, vote.type, 8, vote.source, 8, vote.round)
        + _digest(vote.value)
        + prepared
    )


@lru_cache(maxsize=PREFIXES_CACHED_MAX)
def _prefix(cluster_id: bytes, instance: Hashable) -> bytes:
    if not isinstance(instance, InstanceId):
        raise TypeError(f"{instance!r} is no instance of the service")
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
        return _NO_DIGEST
    if isinstance(value, bytes):
        return len(value).to_bytes(4, "big") + value
    raise TypeError(f"{value!r} is no digest")
