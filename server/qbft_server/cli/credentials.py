"""What a client shows of itself: tokens, certificates and proposers' keys, from private files."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from qbft.client import Access
from qbft.cluster import Table, first_error, parse_toml
from qbft.crypto.keys import VoteKey
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.cli.options import read_file
from qbft_server.identity import read_private_file


class AccessFile(Table):
    """What `--access` names: `token`, or `key` and `certificate`, files beside it."""

    token: str | None = None
    key: Path | None = None
    certificate: Path | None = None
    insecure_plaintext: bool = False


def read_access(path: Path) -> Access:
    """Read a file of `AccessFile`'s keys.

    Raises:
        ClusterError: it, or what it names, cannot be used.
    """
    text = read_private_file(path, "access file").decode(errors="replace")
    try:
        file = AccessFile.model_validate(parse_toml(text, str(path)))
    except ValidationError as error:
        message = first_error(error, frozenset({"token"}))
        raise CommandError(f"{path}: {message}", ExitCode.USAGE) from error
    if (file.key is None) != (file.certificate is None):
        raise CommandError(f"{path}: key and certificate go together", ExitCode.USAGE)
    key = certificate = None
    if file.key is not None and file.certificate is not None:
        key = read_private_file(path.parent / file.key, "client key")
        certificate = read_file(path.parent / file.certificate, "client certificate", 64 << 10)
    return Access(file.token, key, certificate, file.insecure_plaintext)


def load_proposer_key(path: Path) -> VoteKey:
    """Read the key that `qbft keygen` made.

    Raises:
        ClusterError: the file cannot be read, or others can read it.
        CommandError: it holds no key.
    """
    text = read_private_file(path, "proposer key").strip()
    try:
        return VoteKey(bytes.fromhex(text.decode()))
    except ValueError as error:
        message = f"{path}: must be a proposer key: 64 hexadecimal digits"
        raise CommandError(message, ExitCode.USAGE) from error
