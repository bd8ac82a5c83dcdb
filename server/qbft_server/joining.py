"""A node of an epoch to come: its keys first, and once the epoch is sealed its place in it.

What the cluster file says of a validator comes from its own host, and no private key leaves it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from qbft.cluster import Cluster, Validator, check_address
from qbft.crypto.keys import VoteKey
from qbft.errors import ClusterError, JournalError
from qbft_server.identity import (
    TlsIdentity,
    create_tls_identity,
    read_private_file,
    read_vote_key,
    write_private_file,
    write_vote_key,
)
from qbft_server.initialise import NODE_FILE, node_settings, refuse_used, sync_tree
from qbft_server.store.decisions import DecisionsError
from qbft_server.store.store import NodeStore

VALIDATOR_FILE = "validator.toml"
VOTE_KEY_FILE, TLS_KEY_FILE, TLS_CERTIFICATE_FILE = "vote.key", "tls.key", "tls.crt"
DATA_DIRECTORY = "data"


def make_candidate(
    directory: Path, host: str, base_port: int, keys: Path | None = None
) -> Validator:
    """Make the folder of a node of an epoch to come, and say what its cluster file needs of it.

    Args:
        directory: a new or empty one.
        host: where the other nodes and clients find it.
        base_port: its port for peers; that for clients and the admin's are the two after it.
        keys: the folder of a node whose keys it goes on with; without, it gets new ones.

    Raises:
        ClusterError: an argument is not allowed, or a file cannot be used or written.
    """
    try:
        peer, client = (check_address(f"{host}:{base_port + offset}") for offset in range(2))
    except ValueError as error:
        raise ClusterError(f"host {host!r}, port {base_port}: {error}") from error
    directory = directory.absolute()
    refuse_used(directory)
    vote_key = VoteKey.generate() if keys is None else read_vote_key(keys / VOTE_KEY_FILE)
    identity = _new_identity(vote_key, host) if keys is None else _identity_of(keys)
    validator = Validator(
        vote_key=vote_key.public.hex(),
        peer=peer,
        client=client,
        tls_key_sha256=identity.pin,
        tls_certificate=identity.certificate_pem.decode(),
    )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_vote_key(directory / VOTE_KEY_FILE, vote_key)
        write_private_file(directory / TLS_KEY_FILE, identity.key_pem)
        (directory / TLS_CERTIFICATE_FILE).write_bytes(identity.certificate_pem)
        (directory / VALIDATOR_FILE).write_text(validator.dump())
        sync_tree(directory)
    except OSError as error:
        raise ClusterError(f"{directory}: cannot be written: {error.strerror}") from error
    return validator


def join(directory: Path, cluster_file: Path) -> Path:
    """Give a candidate its place in a sealed epoch: node file and data directory; gives the former.

    Only a cluster file with its predecessor's seal will do: without it a node would not know from
    which heights on it may vote.

    Raises:
        QbftError: there is no such place, something is there already, or the disk refuses.
    """
    cluster = Cluster.load(cluster_file)
    if not cluster.ended:
        raise ClusterError(f"{cluster_file}: names no predecessor; `qbft reconfigure` makes it")
    public = read_vote_key(directory / VOTE_KEY_FILE).public.hex()
    keys = [validator.vote_key for validator in cluster.validators]
    if public not in keys:
        raise ClusterError(f"{cluster_file}: has no validator with the vote key {public}")
    index = keys.index(public)
    node_file, data = directory / NODE_FILE, directory / DATA_DIRECTORY
    for path in (node_file, data):
        if path.exists():
            raise ClusterError(f"{path} is there already; join never overwrites")
    building: Path | None = None
    try:
        building = Path(tempfile.mkdtemp(prefix=".join.", dir=directory))
        NodeStore.create(building / DATA_DIRECTORY, cluster.roster.cluster_id, index)
        sync_tree(building)
        (building / DATA_DIRECTORY).rename(data)
        validator = cluster.validators[index]
        write_private_file(node_file, _settings(index, cluster_file, validator).encode())
        sync_tree(directory)
    except OSError as error:
        raise JournalError(f"{directory}: cannot be written: {error.strerror}") from error
    except DecisionsError as error:
        raise JournalError(f"{directory}: {error}") from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    return node_file


def _settings(index: int, cluster_file: Path, validator: Validator) -> str:
    host, _, peer = validator.peer.rpartition(":")
    client = int(validator.client.rpartition(":")[2])
    return node_settings(index, str(cluster_file.absolute()), host, (int(peer), client, client + 1))


def _new_identity(vote_key: VoteKey, host: str) -> TlsIdentity:
    """An identity whose name differs from every other's, as TLS needs it."""
    return create_tls_identity(f"validator {vote_key.public.hex()[:32]}", [host])


def _identity_of(keys: Path) -> TlsIdentity:
    key = read_private_file(keys / TLS_KEY_FILE, "TLS key")
    try:
        return TlsIdentity(key, (keys / TLS_CERTIFICATE_FILE).read_bytes())
    except OSError as error:
        path = keys / TLS_CERTIFICATE_FILE
        raise ClusterError(f"{path}: cannot read the certificate: {error.strerror}") from error
