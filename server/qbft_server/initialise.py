"""Making a cluster: keys, certificates, the cluster file, and a folder for every node.

Only this makes data directories; a node never does (HARDENING W7). Nothing is ever overwritten, and
nothing is ever half there: all is built beside the target and appears by one rename.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from qbft.cluster import (
    VALIDATORS_MAX,
    Cluster,
    Prefix,
    Validator,
    check_address,
    first_error,
)
from qbft.core.quorum import max_faulty
from qbft.crypto.keys import VoteKey
from qbft.errors import ClusterError, JournalError
from qbft_server.config import NodeConfig
from qbft_server.identity import (
    TlsIdentity,
    create_tls_identity,
    write_private_file,
    write_vote_key,
)
from qbft_server.store.decisions import DecisionsError
from qbft_server.store.journal import VoteJournal
from qbft_server.store.store import JOURNAL_DIRECTORY, NodeStore

CLUSTER_FILE = "cluster.toml"
NODE_FILE = "node.toml"
PROPOSER_KEY_FILE = "proposer.key"
PORTS_PER_NODE = 10
_LOOPBACK = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})


def init_cluster(
    directory: Path,
    nodes: int = 4,
    *,
    name: str = "qbft",
    epoch: int = 0,
    faults: int | None = None,
    hosts: Sequence[str] = ("127.0.0.1",),
    base_port: int = 7400,
    guarded: str | None = None,
    ordered: Sequence[str] = (),
) -> Cluster:
    """Make a new cluster in `directory`, which must not exist or be empty; return its cluster file.

    `hosts` is one host for all nodes, or one for each. A node's peer, client and admin ports are
    `base_port` and the two after it; nodes that share a host are `PORTS_PER_NODE` apart. On
    loopback hosts nodes listen there only, elsewhere on every interface, admin always on loopback.
    Topics that begin with `guarded` take only what `PROPOSER_KEY_FILE` has signed; all others are
    open (DESIGN, who may propose). Those that begin with one of `ordered` are appended to
    (docs/adr/017); the guarded prefix may be among them.

    Raises:
        ClusterError: an argument is not allowed, `directory` is in use, or the disk refuses.
    """
    if not 1 <= nodes <= VALIDATORS_MAX:
        raise ClusterError(f"nodes = {nodes}: allowed is 1 to {VALIDATORS_MAX}")
    claimed = max_faulty(nodes) if faults is None else faults
    bases = _base_ports(_one_host_each(hosts, nodes), base_port)
    directory = directory.absolute()
    refuse_used(directory)
    building: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        proposer = None if guarded is None else VoteKey.generate()
        prefixes = _prefixes(guarded, proposer, ordered)
        cluster = _build(building, name, epoch, claimed, bases, prefixes=prefixes)
        if proposer is not None:
            write_vote_key(building / PROPOSER_KEY_FILE, proposer)
        sync_tree(building)
        building.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        raise ClusterError(f"{directory}: cannot make the cluster: {error.strerror}") from error
    except (JournalError, DecisionsError) as error:
        raise ClusterError(f"{directory}: cannot make the cluster: {error}") from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    return cluster


def replace_store(config: NodeConfig) -> Path | None:
    """Make a new, empty data directory for a node that lost its own (HARDENING W7).

    It says that votes of its validator are lost, so that the node asks its peers before it votes
    again. What is left of the old one is kept beside it; gives where.

    Raises:
        QbftError: the old one is in use, or the disk refuses.
    """
    cluster, _ = config.load_cluster()
    data = config.data.absolute()
    building: Path | None = None
    try:
        building = Path(tempfile.mkdtemp(prefix=f".{data.name}.", dir=data.parent))
        NodeStore.create(
            building / "data", cluster.roster.cluster_id, config.validator, replaces=True
        )
        sync_tree(building)
        old = _move_away(data) if data.exists() else None
        (building / "data").rename(data)
        _sync(data.parent)
    except OSError as error:
        raise JournalError(f"{data}: cannot be replaced: {error.strerror}") from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    return old


def _move_away(data: Path) -> Path:
    """Rename a data directory that no process uses to a free name beside it."""
    with VoteJournal.unused(data / JOURNAL_DIRECTORY):
        free = (data.with_name(f"{data.name}.replaced-{number}") for number in count(1))
        old = next(path for path in free if not path.exists())
        return data.rename(old)


def _one_host_each(hosts: Sequence[str], nodes: int) -> list[str]:
    if len(hosts) not in (1, nodes):
        raise ClusterError(f"{len(hosts)} hosts for {nodes} nodes: allowed is 1 or {nodes}")
    return list(hosts) * (nodes if len(hosts) == 1 else 1)


def _base_ports(hosts: list[str], base_port: int) -> list[tuple[str, int]]:
    """(host, first port) of every node."""
    bases = []
    seen: Counter[str] = Counter()
    for host in hosts:
        port = base_port + PORTS_PER_NODE * seen[host]
        seen[host] += 1
        try:
            for offset in range(3):
                check_address(f"{host}:{port + offset}")
        except ValueError as error:
            raise ClusterError(f"host {host!r}, port {port}: {error}") from error
        bases.append((host, port))
    return bases


def refuse_used(directory: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        ClusterError: the directory is not empty.
    """
    try:
        used = directory.exists() and any(directory.iterdir())
    except OSError as error:
        raise ClusterError(f"{directory}: {error.strerror}") from error
    if used:
        raise ClusterError(f"{directory} is not empty; init never overwrites: name a new directory")


def _prefixes(
    guarded: str | None, proposer: VoteKey | None, ordered: Sequence[str]
) -> tuple[Prefix, ...]:
    """What is open, said where everyone reads it, what this proposer guards, and what is ordered.

    Raises:
        ClusterError: no topic can begin so.
    """
    prefixes = {"": Prefix(prefix="")}
    if guarded is not None and proposer is not None:
        try:
            prefixes[guarded] = Prefix(prefix=guarded, proposers=(proposer.public.hex(),))
        except ValidationError as error:
            raise ClusterError(f"guarded {first_error(error)}") from error
    for prefix in ordered:
        try:
            base = prefixes.get(prefix) or Prefix(prefix=prefix)
        except ValidationError as error:
            raise ClusterError(f"ordered {first_error(error)}") from error
        prefixes[prefix] = base.model_copy(update={"ordered": True})
    return tuple(prefixes.values())


def _build(
    building: Path,
    name: str,
    epoch: int,
    faults: int,
    bases: list[tuple[str, int]],
    *,
    prefixes: tuple[Prefix, ...],
) -> Cluster:
    vote_keys = [VoteKey.generate() for _ in bases]
    identities = [
        create_tls_identity(f"validator {index} of {name}"[:64], [host])
        for index, (host, _) in enumerate(bases)
    ]
    validators = tuple(
        Validator(
            vote_key=vote_key.public.hex(),
            peer=f"{host}:{port}",
            client=f"{host}:{port + 1}",
            tls_key_sha256=identity.pin,
            tls_certificate=identity.certificate_pem.decode(),
        )
        for vote_key, identity, (host, port) in zip(vote_keys, identities, bases, strict=True)
    )
    text = Cluster.model_construct(
        name=name, epoch=epoch, faults=faults, validators=validators, prefixes=prefixes
    ).dump()
    cluster = Cluster.parse(text, "init")
    (building / CLUSTER_FILE).write_text(text)
    for index, (host, port) in enumerate(bases):
        node = building / f"node-{index}"
        node.mkdir(mode=0o700)
        _write_node(node, index, host, port, identities[index])
        write_vote_key(node / "vote.key", vote_keys[index])
        NodeStore.create(node / "data", cluster.roster.cluster_id, index)
    return cluster


def _write_node(node: Path, index: int, host: str, port: int, identity: TlsIdentity) -> None:
    write_private_file(node / "tls.key", identity.key_pem)
    (node / "tls.crt").write_bytes(identity.certificate_pem)
    settings = node_settings(index, f"../{CLUSTER_FILE}", host, (port, port + 1, port + 2))
    write_private_file(node / NODE_FILE, settings.encode())  # tokens may be put into it


def node_settings(index: int, cluster: str, host: str, ports: tuple[int, int, int]) -> str:
    """The text of a node file; the ports are the peers', the clients' and the admin's.

    On a loopback host it listens there only, elsewhere on every interface.
    """
    listen = host if host in _LOOPBACK else "0.0.0.0"  # noqa: S104 - mutual TLS guards it
    peer, client, admin = ports
    return f'''# Node {index}. Any key may be given in the environment: QBFT_LOG__LEVEL=debug
cluster = "{cluster}"
validator = {index}
data = "data"
vote_key = "vote.key"
tls_key = "tls.key"  # its certificate is in the cluster file; tls.crt is for other tools

[listen]
peer = "{listen}:{peer}"
client = "{listen}:{client}"
admin = "127.0.0.1:{admin}"
'''


def sync_tree(root: Path) -> None:
    """Make all files and folders below this one durable."""
    for path in sorted(root.rglob("*")):
        _sync(path)
    _sync(root)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
