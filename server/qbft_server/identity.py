"""A node's secrets: its TLS identity and its vote key, made once and kept in private files.

The two keys have nothing to do with each other: the TLS key says whose stream this is, the vote key
signs (DESIGN, signatures). Other nodes and clients trust the TLS key by its pin in the cluster file
alone; the certificate around it is only the form in which TLS wants to see it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from qbft.cluster import TLS_NAME, Validator
from qbft.crypto.keys import VoteKey
from qbft.errors import ClusterError
from qbft.tls_pin import tls_key_sha256

PRIVATE_FILE_BYTES_MAX = 64 * 1024
"""A file with a key or token, as it is."""

OPEN_TO_OTHERS = 0o077
"""The bits of a mode that let anyone but the owner at a file."""

_BEGIN = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_NEVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A private key and the self-signed certificate with its public key, both in PEM."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes

    @property
    def pin(self) -> str:
        """What the cluster file calls `tls_key_sha256`."""
        return tls_key_sha256(self.certificate_pem.decode())


def create_tls_identity(
    common_name: str, hosts: Iterable[str], key: ec.EllipticCurvePrivateKey | None = None
) -> TlsIdentity:
    """Make a key (ECDSA P-256), or take one, and its certificate.

    It is valid for `TLS_NAME`, this machine and `hosts`, and never expires (RFC 5280, 4.1.2.5):
    nobody trusts it for its date, and a date on which all nodes of a cluster fall silent at once
    would be a fault of our own making. `common_name` must
    differ from node to node, for TLS finds the trusted certificate by it.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    names = dict.fromkeys([TLS_NAME, "localhost", "127.0.0.1", "::1", *hosts])
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_NEVER)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage(usage), False)
        .sign(key, hashes.SHA256())
    )
    return TlsIdentity(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def _general_name(host: str) -> x509.GeneralName:
    host = host.strip("[]")
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def load_tls_identity(key_path: Path, validator: Validator) -> TlsIdentity:
    """The identity of this node: its private key, and its certificate from the cluster file.

    Raises:
        ClusterError: the key cannot be read, others can read it, or it is not the pinned one.
    """
    key_pem = read_private_file(key_path, "TLS key")
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ClusterError(f"{key_path}: must be an unencrypted private key in PEM") from error
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    pin = digest.finalize().hex()
    if pin != validator.tls_key_sha256:
        raise ClusterError(
            f"{key_path}: its public key is {pin}, but the cluster file pins "
            f"{validator.tls_key_sha256} for this validator"
        )
    return TlsIdentity(key_pem, validator.tls_certificate.encode())


def read_private_file(path: Path, what: str) -> bytes:
    """The contents of a file that only its owner may read.

    Raises:
        ClusterError: it cannot be read, or its group or everyone could.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & OPEN_TO_OTHERS:
                raise ClusterError(
                    f"{path}: the {what} has mode {mode:04o}, open to others; "
                    f"allowed is 0600: chmod 600 {path}"
                )
            data = file.read(PRIVATE_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ClusterError(f"{path}: cannot read the {what}: {error.strerror}") from error
    if len(data) > PRIVATE_FILE_BYTES_MAX:
        raise ClusterError(f"{path}: a {what} has at most {PRIVATE_FILE_BYTES_MAX} bytes")
    return data


def is_open_to_others(path: Path) -> bool:
    """Whether its group or everyone can read or write a file that is there."""
    return bool(path.stat().st_mode & OPEN_TO_OTHERS)


def write_private_file(path: Path, data: bytes) -> None:
    """Make a new file that only its owner may read, and sync it; an existing one is not touched.

    Raises:
        OSError: it exists already, or the disk refuses.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_vote_key(path: Path, key: VoteKey) -> None:
    """Keep a vote key: its 32-byte seed, in hexadecimal, in a new private file.

    Raises:
        OSError: see `write_private_file`.
    """
    write_private_file(path, key.seed.hex().encode() + b"\n")


def read_vote_key(path: Path) -> VoteKey:
    """The vote key in a file, whosever it is.

    Raises:
        ClusterError: it cannot be read, or others can read it.
    """
    text = read_private_file(path, "vote key").strip()
    try:
        return VoteKey(bytes.fromhex(text.decode()))
    except ValueError as error:
        raise ClusterError(f"{path}: must be a vote key: 64 hexadecimal digits") from error


def load_vote_key(path: Path, validator: Validator) -> VoteKey:
    """The vote key of this node.

    Raises:
        ClusterError: it cannot be read, others can read it, or it is not this validator's.
    """
    key = read_vote_key(path)
    if key.public.hex() != validator.vote_key:
        raise ClusterError(
            f"{path}: its public key is {key.public.hex()}, but the cluster file has "
            f"{validator.vote_key} for this validator"
        )
    return key
