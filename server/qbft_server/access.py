"""Which clients a node lets in, and what each may do (docs/adr/014).

A client is known by a token, by the name in a certificate that the operator's authority vouches
for, or by both. What it may do is said by topic prefix. Nothing here looks at topics that exist:
an answer to somebody who may not ask is the same whatever there is.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from qbft.errors import ClusterError
from qbft_server.config import ClientSettings, GrantSettings, check_token_text
from qbft_server.identity import read_private_file

EVERY_TOPIC = ("",)
CERTIFICATES_REMEMBERED = 1_024


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a client may do, each as prefixes of topics: all that begin with one of them.

    Who may propose for an instance also learns what was decided there.
    """

    propose: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()

    def may_propose(self, topic: str) -> bool:
        """Whether it may have values decided for this topic."""
        return topic.startswith(self.propose)

    def may_read(self, topic: str) -> bool:
        """Whether it may read this topic's decisions."""
        return topic.startswith(self.read)

    def may_see_values(self, topic: str) -> bool:
        """Whether the admin port shows it this topic's values, and not only their digests."""
        return topic.startswith(self.admin)

    def joined(self, other: Permissions) -> Permissions:
        """What either of them allows."""
        return Permissions(
            self.propose + other.propose, self.read + other.read, self.admin + other.admin
        )


EVERYTHING_BUT_ADMIN = Permissions(EVERY_TOPIC, EVERY_TOPIC)
"""What clients may do where the operator names no grants."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody who is let in: who that is, and what it may do.

    `name` is None where nobody is asked who it is and it has shown no certificate either.
    """

    name: str | None
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class _Grant:
    """What somebody with this token, and this name, may do; None where it is not asked for."""

    name: str
    token_sha256: bytes | None
    common_name: str | None
    permissions: Permissions

    def is_for(self, token_sha256: bytes, common_name: str | None) -> bool:
        """Whether whoever shows these has this grant; takes the same time for any token."""
        has_token = hmac.compare_digest(self.token_sha256 or token_sha256, token_sha256)
        has_name = self.common_name is None or self.common_name == common_name
        return has_token and has_name


class Gate:
    """Tells what a client may do from what it shows.

    Tokens are kept and compared as SHA-256, in constant time.

    Raises:
        ClusterError: a token's file cannot be used, or others can read it.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._grants = [
            _Grant(
                f"token {number}",
                _sha256(token.get_secret_value().encode()),
                None,
                EVERYTHING_BUT_ADMIN,
            )
            for number, token in enumerate(settings.tokens)
        ]
        self._grants += [_grant(entry) for entry in settings.grants]

    def renew(self, other: Gate) -> None:
        """Let in whom the other one lets in, from now on."""
        self._grants = other._grants

    @property
    def is_open(self) -> bool:
        """Whether the operator asks nobody who it is, but perhaps for a certificate."""
        return not self._grants

    def known(self, token: bytes | None, common_name: str | None = None) -> Known | None:
        """Who somebody is that shows these; None: it is nobody that is let in.

        Whoever has several grants goes by the first.
        """
        if self.is_open:
            name = None if common_name is None else f"certificate {common_name}"
            return Known(name, EVERYTHING_BUT_ADMIN)
        shown = _sha256(token or b"")
        held = [grant for grant in self._grants if grant.is_for(shown, common_name)]
        if not held:
            return None
        allowed = (grant.permissions for grant in held)
        return Known(held[0].name, functools.reduce(Permissions.joined, allowed))

    def permissions(
        self, token: bytes | None, common_name: str | None = None
    ) -> Permissions | None:
        """What somebody may do who shows these; None: it is nobody that is let in."""
        known = self.known(token, common_name)
        return None if known is None else known.permissions


def bearer_token(authorization: str | bytes) -> bytes | None:
    """The token of an `authorization: Bearer TOKEN`; None if it is not of that form."""
    if isinstance(authorization, str):
        authorization = authorization.encode(errors="replace")
    scheme, _, token = authorization.partition(b" ")
    return token if scheme == b"Bearer" and token else None


@functools.lru_cache(maxsize=CERTIFICATES_REMEMBERED)
def common_name_of(certificate_pem: bytes) -> str | None:
    """The common name of a certificate that TLS has verified; None if it has not exactly one."""
    try:
        subject = x509.load_pem_x509_certificate(certificate_pem).subject
        (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, x509.InvalidVersion):
        return None
    return name.value if isinstance(name.value, str) else None


def _grant(entry: GrantSettings) -> _Grant:
    digest = None
    if entry.token_sha256 is not None:
        digest = bytes.fromhex(entry.token_sha256)
    elif entry.token_file is not None:
        digest = _sha256(_read_token(entry.token_file))
    permissions = Permissions(entry.propose, entry.read, entry.admin)
    return _Grant(f"grant {entry.name}", digest, entry.common_name, permissions)


def _read_token(path: Path) -> bytes:
    token = read_private_file(path, "token").strip()
    try:
        check_token_text(token.decode())
    except ValueError as error:
        raise ClusterError(f"{path}: a token {error}") from error
    return token


def _sha256(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
