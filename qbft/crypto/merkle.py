"""The Merkle tree of RFC 6962: a leaf is H(0x00 || data), a node H(0x01 || left || right).

A tree of n leaves is split at the largest power of two below n; no leaf is ever doubled, so that no
two lists of leaves share a root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree over leaf hashes, of which there is at least one.

    Built level by level: neighbours are joined, and an odd one out rises as it is, which gives the
    same tree as the recursive definition.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        level = list(leaves)
        self._levels = [level]
        while len(level) > 1:
            joined = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = joined + level[len(joined) * 2 :]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """The hash over all leaves."""
        return self._levels[-1][0]

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def path(self, index: int) -> tuple[bytes, ...]:
        """The hashes beside the way from a leaf up to the root, the lowest first."""
        hashes = []
        for level in self._levels:  # beside the root there is nothing
            beside = index ^ 1
            if beside < len(level):
                hashes.append(level[beside])
            index >>= 1
        return tuple(hashes)


def root_of_path(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes | None:
    """The root that a leaf at this index of a tree of this size leads to; None if it cannot.

    The path must have exactly the length that index and size ask for.
    """
    if not 0 <= index < size:
        return None
    if size == 1:
        return None if hashes else leaf
    if not hashes:
        return None
    split = _split(size)
    if index < split:
        below = root_of_path(leaf, index, split, hashes[:-1])
        return None if below is None else node_hash(below, hashes[-1])
    below = root_of_path(leaf, index - split, size - split, hashes[:-1])
    return None if below is None else node_hash(hashes[-1], below)


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << ((size - 1).bit_length() - 1)
