"""Votes that were signed for something else (SCENARIOS C14, C15, C16, C20)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import by_the_page
import pytest
from crypto_builders import (
    DIGEST,
    INSTANCE,
    KEYS,
    STORE,
    roster,
    sign,
    signature_of,
    vote,
    with_signature,
)

from qbft.core import InstanceId, MessageType
from qbft.crypto.canonical import canonical_vote
from qbft.crypto.merkle import leaf_hash
from qbft.crypto.signing import BatchHeader, Verifier, VoteSignature

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(
    "changes",
    [
        {"instance": InstanceId("prices/btc", 8)},
        {"instance": InstanceId("prices/eth", 7)},
        {"type": MessageType.PREPARE},
        {"source": 2},
        {"round": 2},
        {"value": bytes(31) + b"\1"},
        {"value": None},
        {"prepared_round": 1},
        {"prepared_value": DIGEST},
    ],
    ids="-".join,
)
def test_every_field_is_signed(changes: dict[str, Any]) -> None:
    """C14: a vote of another instance, type, source, round or value is another vote."""
    message = vote()
    sign([message])
    assert Verifier(roster()).verify_vote(message)
    assert not Verifier(roster()).verify_vote(replace(message, **changes))


def test_the_justification_is_not_signed() -> None:
    """DESIGN, signatures: a vote carries its signature on when it is stripped."""
    message = vote(round=2, justification=(vote(),))
    sign([message])
    assert Verifier(roster()).verify_vote(message.stripped())
    assert Verifier(roster()).verify_vote(replace(message, justification=()))


def test_a_vote_of_another_cluster() -> None:
    """C15: the same keys with the same indices in another cluster."""
    message = vote()
    header = sign([message], cluster=roster(name="other"))
    assert Verifier(roster(name="other")).verify_vote(message)
    assert not Verifier(roster()).verify_vote(message)
    assert not Verifier(roster()).verify_section(1, [message], header)


def test_a_vote_of_another_signing_version() -> None:
    """C16: genuinely signed by the key, but as another version of the canonical bytes."""
    message = vote()
    cluster = roster().cluster_id
    canonical = canonical_vote(message, cluster)
    version = by_the_page.fields(b"qbft/vote", by_the_page.u64(1))
    assert canonical.startswith(version)
    for number, expected in ((1, True), (0, False), (2, False)):
        other = by_the_page.fields(b"qbft/vote", by_the_page.u64(number))
        root = leaf_hash(other + canonical[len(version) :])
        payload = by_the_page.batch_payload(cluster, 1, STORE, 1, size=1, top=root)
        header = BatchHeader(STORE, 1, KEYS[1].sign(payload))
        signed = with_signature(message, VoteSignature(header, 1, 0, ()))
        assert Verifier(roster()).verify_vote(signed) is expected


def test_store_and_sequence_are_signed() -> None:
    """W9's proof of lost votes rests on it: whoever relays cannot change where a vote stood."""
    message = vote()
    header = sign([message])
    for changed in (replace(header, store_id=bytes(16)), replace(header, sequence=42)):
        assert not Verifier(roster()).verify_section(1, [message], changed)
        moved = replace(signature_of(message), header=changed)
        assert not Verifier(roster()).verify_vote(with_signature(message, moved))


def test_a_malleated_signature() -> None:
    """C20: S + L would be a second signature of the same vote; there is none."""
    message = vote()
    genuine = sign([message])
    scalar = int.from_bytes(genuine.signature[32:], "little") + GROUP_ORDER
    malleated = genuine.signature[:32] + scalar.to_bytes(32, "little")
    header = replace(genuine, signature=malleated)
    changed = replace(signature_of(message), header=header)
    assert not Verifier(roster()).verify_vote(with_signature(message, changed))
    assert not Verifier(roster()).verify_section(1, [message], header)


def test_what_is_no_vote_of_the_service_has_no_bytes() -> None:
    """Only 32-byte digests and service instances are signed."""
    with pytest.raises(TypeError):
        canonical_vote(vote(value="text"), roster().cluster_id)
    assert canonical_vote(vote(instance=INSTANCE), roster().cluster_id)
