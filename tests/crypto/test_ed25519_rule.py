"""Ed25519: one rule for what is valid, pinned by vectors (SCENARIOS F19, F3)."""

from __future__ import annotations

from typing import Any

import pytest
from crypto_builders import KEYS, VECTORS

from qbft.crypto.keys import VoteKey, is_signature_valid


@pytest.mark.parametrize("vector", VECTORS["ed25519"], ids=lambda v: v["name"])
def test_the_edge_cases(vector: dict[str, Any]) -> None:
    """F19: S >= L, A or R of small or mixed order, encodings that are not canonical."""
    public, message, signature = (
        bytes.fromhex(vector[key]) for key in ("public", "message", "signature")
    )
    assert is_signature_valid(public, message, signature) is vector["valid"]


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 66, 128])
def test_signatures_of_other_lengths(length: int) -> None:
    """F3: not of 64 bytes, cut or extended."""
    signature = (KEYS[0].sign(b"m") * 2)[:length]
    assert not is_signature_valid(KEYS[0].public, b"m", signature)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_other_lengths(length: int) -> None:
    """A key that is none verifies nothing; a seed that is none makes no key."""
    signature = KEYS[0].sign(b"m")
    assert not is_signature_valid((KEYS[0].public * 2)[:length], b"m", signature)
    with pytest.raises(ValueError, match="32 bytes"):
        VoteKey(bytes(length))


def test_every_bit_counts() -> None:
    """C20: flipping any bit of a signature leaves no second valid one."""
    signature = KEYS[0].sign(b"m")
    assert is_signature_valid(KEYS[0].public, b"m", signature)
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not is_signature_valid(KEYS[0].public, b"m", bytes(changed))


def test_a_key_shows_only_its_public_half() -> None:
    """A secret is in no log: neither in the text of a key nor in its attributes' text."""
    key = VoteKey.generate()
    assert key.public.hex() in repr(key)
    assert key.seed.hex() not in repr(key)
    assert VoteKey(key.seed).public == key.public
