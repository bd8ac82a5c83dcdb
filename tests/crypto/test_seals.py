"""Seals as bytes, and what one says of an instance (DESIGN, membership within an epoch)."""

from __future__ import annotations

import by_the_page
import pytest
from crypto_builders import VECTORS

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.encoding import pack
from qbft.crypto.seal import (
    NEVER,
    SEAL_TAG,
    SEAL_TOPIC,
    SEAL_TOPICS_MAX,
    Seal,
    decode_seal,
    seal_instance,
)

NEXT = bytes(range(32))
SEAL = Seal(NEXT, 5, (("prices/btc", 100), ("prices/eth", 0)))


def u64(value: int) -> bytes:
    """8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def test_seal_vector() -> None:
    """PROTOCOL section 12: the bytes of a seal, here, by the page and in the vectors."""
    vector = VECTORS["seal"]
    heights = tuple((topic, height) for topic, height in vector["first_heights"])
    made = Seal(bytes.fromhex(vector["successor"]), vector["default"], heights)
    assert made.encode().hex() == vector["value"]
    assert by_the_page.seal(made.successor, made.default, heights).hex() == vector["value"]
    assert decode_seal(made.encode()) == made
    assert str(seal_instance(vector["epoch"])) == vector["instance"]


def test_first_heights() -> None:
    """Issue 6, epochs: a height for each topic that is named, a default for all others."""
    for topic, height in (("prices/btc", 100), ("prices/eth", 0), ("other", 5)):
        assert SEAL.claims(InstanceId(topic, height))
        assert SEAL.claims(InstanceId(topic, HEIGHT_MAX))
        assert not height or not SEAL.claims(InstanceId(topic, height - 1))
    assert not SEAL.claims(InstanceId(SEAL_TOPIC, HEIGHT_MAX))


def test_a_topic_can_stay() -> None:
    """So that there is a seal that nobody's height makes impossible."""
    seal = Seal(NEXT, NEVER, (("prices/btc", NEVER),))
    assert decode_seal(seal.encode()) == seal
    assert not seal.claims(InstanceId("prices/btc", HEIGHT_MAX))
    assert not seal.claims(InstanceId("other", HEIGHT_MAX))


def test_no_topic_goes_back() -> None:
    """Two seals in a row leave each instance to one epoch: no topic changes over lower again."""
    assert SEAL.follows(SEAL)
    assert Seal(NEXT, 5, (("prices/btc", 101), ("prices/eth", 5), ("x", 6))).follows(SEAL)
    assert not Seal(NEXT, 4, SEAL.first_heights).follows(SEAL)
    assert not Seal(NEXT, 5, (("prices/btc", 99),)).follows(SEAL)
    assert not Seal(NEXT, 5).follows(SEAL)
    assert not Seal(NEXT, 9, (("other", 4), ("prices/btc", 100))).follows(SEAL)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"qbft",
        SEAL.encode()[:-1],
        SEAL.encode() + b"\0",
        SEAL.encode() + pack([b"more"]),
        pack([b"qbft/seal/v2", NEXT, u64(5)]),
        pack([SEAL_TAG, NEXT]),
        pack([SEAL_TAG, NEXT[1:], u64(5)]),
        pack([SEAL_TAG, NEXT, b"\5"]),
        pack([SEAL_TAG, NEXT, u64(NEVER + 1)]),
        pack([SEAL_TAG, NEXT, u64(5), b"b", u64(1), b"a", u64(1)]),
        pack([SEAL_TAG, NEXT, u64(5), b"a", u64(1), b"a", u64(1)]),
        pack([SEAL_TAG, NEXT, u64(5), b"A", u64(1)]),
        pack([SEAL_TAG, NEXT, u64(5), b"\xc3\xa9", u64(1)]),
        pack([SEAL_TAG, NEXT, u64(5), b"a", u64(NEVER + 1)]),
        pack([SEAL_TAG, NEXT, u64(5), SEAL_TOPIC.encode(), u64(1)]),
        pack([SEAL_TAG, NEXT, u64(5)] + [b"a", u64(1)] * (SEAL_TOPICS_MAX + 1)),
    ],
)
def test_nothing_else_is_a_seal(value: bytes) -> None:
    """DESIGN, validity: deterministic in the value, and one form of each seal."""
    with pytest.raises(ValueError, match=r"."):
        decode_seal(value)
