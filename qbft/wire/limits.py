"""The bounds of what is read from the wire, checked before anything is built (HARDENING U7)."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.crypto.signing import BATCH_VOTES_MAX

VALIDATORS_MAX = 256
"""Validators of a cluster, where the cluster is not known to the reader."""

PATH_HASHES_MAX = (BATCH_VOTES_MAX - 1).bit_length()
"""Hashes on the way from a vote to the root of its batch."""

SEQUENCE_MAX = 2**63 - 1
"""The highest number of a vote in its signer's journal, and of a position in a feed."""

HELLO_BYTES_MAX = 16 << 10
"""A hello, with room for what later versions may add to it."""

INSTANCES_CACHED_MAX = 16_384
"""Instance ids kept, so that the votes of one instance share one object."""

STEP_ELEMENTS = 512
"""Elements of a frame, nested ones included, that are read at one go: about 5 ms."""

ELEMENT_BYTES = 1 << 10
"""More than an element occupies, the value of a proposal and what is nested left out."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What one frame may hold. Sections over their count are dropped and reported as a whole.

    Counts are far above what a correct node sends; what a frame can cost is bounded by its bytes,
    and what it can cost at one go by `STEP_ELEMENTS`.
    """

    value_bytes_max: int = 1 << 20
    """One value."""

    frame_bytes_max: int = (1 << 20) + (256 << 10)
    """One frame: the value limit and 256 KiB."""

    votes_max: int = BATCH_VOTES_MAX
    """Votes under one signature."""

    votes_total_max: int = 16_384
    """Own and relayed votes, nested ones included; a frame has no room for as many genuine ones."""

    relayed_max: int = 1_024
    """Votes that are sent again or relayed."""

    proposals_max: int = 8_192
    """Forwards, and values."""

    certificates_max: int = 1_024
    wanted_values_max: int = 4_096
    wanted_decisions_max: int = 4_096
    feed_instances_max: int = 4_096
    marks_max: int = 4_096
    """Likewise what is told and asked for of decisions."""

    rejects_max: int = 64
    """Elements refused of one frame, after which the rest of its lists is left out unseen: a
    correct node sends none, and each costs more to count than to read."""


LIMITS_DEFAULT = WireLimits()
