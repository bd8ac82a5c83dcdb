"""Seals: what one epoch decides so that the next may begin (DESIGN, membership within an epoch).

A seal is the value of one instance, `seal_instance(epoch)`. It names the cluster id of the
successor, and so its validators' keys, and for each topic the first height that the successor
decides. docs/adr/013-epochs.md says why that is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.encoding import number, pack, unpack

SEAL_TAG = b"qbft/seal/v1"
SEAL_TOPIC = "qbft/seal"
"""The reserved topic: no prefix of a cluster file speaks of it; only operators propose there."""

SEAL_TOPICS_MAX = 4_096
"""Topics of which a seal names the first height; its default is for all others."""

NEVER = HEIGHT_MAX + 1
"""As a first height: the topic stays where it is, whatever its heights."""

_CLUSTER_ID_BYTES = 32
_HEIGHT_BYTES = 8


@dataclass(frozen=True)
class Seal:
    """Where an epoch ends and its successor begins.

    `successor` is the next cluster's id (32 bytes); `first_heights` are (topic, height), sorted by
    topic, each topic once: from that height on the successor decides, below it the sealed epoch.
    A topic that is not named changes over at `default`.

    Raises:
        ValueError: it cannot be one.
    """

    successor: bytes
    default: int
    first_heights: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no seal can hold, so that there is one form of each."""
        if len(self.successor) != _CLUSTER_ID_BYTES:
            raise ValueError(f"a cluster id has {_CLUSTER_ID_BYTES} bytes")
        for height in (self.default, *(height for _, height in self.first_heights)):
            if not 0 <= height <= NEVER:
                raise ValueError(f"no topic can change over at height {height}")
        if len(self.first_heights) > SEAL_TOPICS_MAX:
            raise ValueError(f"a seal names at most {SEAL_TOPICS_MAX} topics")
        topics = [InstanceId(topic, 0).topic for topic, _ in self.first_heights]
        if topics != sorted(set(topics)):
            raise ValueError("the topics of a seal are sorted, each named once")
        if SEAL_TOPIC in topics:
            raise ValueError(f"the topic {SEAL_TOPIC} changes over by itself")

    @cached_property
    def _by_topic(self) -> Mapping[str, int]:
        return dict(self.first_heights)

    def first_height(self, topic: str) -> int:
        """The first height of a topic, other than `SEAL_TOPIC`, that the successor decides."""
        return self._by_topic.get(topic, self.default)

    def claims(self, instance: InstanceId) -> bool:
        """Whether the successor, or one after it, decides this instance.

        Never so for seals: each epoch decides its own.
        """
        topic = instance.topic
        return topic != SEAL_TOPIC and instance.height >= self.first_height(topic)

    def follows(self, earlier: Seal) -> bool:
        """Whether no topic changes over at a lower height than by an earlier seal."""
        topics = self._by_topic.keys() | earlier._by_topic.keys()
        return self.default >= earlier.default and all(
            self.first_height(topic) >= earlier.first_height(topic) for topic in topics
        )

    def encode(self) -> bytes:
        """Its bytes, the value that is decided (docs/PROTOCOL.md)."""
        fields = [SEAL_TAG, self.successor, number(self.default)]
        for topic, height in self.first_heights:
            fields += [topic.encode(), number(height)]
        return pack(fields)


def seal_instance(epoch: int) -> InstanceId:
    """The one instance that decides how an epoch ends; its height is the epoch's number."""
    return InstanceId(SEAL_TOPIC, epoch)


def decode_seal(value: bytes) -> Seal:
    """Read what `Seal.encode` wrote, and nothing else.

    Raises:
        ValueError: it is no seal.
    """
    tag, successor, default, *pairs = unpack(value, 3 + 2 * SEAL_TOPICS_MAX)
    if tag != SEAL_TAG or len(pairs) % 2:
        raise ValueError("not a seal")
    heights = tuple(
        (topic.decode("ascii"), _height(height))
        for topic, height in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return Seal(successor, _height(default), heights)


def _height(field: bytes) -> int:
    if len(field) != _HEIGHT_BYTES:
        raise ValueError("a height has 8 bytes")
    return int.from_bytes(field, "big")
