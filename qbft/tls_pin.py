"""The pin of a TLS public key, taken from a certificate without a cryptography library.

A node is known by its TLS public key, not by a name or an authority (DESIGN, section 4). The pin is
SHA-256 over the DER of SubjectPublicKeyInfo, as in RFC 7469. Nothing is verified here: that whoever
presents the certificate holds its key is what the TLS handshake proves.
"""

from __future__ import annotations

import binascii
import hashlib
import ssl

_ED25519_HEAD = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key, up to the key itself."""

_SEQUENCE = 0x30
_VERSION = 0xA0  # context tag 0 of TBSCertificate; absent in version 1
_FIELDS_BEFORE_KEY = 5  # serial number, signature, issuer, validity, subject (RFC 5280, 4.1)


def tls_key_sha256(certificate_pem: str) -> str:
    """The pin of the first certificate's public key: 64 lowercase hexadecimal digits.

    Raises:
        ValueError: this is not a certificate.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(_first_certificate(certificate_pem))
        certificate, _ = _enter(der, 0)
        position, end = _enter(der, certificate)
        if der[position] == _VERSION:
            position = _skip(der, position)
        for _ in range(_FIELDS_BEFORE_KEY):
            position = _skip(der, position)
        key_end = _skip(der, position)
        if der[position] != _SEQUENCE or not key_end <= end <= len(der):
            raise ValueError("cut short")
    except (binascii.Error, IndexError, ValueError) as error:
        raise ValueError("must be a certificate in PEM") from error
    return hashlib.sha256(der[position:key_end]).hexdigest()


def ed25519_key_sha256(public_key: bytes) -> str:
    """The pin of an Ed25519 public key (32 bytes), if it were a TLS key (RFC 8410, section 4)."""
    return hashlib.sha256(_ED25519_HEAD + public_key).hexdigest()


def bare_certificate(text: str) -> str:
    """The first certificate of a text in PEM, without whatever stands around or within it.

    So no root is trusted beside the one whose key is pinned.

    Raises:
        ValueError: there is no certificate.
    """
    try:
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(_first_certificate(text)))
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be a certificate in PEM") from error


def _first_certificate(text: str) -> str:
    head, tail = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = text.index(head)
    return text[start : text.index(tail, start) + len(tail)]


def _enter(der: bytes, position: int) -> tuple[int, int]:
    """Where the contents of the SEQUENCE at `position` begin and end."""
    if der[position] != _SEQUENCE:
        raise ValueError("not a SEQUENCE")
    return _contents(der, position)


def _skip(der: bytes, position: int) -> int:
    """Where the element at `position` ends."""
    return _contents(der, position)[1]


def _contents(der: bytes, position: int) -> tuple[int, int]:
    """Where the contents of the element at `position` begin and end (DER lengths, X.690 8.1.3)."""
    first = der[position + 1]
    start = position + 2
    if first < 0x80:
        return start, start + first
    width = first & 0x7F
    if not 1 <= width <= 4:
        raise ValueError("no definite length")
    length = int.from_bytes(der[start : start + width], "big")
    return start + width, start + width + length
