"""The cluster file: what is read, what is refused, and in which words."""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from qbft.cluster import Cluster, Prefix, Validator
from qbft.crypto.keys import VoteKey
from qbft.errors import ClusterError
from qbft.replica.policy import TopicPolicy
from qbft.tls_pin import tls_key_sha256
from qbft_server.identity import create_tls_identity

CLIENT_KEY = "ab" * 32


@cache
def validator(index: int) -> Validator:
    """A valid entry, the same every time."""
    identity = create_tls_identity(f"validator {index}", [])
    return Validator(
        vote_key=VoteKey(bytes([index]) * 32).public.hex(),
        peer=f"10.0.0.{index + 1}:7400",
        client=f"node-{index}.example:7401",
        tls_key_sha256=identity.pin,
        tls_certificate=identity.certificate_pem.decode(),
    )


def cluster(nodes: int = 4, **changes: Any) -> Cluster:
    """A valid cluster, but for the changes."""
    validators = tuple(validator(index) for index in range(nodes))
    return Cluster(**{"name": "prices", "epoch": 1, "validators": validators, **changes})


def refusal(text: str) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(ClusterError) as caught:
        Cluster.parse(text, "cluster.toml")
    message = str(caught.value)
    assert message.startswith("cluster.toml: ")
    assert "\n" not in message
    return message.removeprefix("cluster.toml: ")


def test_what_is_dumped_is_what_is_read(tmp_path: Path) -> None:
    """`qbft init` writes the file by `dump`; nodes and clients `load` it."""
    prefixes = (
        Prefix(prefix="prices/", inputs="own", proposers=(CLIENT_KEY, "cd" * 32)),
        Prefix(prefix="", topics_max=17),
        Prefix(prefix="log/", ordered=True),
    )
    whole = cluster(faults=1, prefixes=prefixes)
    path = tmp_path / "cluster.toml"
    path.write_text(whole.dump())
    assert Cluster.load(path) == whole
    assert Cluster.parse(cluster().dump()) == cluster()


def test_the_cluster_id_covers_name_epoch_and_keys_only() -> None:
    """DESIGN 4: addresses and TLS identities are outside the cluster id and may change."""
    base = cluster()
    moved = validator(0).model_copy(update={"peer": "elsewhere:1", "client": "elsewhere:2"})
    same = cluster(validators=(moved, *base.validators[1:]))
    assert same.roster == base.roster
    assert base.roster.vote_keys == tuple(bytes.fromhex(v.vote_key) for v in base.validators)
    others = [
        cluster(name="rates"),
        cluster(epoch=2),
        cluster(nodes=3),
        cluster(validators=tuple(reversed(base.validators))),
    ]
    ids = {c.roster.cluster_id for c in (base, *others)}
    assert len(ids) == 5


def test_the_longest_prefix_wins() -> None:
    """DESIGN, who may propose: policies by prefix; where none matches, open and adopting."""
    whole = cluster(
        prefixes=(
            Prefix(prefix="a/", inputs="own"),
            Prefix(prefix="a/b", proposers=(CLIENT_KEY,), topics_max=5),
        )
    )
    key = bytes.fromhex(CLIENT_KEY)
    assert whole.policy("a/x") == TopicPolicy(adopts=False, prefix="a/")
    assert whole.policy("a/bc") == TopicPolicy(True, frozenset({key}), "a/b", 5)
    assert whole.policy("b") == TopicPolicy()
    assert cluster(prefixes=(Prefix(prefix="", inputs="own"),)).policy("b") == TopicPolicy(False)


def test_no_certificate_is_trusted_beside_the_pinned_one() -> None:
    """Found by fuzzing: what stands around a certificate, or in it, is left out as it is read."""
    first, second = validator(0), validator(1)
    pem = first.tls_certificate
    odd = ["# why\n" + pem, pem + second.tls_certificate, pem.replace("\n", " '''\n", 2)]
    for text in odd:
        entry = Validator(**{**first.model_dump(), "tls_certificate": text})
        assert entry == first
        assert Cluster.parse(cluster(validators=(entry,)).dump()).validators == (first,)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epoch = 1", "epoch = -1", "epoch = -1: must be greater than or equal to 0"),
        ("epoch = 1", 'epoch = "one"', "epoch = 'one': must be a valid integer"),
        ('name = "prices"', "", "name: is missing"),
        ('name = "prices"', 'name = "Prices"', "name = 'Prices': must be 1 to 64 of a-z"),
        ("epoch = 1", "epoc = 1", "unknown key 'epoc'; allowed: name, epoch, faults"),
        ("peer = ", "pear = ", "validators.0: unknown key 'pear'; allowed: vote_key, peer"),
        ("10.0.0.1:7400", "10.0.0.1", "validators.0.peer = '10.0.0.1': must be HOST:PORT"),
        ("10.0.0.1:7400", "10.0.0.1:0", "validators.0.peer = '10.0.0.1:0': must be HOST:PORT"),
        ("10.0.0.1:7400", "10.0.0.2:7400", "address '10.0.0.2:7400' is given twice"),
        ("faults = 1", "faults = 2", "faults = 2 needs 7 validators (3f+1), and there are 4"),
        ('inputs = "own"', 'inputs = "any"', "prefixes.0.inputs = 'any': must be 'adopt' or 'own'"),
        (CLIENT_KEY, "ab", "prefixes.0.proposers.0 = 'ab': must be 64 lowercase hexadecimal"),
        ("topics_max = 10000", "topics_max = 0", "prefixes.0.topics_max = 0: must be greater"),
        ('prefix = "p/"', 'prefix = "/"', "prefixes.0.prefix = '/': must be how a topic can begin"),
        ("-----BEGIN", "-----BEGUN", "validators.0.tls_certificate = '-----BEGUN"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(old: str, new: str, words: str) -> None:
    """Issue 2: every error names the key, the value and what is allowed."""
    prefixes = (Prefix(prefix="p/", inputs="own", proposers=(CLIENT_KEY,)),)
    text = cluster(faults=1, prefixes=prefixes).dump()
    assert old in text
    assert words in refusal(text.replace(old, new, 1))


def test_a_vote_key_counts_once() -> None:
    """Two validators with one key would let one machine vote twice."""
    first, second = validator(0), validator(1)
    text = cluster().dump().replace(second.vote_key, first.vote_key)
    assert f"vote_key {first.vote_key!r} is given twice" in refusal(text)


def test_a_vote_key_is_no_tls_key() -> None:
    """DESIGN, signatures: the vote key is not the TLS key, of any of the validators."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)  # the vote key of validator 1
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), serial_number=1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    shared = {"tls_key_sha256": tls_key_sha256(pem), "tls_certificate": pem}
    for index in (0, 1):
        validators = list(cluster().validators)
        validators[index] = validators[index].model_copy(update=shared)
        text = cluster().model_copy(update={"validators": tuple(validators)}).dump()
        assert f"vote_key {validator(1).vote_key!r} is a TLS key as well" in refusal(text)


def test_ordered_topics_adopt() -> None:
    """docs/adr/017: a batch is decided though the leader has nothing to propose itself."""
    whole = cluster(prefixes=(Prefix(prefix="log/", ordered=True),))
    assert whole.policy("log/a").ordered
    assert not whole.policy("logs").ordered
    text = whole.dump().replace('inputs = "adopt"', 'inputs = "own"')
    assert 'ordered topics need inputs = "adopt"' in refusal(text)


def test_open_prefixes_are_named() -> None:
    """SCENARIOS G16: what no proposer guards is said in the file, all other topics included."""
    whole = cluster(prefixes=(Prefix(prefix="a/", proposers=(CLIENT_KEY,)), Prefix(prefix="b/")))
    assert [(p.prefix, p.is_open) for p in whole.all_prefixes] == [
        ("", True),
        ("a/", False),
        ("b/", True),
    ]
    marked = [line for line in whole.dump().splitlines() if "# open: anyone may" in line]
    assert len(marked) == 1


def test_a_certificate_must_hold_the_pinned_key() -> None:
    """A client trusts the certificate; it must be the one the operator pinned."""
    first, second = validator(0), validator(1)
    text = cluster().dump().replace(first.tls_key_sha256, second.tls_key_sha256, 1)
    assert "which is not the pinned tls_key_sha256" in refusal(text)


def test_a_file_that_is_no_toml_names_the_line() -> None:
    """Issue 2, bad input: a corrupt cluster file is one clear line."""
    assert "at line 2" in refusal('name = "a"\nepoch = = 1\n')
    assert "nested too deeply" in refusal("a = " + "[" * 100_000)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Issue 2, bad input: missing, a directory, or not text at all."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none", tmp_path, binary):
        with pytest.raises(ClusterError) as caught:
            Cluster.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_pin_is_that_of_the_public_key() -> None:
    """RFC 7469: SHA-256 over SubjectPublicKeyInfo; checked against a full X.509 parser."""
    pem = validator(2).tls_certificate
    key = load_pem_x509_certificate(pem.encode()).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert tls_key_sha256(pem) == digest.finalize().hex()


@given(st.binary(max_size=40), st.integers(0, 1_000), st.integers(0, 255))
def test_the_pin_of_anything_else_is_a_value_error(junk: bytes, at: int, byte: int) -> None:
    """Total on hostile input: a broken certificate is a ValueError or the pin of some key."""
    der = bytearray(base64.b64decode("".join(validator(0).tls_certificate.split("\n")[1:-2])))
    der[at % len(der)] = byte
    for body in (junk, bytes(der), bytes(der[: at % len(der)])):
        text = base64.b64encode(body).decode()
        pem = f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
        try:
            assert len(tls_key_sha256(pem)) == 64
        except ValueError as error:
            assert str(error) == "must be a certificate in PEM"  # noqa: PT017


def test_reading_a_cluster_file_needs_no_grpc_and_no_x509_library() -> None:
    """A certificate is verified offline: from bytes and the cluster file alone."""
    code = (
        "import sys, qbft.cluster; "
        "print([m for m in ('grpc', 'cryptography', 'tenacity') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
