"""Who is let in, and what each may do: grants by token and certificate (docs/adr/014)."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from qbft.cluster import first_error
from qbft.errors import ClusterError
from qbft_server import access
from qbft_server.access import (
    EVERYTHING_BUT_ADMIN,
    Gate,
    Permissions,
    bearer_token,
    common_name_of,
)
from qbft_server.config import ClientSettings, NodeConfig

ALICE, BOB, OPERATOR = b"alice-has-this-token", b"bob-has-another-token", b"the-operators-own"


def digest(token: bytes) -> str:
    """What the file has of a token."""
    return hashlib.sha256(token).hexdigest()


def gate(*grants: dict[str, object], **settings: object) -> Gate:
    """A gate with these grants."""
    named = [{"name": f"grant {number}", **grant} for number, grant in enumerate(grants)]
    return Gate(ClientSettings.model_validate({"grants": named, **settings}))


def test_without_tokens_and_grants_everyone_is_let_in() -> None:
    """The quick start asks nobody who he is; values on the admin port take a grant all the same."""
    everyone = gate()
    assert everyone.is_open
    assert everyone.permissions(None) == EVERYTHING_BUT_ADMIN
    assert everyone.permissions(b"whatever") == EVERYTHING_BUT_ADMIN
    assert not EVERYTHING_BUT_ADMIN.may_see_values("t")


def test_a_plain_token_may_all_but_administer() -> None:
    """`clients.tokens` means what it meant before there were grants."""
    guarded = gate(tokens=(OPERATOR.decode(),))
    assert guarded.permissions(OPERATOR) == EVERYTHING_BUT_ADMIN
    for wrong in (None, b"", OPERATOR[:-1], OPERATOR + b"x"):
        assert guarded.permissions(wrong) is None


def test_permissions_are_by_prefix_of_topics() -> None:
    """Issue "No one let in": propose, read, admin, each by prefix; a client has all its grants."""
    guarded = gate(
        {"token_sha256": digest(ALICE), "propose": ["prices/"], "read": ["prices/", "rates/"]},
        {"token_sha256": digest(BOB), "read": [""]},
        {"token_sha256": digest(BOB), "admin": ["rates/"]},
    )
    alice, bob = guarded.permissions(ALICE), guarded.permissions(BOB)
    assert alice is not None
    assert bob is not None
    assert [alice.may_propose(topic) for topic in ("prices/btc", "prices", "rates/x")] == [
        True,
        False,
        False,
    ]
    assert [alice.may_read(topic) for topic in ("rates/x", "orders")] == [True, False]
    assert not alice.may_see_values("prices/btc")
    assert bob.may_read("anything")
    assert not bob.may_propose("anything")
    assert (bob.may_see_values("rates/x"), bob.may_see_values("prices/btc")) == (True, False)


def test_a_certificate_is_known_by_its_name_and_a_token_may_be_asked_for_too() -> None:
    """Mutual TLS: the name that the authority vouches for; with a token both have to be right."""
    guarded = gate(
        {"common_name": "alice", "read": ["a"]},
        {"common_name": "alice", "token_sha256": digest(ALICE), "propose": ["a"]},
        authority="clients.pem",
    )
    assert guarded.permissions(None, "alice") == Permissions(read=("a",))
    assert guarded.permissions(ALICE, "alice") == Permissions(propose=("a",), read=("a",))
    assert guarded.permissions(BOB, "alice") == Permissions(read=("a",))
    for name in (None, "bob", "Alice", ""):
        assert guarded.permissions(ALICE, name) is None


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length, all of them, whichever is right: time tells nothing of a token."""
    seen = []

    def compare(ours: bytes, theirs: bytes) -> bool:
        seen.append((len(ours), theirs))
        return hmac.compare_digest(ours, theirs)

    guarded = gate(
        {"token_sha256": digest(ALICE), "read": [""]},
        {"token_sha256": digest(BOB), "read": [""]},
        tokens=(OPERATOR.decode(),),
    )
    monkeypatch.setattr(access, "hmac", type("module", (), {"compare_digest": compare}))
    for token in (ALICE, BOB, OPERATOR, None, b"x" * 8_000):
        seen.clear()
        guarded.permissions(token)
        assert seen == [(32, hashlib.sha256(token or b"").digest())] * 3


def test_a_token_may_be_in_a_private_file(tmp_path: Path) -> None:
    """Secrets that are mounted: read once, at start, and refused where others can read them."""
    file = tmp_path / "alice.token"
    file.write_bytes(ALICE + b"\n")
    file.chmod(0o600)
    grant = {"token_file": str(file), "read": [""]}
    assert gate(grant).permissions(ALICE) == Permissions(read=("",))
    file.chmod(0o640)
    with pytest.raises(ClusterError, match="the token has mode 0640, open to others"):
        gate(grant)
    file.chmod(0o600)
    file.write_text("short-secret")
    with pytest.raises(ClusterError, match="a token must be 16 to 512") as refused:
        gate(grant)
    assert "short-secret" not in str(refused.value)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(ClusterError, match="a token "):
        gate(grant)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", b"abc"),
        (b"Bearer abc", b"abc"),
        ("bearer abc", None),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        ("Bearer \udcff", b"?"),
    ],
)
def test_a_header_is_anybodys_text(header: str | bytes, token: bytes | None) -> None:
    """What is not of the form is no token, and never an exception."""
    assert bearer_token(header) == token


def certificate(*names: str) -> bytes:
    """A certificate with so many common names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial_number=1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def test_a_certificate_with_two_names_is_nobodys() -> None:
    """Which of them was meant is not to be guessed; nor has what is no certificate a name."""
    assert common_name_of(certificate("alice")) == "alice"
    assert common_name_of(certificate("alice", "operator")) is None
    assert common_name_of(certificate()) is None
    assert common_name_of(b"junk") is None


GRANT = {"name": "a", "token_sha256": digest(ALICE), "read": ["a"]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"grants": [{"name": "a", "read": [""]}]},
            "needs token_sha256, token_file or common_name",
        ),
        ({"grants": [{**GRANT, "token_file": "x"}]}, "are two tokens; allowed: one of them"),
        ({"grants": [{**GRANT, "read": []}]}, "needs propose, read or admin"),
        ({"grants": [{**GRANT, "read": ["/"]}]}, "read.0 = '/': must be how a topic can begin"),
        ({"grants": [{**GRANT, "raed": [""]}]}, "unknown key 'raed'; allowed: name, token_sha256"),
        (
            {"grants": [{**GRANT, "token_sha256": "AB"}]},
            "token_sha256 = 'AB': must be 64 lowercase",
        ),
        ({"grants": [GRANT, GRANT]}, "grant name 'a' is given twice"),
        ({"grants": [{**GRANT, "common_name": "x"}]}, "allowed: only with authority"),
        ({"grants": [GRANT], "insecure_plaintext": True}, "allowed: not with grants"),
    ],
)
def test_a_wrong_grant_is_said_in_one_line(settings: dict[str, object], words: str) -> None:
    """Issue "No one let in": every error names the key, the value and what is allowed."""
    with pytest.raises(ValidationError) as caught:
        ClientSettings.model_validate(settings)
    assert words in first_error(caught.value)


def test_files_of_grants_are_seen_from_the_nodes_file(tmp_path: Path) -> None:
    """As all its paths."""
    file = tmp_path / "node.toml"
    file.write_text(
        'cluster = "c"\nvalidator = 0\ndata = "d"\nvote_key = "v"\ntls_key = "t"\n'
        '[listen]\npeer = "a:1"\nclient = "a:2"\n'
        '[clients]\nauthority = "authority.pem"\n'
        '[[clients.grants]]\nname = "x"\ntoken_file = "x.token"\nread = [""]\n'
        '[[clients.grants]]\nname = "y"\ncommon_name = "y"\nread = [""]\n'
    )
    clients = NodeConfig.load(file).clients
    assert clients.authority == tmp_path / "authority.pem"
    assert [grant.token_file for grant in clients.grants] == [tmp_path / "x.token", None]
