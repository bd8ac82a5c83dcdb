"""etcd: three members on the loopback, with TLS between members and towards clients.

It tolerates crashes, not lies. Each operation is a unary Put to the leader, the member that answers
soonest. The few bytes of etcd's messages that are needed are written here by their field numbers
(etcd API v3: PutRequest has the key in field 1 and the value in field 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import shutil
import urllib.error
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from grpc import aio

from qbft.errors import QbftError
from side_by_side.load import ANSWER_SECONDS_MAX, Session, Usage, by_workers
from side_by_side.ours import add_metrics
from side_by_side.processes import Children, cpu_seconds, disk_bytes_of_all, free_ports

NAME = "etcd"
MEMBERS = 3
PUT = "/etcdserverpb.KV/Put"
STORED_BYTES_MAX = 8 * 1024**3
_DAYS = dt.timedelta(days=1)
_LENGTH_DELIMITED = 2


def encode_put(key: bytes, value: bytes) -> bytes:
    """A PutRequest in protobuf's encoding."""
    return _field(1, key) + _field(2, value)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


@dataclass(frozen=True)
class _Member:
    """Where one member listens."""

    client: int
    peer: int
    metrics: int

    @property
    def name(self) -> str:
        return f"etcd-{self.peer}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics}/metrics"


class Etcd:
    """Three members, as Debian's `etcd-server` installs them."""

    def __init__(self) -> None:
        self.variants = {
            NAME: f"{MEMBERS} members; crash faults only; fsynced; TLS; unary Put to the leader"
        }

    @contextlib.asynccontextmanager
    async def run(self, directory: Path) -> AsyncIterator[RunningEtcd]:
        """Run a fresh cluster.

        Raises:
            QbftError: etcd is not installed, or a member did not start.
        """
        program = shutil.which("etcd")
        if program is None:
            raise QbftError("there is no etcd here: install it first (apt-get install etcd-server)")
        files = _TlsFiles.create(directory)
        ports = free_ports(3 * MEMBERS)
        members = [_Member(*ports[first : first + 3]) for first in range(0, len(ports), 3)]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ETCD_")
        }
        async with Children() as children:
            for member in members:
                command = [program, *_settings(member, members, files, directory)]
                await children.start(command, directory / f"{member.name}.log", environment)
            running = RunningEtcd(children, members, files)
            await children.wait_until(running.has_leader, "etcd has a leader")
            yield running


class RunningEtcd:
    """Members that run."""

    def __init__(self, children: Children, members: list[_Member], files: _TlsFiles) -> None:
        self._children = children
        self._members = members
        self._files = files
        self._leader = members[0]

    async def has_leader(self) -> bool:
        """Whether one member leads now, and every member knows a leader; remembers which."""
        known = 0.0
        leads = False
        for member in self._members:
            sums: dict[str, float] = {}
            try:
                await asyncio.to_thread(add_metrics, member.metrics_url, sums)
            except (OSError, urllib.error.URLError):
                return False
            known += sums["etcd_server_has_leader"]
            if sums["etcd_server_is_leader"]:
                self._leader, leads = member, True
        return leads and known == len(self._members)

    async def usage(self) -> Usage:
        """From the members' metrics; syncs are those of the log and of the database's commits."""
        sums: dict[str, float] = {}
        for member in self._members:
            await asyncio.to_thread(add_metrics, member.metrics_url, sums)
        return Usage(
            cpu_seconds=sum(map(cpu_seconds, self._children.pids)),
            fsyncs=sums["etcd_disk_wal_fsync_duration_seconds_count"]
            + sums["etcd_disk_backend_commit_duration_seconds_count"],
            wire_bytes=sums.get("etcd_network_peer_sent_bytes_total"),
            disk_bytes=disk_bytes_of_all(self._children.pids),
        )

    def session(self, variant: str) -> AbstractAsyncContextManager[Session]:
        """Clients of the leader."""
        return self._clients()

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[Session]:
        credentials = grpc.ssl_channel_credentials(self._files.authority.read_bytes())
        address = f"127.0.0.1:{self._leader.client}"
        async with aio.secure_channel(address, credentials) as channel:
            put = channel.unary_unary(PUT)

            async def propose(topic: str, height: int, value: bytes) -> None:
                request = encode_put(f"{topic}/{height}".encode(), value)
                await put(request, timeout=ANSWER_SECONDS_MAX)

            yield by_workers(propose)


def _settings(
    member: _Member, members: list[_Member], files: _TlsFiles, directory: Path
) -> list[str]:
    client, peer = f"https://127.0.0.1:{member.client}", f"https://127.0.0.1:{member.peer}"
    together = ",".join(f"{one.name}=https://127.0.0.1:{one.peer}" for one in members)
    return [
        f"--name={member.name}",
        f"--data-dir={directory / member.name}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={together}",
        "--initial-cluster-state=new",
        f"--listen-metrics-urls=http://127.0.0.1:{member.metrics}",
        f"--cert-file={files.certificate}",
        f"--key-file={files.key}",
        f"--peer-cert-file={files.certificate}",
        f"--peer-key-file={files.key}",
        f"--peer-trusted-ca-file={files.authority}",
        "--peer-client-cert-auth",
        f"--quota-backend-bytes={STORED_BYTES_MAX}",
        "--logger=zap",
        "--log-level=error",
    ]


@dataclass(frozen=True)
class _TlsFiles:
    """One authority, and one certificate of it that all members share."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def create(cls, directory: Path) -> _TlsFiles:
        """Make new ones."""
        files = cls(directory / "authority.pem", directory / "member.pem", directory / "member.key")
        authority_key, member_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        authority = _certificate(
            "benchmark authority", authority_key, authority_key, is_authority=True
        )
        member = _certificate("etcd", member_key, authority_key, is_authority=False)
        files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        files.certificate.write_bytes(member.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            member_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    def named(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("benchmark authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAYS)
        .not_valid_after(now + _DAYS)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(
            x509.SubjectAlternativeName([loopback]), critical=False
        ).add_extension(x509.ExtendedKeyUsage(both), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
