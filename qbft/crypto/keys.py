"""Ed25519 keys, with one rule for the edge cases.

A signature is valid when libsodium's strict verification says so: S below the group order, neither
A nor R of small order, A canonically encoded, and the cofactorless equation. So a vote has one
valid signature per signing, whoever checks it (SCENARIOS F19).
"""

from __future__ import annotations

from nacl import bindings, exceptions

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class VoteKey:
    """A private Ed25519 key, from its 32-byte seed.

    Raises:
        ValueError: the seed has another length.
    """

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> VoteKey:
        """Make a new key from the system's randomness."""
        return cls(bindings.randombytes(SEED_BYTES))

    @property
    def seed(self) -> bytes:
        """The 32 bytes to keep secret."""
        return self._secret[:SEED_BYTES]

    def sign(self, data: bytes) -> bytes:
        """Give the 64-byte signature of the data."""
        return bindings.crypto_sign(data, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"VoteKey(public={self.public.hex()})"


def is_signature_valid(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether this is the key's signature of the data; false for anything malformed."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + data, public)
    except exceptions.BadSignatureError:
        return False
    return True
