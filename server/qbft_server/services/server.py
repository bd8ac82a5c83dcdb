"""The gRPC server for clients: the decision service, health and reflection, over TLS."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from cryptography import x509
from grpc import aio

from qbft.client.pinned import Options
from qbft.errors import ClusterError
from qbft.wire.v1 import decision_pb2
from qbft_server.access import Gate
from qbft_server.config import NodeConfig
from qbft_server.files import client_connections_max
from qbft_server.identity import TlsIdentity
from qbft_server.listener_tls import ListenerTls
from qbft_server.parts import NodeParts
from qbft_server.services.anyone import HEALTH, REFLECTION, Anyone, Health, Reflection
from qbft_server.services.budgets import Budgets
from qbft_server.services.calls import Calls, serve
from qbft_server.services.decision import DecisionService

SERVICE = decision_pb2.DESCRIPTOR.services_by_name["DecisionService"]
STREAMS_PER_CLIENT_MAX = 2_048
"""Calls on one connection."""

STREAM_WINDOW_BYTES_MAX = 16 * 1024
"""What a client may send of a call that is not read; it does not grow, or it would be megabytes. A
request that is being read may be as large as a message."""

HANDSHAKE_MS_MAX = 10_000
"""For the handshake of a connection."""

IDLE_CONNECTION_MS_MAX = 300_000
"""A connection without any call is closed after this; whoever dialled it dials again."""

KEEPALIVE_MS = 60_000
"""A ping after so much silence: a client that vanished without a word keeps no place."""

CLIENT_PING_MS_MIN = 10_000
"""A client that pings more often than this without saying anything is hung up on."""

DRAIN_SECONDS = 5.0
HEALTH_SECONDS = 0.25


class ClientServer:
    """Serves clients while the `async with` block lasts.

    Raises:
        ClusterError: a client's token cannot be read.
    """

    def __init__(self, parts: NodeParts) -> None:
        self._config = parts.config
        self._nodes = parts.cluster.roster.nodes
        self._quorum = parts.cluster.roster.quorum
        self._replica = parts.replica
        self._links = parts.links
        budgets = Budgets(
            parts.config.limits,
            parts.metrics.clients,
            parts.metrics.bites,
            lambda: parts.replica.resumed_of_clients,
        )
        self._calls = Calls(parts, budgets)
        self._service = DecisionService(parts, budgets)
        self._anyone = Anyone(parts.metrics)
        self._health = Health(SERVICE.full_name, bites=parts.metrics.bites)
        names = SERVICE.full_name, HEALTH.full_name
        self._reflection = Reflection(*names, bites=parts.metrics.bites)
        self._tls = ListenerTls(parts.identity, read_authority(parts.config))
        self._server: aio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ClusterError: the address cannot be listened on.
        """
        size = self._config.limits.message_bytes_max
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                ("grpc.max_concurrent_streams", STREAMS_PER_CLIENT_MAX),
                *has_window(STREAM_WINDOW_BYTES_MAX),
                ("grpc.max_allowed_incoming_connections", client_connections_max(self._nodes)),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
                ("grpc.max_connection_idle_ms", IDLE_CONNECTION_MS_MAX),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                *takes_pings(CLIENT_PING_MS_MIN),
                ("grpc.so_reuseport", 0),
            ],
        )
        serve(server, SERVICE, self._service, self._calls)
        serve(server, HEALTH, self._health, self._anyone)
        serve(server, REFLECTION, self._reflection, self._anyone)
        address = self._config.listen.client
        try:
            if self._config.clients.insecure_plaintext:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise ClusterError(
                f"listen.client = {address!r}: cannot listen there; "
                "allowed is a free port at an address of this machine"
            ) from error
        await server.start()
        self._server = server
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop at once; `drain` before it lets calls end."""
        if self._server is not None:
            await self._server.stop(None)

    @property
    def gate(self) -> Gate:
        """Who is let in, and to what."""
        return self._calls.admission.gate

    def renew(self, identity: TlsIdentity, authority: bytes | None, gate: Gate) -> None:
        """Show, trust and let in these from now on (M14).

        Connections that stand go on, and so do calls, of clients that may still do what they do.
        """
        self._tls.renew(identity, authority)
        self._calls.admission.renew(gate)

    async def drain(self) -> None:
        """Take no new proposals, tell so, and let calls that run end in time."""
        self._service.drain()
        self._health.drain()
        if self._server is not None:
            await self._server.stop(DRAIN_SECONDS)

    async def watch_health(self) -> None:
        """Keep the service's health true: it serves while a quorum can be reached."""
        while True:
            reachable = len(self._links.connected) + 1 >= self._quorum
            self._health.tell(SERVICE.full_name, is_serving=reachable and self._replica.is_voting)
            await asyncio.sleep(HEALTH_SECONDS)


def takes_pings(every_ms_min: int) -> Options:
    """Let whoever dialled find out whether this end is still there, so often and no oftener."""
    return [
        ("grpc.http2.min_ping_interval_without_data_ms", every_ms_min),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", every_ms_min),
    ]


def has_window(stream_bytes: int) -> Options:
    """Let the other end send so much of a stream that is not read, and no more as time goes by."""
    return [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", stream_bytes)]


def read_authority(config: NodeConfig) -> bytes | None:
    """The certificates (PEM) of those who vouch for clients; None where clients need none.

    Raises:
        ClusterError: they cannot be read, or are none.
    """
    path = config.clients.authority
    if path is None:
        return None
    try:
        roots = path.read_bytes()
        x509.load_pem_x509_certificates(roots)
    except OSError as error:
        raise ClusterError(f"clients.authority = {path}: {error.strerror}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise ClusterError(f"clients.authority = {path}: must be certificates in PEM") from error
    return roots
