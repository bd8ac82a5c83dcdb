"""Looks over a node's surroundings: what would keep it from starting, voting, or being reached.

Each check gives findings, every one with what was seen and, where it is not good, what to do. None
changes anything but a scratch file in the data directory, which it removes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from grpc import aio

from qbft.client import Access, Client, NodeStatus
from qbft.client.pinned import PINNED
from qbft.cluster import Cluster, Validator
from qbft.errors import QbftError
from qbft_server.access import Gate
from qbft_server.config import NodeConfig
from qbft_server.files import CLIENT_CONNECTIONS_MIN, OWN_FILES, peer_connections_max
from qbft_server.health import is_serving
from qbft_server.identity import TlsIdentity, load_tls_identity, load_vote_key
from qbft_server.peers.tls import channel_credentials
from qbft_server.services.server import read_authority
from qbft_server.signer.remote import RemoteSigner
from qbft_server.store.segments import SegmentLog
from qbft_server.store.store import DECISIONS_FILE, JOURNAL_DIRECTORY

SYNCS, SYNC_BYTES = 20, 4_096
SYNC_MS_MAX = 20.0
"""To sync a little. A slower disk has the journal commit in a thread (docs/adr/003): each turn then
waits for it."""

FREE_BYTES_MIN = 1 << 30
CLOCK_SECONDS = 0.2
CLOCK_DRIFT_MAX = 0.01
CLOCK_OFFSET_MS_MAX = 1_000.0
"""By which a clock may be wrong. No vote depends on it; but logs, and diagrams of what several
nodes recorded, go by the clock."""

REACH_SECONDS = 3.0


class Verdict(StrEnum):
    """How good a finding is: `WARN` runs, but not well; `FAIL` does not run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has found; `fix` says what to do, where there is something."""

    what: str
    verdict: Verdict
    seen: str
    fix: str = ""


async def examine(file: Path) -> list[Finding]:
    """Look at everything that concerns the node of this file.

    Raises:
        ClusterError: its settings or its cluster file cannot be used; the message says how.
    """
    config = NodeConfig.load(file)
    cluster, own = config.load_cluster()
    findings = [Finding("settings", Verdict.OK, f"{file}, validator {config.validator}")]
    findings += [_membership(cluster), *_keys(config, cluster, own), _clients(config)]
    findings.append(_data(config, cluster))
    if config.data.is_dir():
        findings += [_disk_speed(config.data), _disk_space(config.data)]
    findings += [_files(len(cluster.validators)), await _clock()]
    findings += [*_application(config), *_traces(config)]
    is_running = await is_serving(
        config.listen.client, _believed(config, own), seconds=REACH_SECONDS
    )
    findings += _ports(config, is_running=is_running)
    told = await _statuses(config, cluster)
    findings += _undecided(told.get(config.validator))
    findings.append(_clocks(told, _peers(config, cluster)))
    findings += await asyncio.gather(
        *(_peer(config, cluster, peer) for peer in _peers(config, cluster))
    )
    return findings


def _peers(config: NodeConfig, cluster: Cluster) -> list[int]:
    return [node for node in range(len(cluster.validators)) if node != config.validator]


def _membership(cluster: Cluster) -> Finding:
    roster = cluster.roster
    seen = f"{len(cluster.validators)} nodes, survives {roster.faulty} faulty"
    if roster.faulty:
        return Finding("cluster", Verdict.OK, seen)
    return Finding("cluster", Verdict.WARN, seen, "four nodes or more survive a faulty one")


def _keys(config: NodeConfig, cluster: Cluster, own: Validator) -> Iterator[Finding]:
    loads: list[tuple[str, Path, Callable[[Path, Validator], object]]] = [
        ("TLS key", config.tls_key, load_tls_identity)
    ]
    if config.vote_key is not None:
        loads.append(("vote key", config.vote_key, load_vote_key))
    if config.vote_signer is not None:
        yield _signer(RemoteSigner(config.vote_signer, cluster.roster, config.validator))
    for what, path, load in loads:
        try:
            load(path, own)
        except QbftError as error:
            yield Finding(what, Verdict.FAIL, str(error), "put this validator's own key there")
        else:
            yield Finding(what, Verdict.OK, f"{path}, private, the cluster file's")


def _signer(signer: RemoteSigner) -> Finding:
    try:
        signer.check()
    except QbftError as error:
        return Finding("vote key", Verdict.FAIL, str(error), "start `qbft signer` with its key")
    finally:
        signer.close()
    return Finding("vote key", Verdict.OK, "at the signer, the cluster file's")


def _clients(config: NodeConfig) -> Finding:
    """Whether it can be told who may come in: tokens, and who vouches for certificates."""
    try:
        read_authority(config)
        Gate(config.clients)
    except QbftError as error:
        fix = "see [clients] in the node's file, and who may read the files it names"
        return Finding("clients", Verdict.FAIL, str(error), fix)
    return Finding("clients", Verdict.OK, "what lets them in can be read")


def _data(config: NodeConfig, cluster: Cluster) -> Finding:
    journal, decisions = config.data / JOURNAL_DIRECTORY, config.data / DECISIONS_FILE
    fix = "mount the right directory; if it is lost for good: qbft init --replace NODE_FILE"
    try:
        for part, is_there in (
            (journal, SegmentLog.exists(journal)),
            (decisions, decisions.is_file()),
        ):
            if not is_there:
                return Finding("data", Verdict.FAIL, f"{part} is not there", fix)
        SegmentLog.check_owner(journal, cluster.roster.cluster_id, config.validator)
    except (QbftError, OSError) as error:
        return Finding("data", Verdict.FAIL, str(error), fix)
    return Finding("data", Verdict.OK, f"{config.data}, this node's")


def _application(config: NodeConfig) -> Iterator[Finding]:
    """Whether the operator's program is there; a node starts without it."""
    if config.application is None:
        return
    address = config.application.address
    why = _why_silent(address)
    if why is None:
        yield Finding("application", Verdict.OK, f"{address} takes connections")
    else:
        fix = "start it: until then nothing of its topics is decided with this node's vote"
        yield Finding("application", Verdict.WARN, f"{address}: {why}", fix)


def _why_silent(address: str) -> str | None:
    """Why nobody takes connections at an address of this machine; None if somebody does."""
    path = address.removeprefix("unix:")
    try:
        if path != address:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(REACH_SECONDS)
                probe.connect(path)
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _traces(config: NodeConfig) -> Iterator[Finding]:
    """Whether there is what sends traces, where they are wanted."""
    endpoint = config.traces.endpoint
    if endpoint is None:
        return
    if importlib.util.find_spec("opentelemetry") is None:
        fix = "pip install 'qbft[otel]', or leave traces.endpoint out"
        yield Finding("traces", Verdict.FAIL, "OpenTelemetry is not installed", fix)
    else:
        yield Finding("traces", Verdict.OK, f"sent to {endpoint}")


def _disk_speed(directory: Path) -> Finding:
    try:
        median_ms = statistics.median(_syncs(directory)) * 1_000
    except OSError as error:
        seen = f"{directory}: {error.strerror}"
        return Finding("disk speed", Verdict.FAIL, seen, "make it writable for this user")
    seen = f"write and fdatasync of {SYNC_BYTES} bytes: {median_ms:.2f} ms"
    if median_ms <= SYNC_MS_MAX:
        return Finding("disk speed", Verdict.OK, seen)
    return Finding("disk speed", Verdict.WARN, seen, "each vote waits so long: use a faster disk")


def _syncs(directory: Path) -> list[float]:
    """Seconds of each of a few commits like the journal's."""
    seconds = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(bytes(SYNC_BYTES))
            file.flush()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - begun)
    return seconds


def _disk_space(directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free
    seen = f"{free / (1 << 30):.1f} GiB free"
    if free >= FREE_BYTES_MIN:
        return Finding("disk space", Verdict.OK, seen)
    return Finding("disk space", Verdict.WARN, seen, "on a full disk the node stops voting")


def _files(nodes: int) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OWN_FILES + nodes + peer_connections_max(nodes) + CLIENT_CONNECTIONS_MIN
    seen = "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard} open"
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return Finding("open files", Verdict.OK, seen)
    return Finding("open files", Verdict.FAIL, seen, f"allow {wanted} or more (ulimit -n)")


async def _clock() -> Finding:
    """Whether the time of day and the timers' clock run alike; only rates matter to a node."""
    day, own = time.time(), time.monotonic()
    await asyncio.sleep(CLOCK_SECONDS)
    elapsed = time.monotonic() - own
    drift = (time.time() - day) / elapsed - 1
    seen = f"time of day runs {drift:+.2%} beside the monotonic clock"
    if abs(drift) <= CLOCK_DRIFT_MAX:
        return Finding("clock", Verdict.OK, seen)
    return Finding("clock", Verdict.WARN, seen, "let the time service finish its correction")


def _ports(config: NodeConfig, *, is_running: bool) -> Iterator[Finding]:
    for what in ("peer", "client", "admin"):
        address = getattr(config.listen, what)
        if address is None:
            continue
        taken = _why_taken(address)
        if taken is None:
            seen = f"{address} is free"
            yield Finding(f"{what} port", Verdict.OK, seen)
        elif is_running:
            yield Finding(f"{what} port", Verdict.OK, f"{address}, where this node runs")
        else:
            fix = "stop what holds it, or give the node another address in [listen]"
            yield Finding(f"{what} port", Verdict.FAIL, f"{address}: {taken}", fix)


def _why_taken(address: str) -> str | None:
    """Why nobody can listen there now; None if one can."""
    host, _, port = address.rpartition(":")
    try:
        where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(where[0], where[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where[4])
    except OSError as error:
        return error.strerror or str(error)
    return None


def _undecided(told: NodeStatus | None) -> Iterator[Finding]:
    """Where this node never votes; nothing is found where it does not tell everybody."""
    if told is None:
        return
    if not told.kept_out:
        yield Finding("undecided", Verdict.OK, "it keeps out of no undecided instance")
    else:
        seen = f"it keeps out of {told.kept_out} undecided"
        fix = "replace no other node until it is none; if it stays so: docs/OPERATIONS.md, Disks"
        yield Finding("undecided", Verdict.WARN, seen, fix)


def _believed(config: NodeConfig, own: Validator) -> Validator | None:
    """Whose TLS key is at our client port; None where it speaks without TLS."""
    return None if config.clients.insecure_plaintext else own


async def _statuses(config: NodeConfig, cluster: Cluster) -> dict[int, NodeStatus]:
    """What the nodes that answer tell any client of themselves."""
    access = Access(insecure_plaintext=config.clients.insecure_plaintext)
    async with Client(cluster, access=access) as client:
        told = await client.status(REACH_SECONDS)
    return {node: status for node, status in told.items() if isinstance(status, NodeStatus)}


def _clocks(told: Mapping[int, NodeStatus], peers: Iterable[int]) -> Finding:
    """How far the other nodes' clocks are from ours, as they tell."""
    zero_ms = (time.time() - asyncio.get_running_loop().time()) * 1_000
    seen, is_far = [], False
    for peer in peers:
        status = told.get(peer)
        if status is not None:
            offset_ms = status.clock_zero_ms - zero_ms
            seen.append(f"node {peer} {offset_ms:+.0f} ms (within {status.clock_within_ms:.0f})")
            is_far |= abs(offset_ms) - status.clock_within_ms > CLOCK_OFFSET_MS_MAX
    if not seen:
        return Finding("peers' clocks", Verdict.OK, "no other node tells its own")
    if is_far:
        fix = "run a time service on every node: logs and diagrams go by these clocks"
        return Finding("peers' clocks", Verdict.WARN, ", ".join(seen), fix)
    return Finding("peers' clocks", Verdict.OK, ", ".join(seen))


async def _peer(config: NodeConfig, cluster: Cluster, peer: int) -> Finding:
    what, validator = f"node {peer}", cluster.validators[peer]
    try:
        async with asyncio.timeout(REACH_SECONDS):
            host, _, port = validator.peer.rpartition(":")
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        fix = "start it, or open the way to its peer port; until then one fewer may fail"
        return Finding(what, Verdict.WARN, f"peer port {validator.peer}: {reason}", fix)
    try:
        identity = load_tls_identity(config.tls_key, cluster.validators[config.validator])
    except QbftError:
        seen = f"{validator.peer} takes connections; without our TLS key no more can be seen"
        return Finding(what, Verdict.WARN, seen, "put this validator's own TLS key there")
    if not await _is_link_possible(cluster, peer, identity):
        seen = f"{validator.peer} does not prove its TLS key, or does not take ours"
        fix = "give both nodes the same cluster file, and each its own key; then SIGHUP"
        return Finding(what, Verdict.WARN, seen, fix)
    if not await is_serving(validator.client, validator, seconds=REACH_SECONDS):
        seen = f"{validator.peer} proves its TLS key, {validator.client} does not"
        return Finding(what, Verdict.WARN, seen, "clients of that node need it; see its log")
    seen = f"{validator.peer} and {validator.client} prove its TLS key"
    return Finding(what, Verdict.OK, seen)


async def _is_link_possible(cluster: Cluster, peer: int, identity: TlsIdentity) -> bool:
    """Whether both sides of a link prove their keys: the handshake alone, no stream is opened."""
    address = cluster.validators[peer].peer
    async with aio.secure_channel(
        address, channel_credentials(cluster, peer, identity), PINNED
    ) as channel:
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await channel.channel_ready()
        except TimeoutError:
            return False
    return True
