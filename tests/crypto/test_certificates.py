"""Certificates: what proves a decision, and every forgery that does not (SCENARIOS G10)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from crypto_builders import (
    DIGEST,
    INSTANCE,
    VALUE,
    VECTORS,
    certificate,
    commits,
    roster,
    sign,
    vote,
    with_signature,
)

from qbft.cluster import Cluster, Validator
from qbft.core import InstanceId, MessageType
from qbft.crypto.certificate import Certificate, canonical_certificate, verify_certificate
from qbft.crypto.proposal import value_digest
from qbft.crypto.signing import Verifier
from qbft.decision import Decision
from qbft.errors import CertificateError
from qbft.verify import VerifiedDecision, verify
from qbft.wire import encode_certificate, encode_decision
from qbft_server.identity import create_tls_identity

OTHER = value_digest(b"other")


@cache
def cluster(name: str = "vectors") -> Cluster:
    """The cluster file of the vectors."""
    validators = []
    for index, key in enumerate(VECTORS["cluster"]["vote_keys"]):
        identity = create_tls_identity(f"validator {index}", [])
        validators.append(
            Validator(
                vote_key=key,
                peer=f"10.0.0.{index}:7400",
                client=f"10.0.0.{index}:7401",
                tls_key_sha256=identity.pin,
                tls_certificate=identity.certificate_pem.decode(),
            )
        )
    return Cluster(name=name, epoch=1, validators=tuple(validators))


def forgeries() -> dict[str, tuple[Certificate, str]]:
    """A certificate per way to forge one, and what is said of it."""
    three = commits()
    genuine = certificate()
    prepares = [vote(MessageType.PREPARE, source) for source in (0, 1, 3)]
    for message in prepares:
        sign([message], message.source)
    relabelled = [replace(message, type=MessageType.COMMIT) for message in prepares]
    stolen = replace(three[0], source=2)
    stranger = replace(three[2], source=4)
    others = commits((3,), round=2)
    another = commits((3,), value=OTHER)
    elsewhere = commits((3,), instance=InstanceId("prices/btc", 8))
    unsigned = with_signature(three[2], None)
    return {
        "a quorum less one": (certificate((0, 1)), "no quorum"),
        "none at all": (certificate(()), "no quorum"),
        "a signer twice": (replace(genuine, commits=(three[0], three[1], three[1])), "twice"),
        "a signer under two names": (
            replace(genuine, commits=(three[0], three[1], stolen)),
            "signature of validator 2",
        ),
        "no member": (replace(genuine, commits=(three[0], three[1], stranger)), "no member"),
        "mixed rounds": (replace(genuine, commits=(*three[:2], *others)), "another round"),
        "mixed values": (replace(genuine, commits=(*three[:2], *another)), "another value"),
        "mixed instances": (
            replace(genuine, commits=(*three[:2], *elsewhere)),
            "another instance",
        ),
        "PREPAREs": (replace(genuine, commits=tuple(prepares)), "not only COMMITs"),
        "PREPAREs as COMMITs": (replace(genuine, commits=tuple(relabelled)), "signature"),
        "an unsigned COMMIT": (replace(genuine, commits=(*three[:2], unsigned)), "signature"),
        "another round": (
            Certificate(INSTANCE, 2, DIGEST, tuple(replace(c, round=2) for c in three)),
            "signature",
        ),
        "another value": (
            Certificate(INSTANCE, 1, OTHER, tuple(replace(c, value=OTHER) for c in three)),
            "signature",
        ),
    }


def test_a_quorum_proves_a_decision() -> None:
    """Paper, Algorithm 2:8: a quorum of COMMITs of one round and value; more do not harm."""
    verify_certificate(certificate(), roster())
    verify_certificate(certificate((0, 1, 2, 3)), roster(), VALUE)


@pytest.mark.parametrize("name", forgeries())
def test_forged_certificates(name: str) -> None:
    """G10: each is refused, and by what is wrong with it."""
    forged, said = forgeries()[name]
    with pytest.raises(CertificateError, match=said):
        verify_certificate(forged, roster())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"instance": "here"}, "not a certificate of the service"),
        ({"instance": ("prices", 7)}, "not a certificate of the service"),
        ({"value": "hello"}, "not a certificate of the service"),
        ({"value": None}, "not a certificate of the service"),
        ({"round": 0}, "no round 0"),
        ({"round": -1}, "no round -1"),
        ({"round": 2**31}, "no round"),
        ({"round": 2**64}, "no round"),
    ],
)
def test_a_certificate_over_other_values_than_the_services(
    fields: dict[str, Any], said: str
) -> None:
    """DESIGN, errors: `run()` decides any hashables; verifying that is an error, and no bug.

    Its COMMITs agree with it, and carry signatures (of something else).
    """
    foreign = [replace(commit, **fields) for commit in commits()]
    made = replace(certificate(), commits=tuple(foreign), **fields)
    for verifier in (None, Verifier(roster())):
        with pytest.raises(CertificateError, match=said):
            verify_certificate(made, roster(), verifier=verifier)


@pytest.mark.parametrize(
    "more",
    [{"prepared_value": DIGEST}, {"prepared_value": "hello"}, {"prepared_round": 1}],
)
def test_a_commit_carries_nothing_prepared(more: dict[str, Any]) -> None:
    """HARDENING D17: a certificate has one form; such COMMITs are none, whoever signed them."""
    carrying = tuple(replace(commit, **more) for commit in commits())
    with pytest.raises(CertificateError, match="more than a COMMIT"):
        verify_certificate(replace(certificate(), commits=carrying), roster())


def test_a_certificate_of_another_cluster() -> None:
    """G10, C15: same keys, same indices, another name."""
    with pytest.raises(CertificateError, match="signature"):
        verify_certificate(certificate(), roster(name="other"))


def test_a_value_that_was_not_decided() -> None:
    """G10: the certificate is genuine, the bytes beside it are not."""
    verify_certificate(certificate(), roster(), VALUE)
    with pytest.raises(CertificateError, match="value is not the one"):
        verify_certificate(certificate(), roster(), b"other")


def test_a_certificate_is_made_canonical() -> None:
    """HARDENING D17: exactly the COMMITs that match, sorted by source, stripped."""
    stray = [*commits((2,), round=2), vote(MessageType.PREPARE, 2), *commits((2,), value=OTHER)]
    made = canonical_certificate(INSTANCE, 1, DIGEST, [*reversed(commits()), *stray])
    assert [commit.source for commit in made.commits] == [0, 1, 3]
    verify_certificate(made, roster())


def test_files_are_verified_offline() -> None:
    """A file holds a decision or a certificate only; both say what was decided, and by whom."""
    vector = VECTORS["certificate"]
    expected = VerifiedDecision(INSTANCE, 2, DIGEST, VALUE, (0, 1, 3))
    assert verify(bytes.fromhex(vector["decision_protobuf"]), cluster()) == expected
    alone = verify(bytes.fromhex(vector["protobuf"]), cluster())
    assert alone == replace(expected, value=None)


def test_files_that_prove_nothing() -> None:
    """G10 through a file: one line each, whatever the bytes are."""
    files = {
        "not a decision or certificate: malformed": b"\xff" * 9,
        "not a decision or certificate: bad_instance": b"",
        "2 COMMITs are no quorum: 3 of 4 are needed": encode_certificate(certificate((0, 1))),
        "the value is not the one that was decided": encode_decision(
            Decision(b"other", certificate())
        ),
    }
    for said, data in files.items():
        with pytest.raises(CertificateError) as caught:
            verify(data, cluster())
        assert str(caught.value) == said
    genuine = encode_decision(Decision(VALUE, certificate()))
    with pytest.raises(CertificateError, match="signature of validator 0"):
        verify(genuine, cluster("other"))
    for length in range(len(genuine)):
        with pytest.raises(CertificateError):
            verify(genuine[:length], cluster())


def test_every_changed_byte_is_noticed_or_without_meaning() -> None:
    """A changed file never proves another decision than the one that was made."""
    genuine = encode_decision(Decision(VALUE, certificate()))
    expected = verify(genuine, cluster())
    for place in range(len(genuine)):
        changed = bytearray(genuine)
        changed[place] ^= 1
        try:
            proven = verify(bytes(changed), cluster())
        except CertificateError:
            continue
        assert replace(proven, value=VALUE) == expected
        assert proven.value in (VALUE, None)


def test_verifying_needs_no_grpc() -> None:
    """DESIGN 2: whoever only verifies certificates installs neither gRPC nor `cryptography`."""
    program = (
        "import sys, qbft.verify; "
        "print([m for m in ('grpc', 'cryptography', 'qbft_server') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    assert ran.stdout.strip() == "[]"
