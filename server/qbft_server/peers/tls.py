"""Who is at the other end: mutual TLS, each side pinned by its public key (DESIGN, section 4).

Each side trusts, as its only roots, the self-signed certificates of the cluster file. A certificate
that is not among them does not pass the handshake; one that does is held against the pins once
more, for a root could in principle vouch for another key.
"""

from __future__ import annotations

import functools

import grpc

from qbft.client.pinned import PINNED, Options, pinned_credentials
from qbft.cluster import Cluster
from qbft.tls_pin import tls_key_sha256
from qbft_server.files import peer_connections_max
from qbft_server.identity import TlsIdentity
from qbft_server.peers.limits import PeerLimits
from qbft_server.peers.stream import Context


def peer_roots(cluster: Cluster, validator: int, identity: TlsIdentity) -> bytes:
    """Let in whoever presents the certificate of another validator."""
    roots = "\n".join(
        v.tls_certificate for index, v in enumerate(cluster.validators) if index != validator
    )
    return roots.encode() or identity.certificate_pem


def channel_credentials(
    cluster: Cluster, peer: int, identity: TlsIdentity
) -> grpc.ChannelCredentials:
    """Trust that one peer's certificate alone, and show our own."""
    return pinned_credentials(cluster.validators[peer], identity.key_pem, identity.certificate_pem)


def common_options(limits: PeerLimits) -> Options:
    """Message sizes and keepalive, the same on both sides.

    A ping after so much silence, even without traffic, finds a peer that vanished without a word.
    """
    ping_ms = int(limits.keepalive_seconds * 1000)
    timeout_ms = int(limits.keepalive_timeout_seconds * 1000)
    return [
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),  # 60 s by default, and it wins
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", ping_ms),
    ]


def channel_options(limits: PeerLimits) -> Options:
    """For dialling a peer: no name check beyond the pin, no retries or backoff but our own."""
    return [*common_options(limits), *PINNED]


def server_options(limits: PeerLimits, nodes: int) -> Options:
    """For accepting peers: few streams, no idle connections, no port shared with others."""
    return [
        *common_options(limits),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", limits.streams_per_connection_max),
        ("grpc.max_allowed_incoming_connections", peer_connections_max(nodes)),
        ("grpc.max_connection_idle_ms", int(limits.idle_connection_seconds_max * 1000)),
        ("grpc.server_handshake_timeout_ms", int(limits.hello_seconds_max * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.keepalive_seconds * 500)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(limits.keepalive_seconds * 500)),
    ]


class Identities:
    """Finds the validator behind a stream."""

    def __init__(self, cluster: Cluster) -> None:
        self._pin = functools.lru_cache(maxsize=2 * len(cluster.validators))(tls_key_sha256)
        self.renew(cluster)

    def renew(self, cluster: Cluster) -> None:
        """Go by the keys that this cluster file pins, from now on."""
        self._pins = [v.tls_key_sha256 for v in cluster.validators]
        self._by_pin = {pin: index for index, pin in enumerate(self._pins)}

    def pin_of(self, validator: int) -> str:
        """The key by which that validator is known now."""
        return self._pins[validator]

    def validator(self, context: Context) -> int | None:
        """The index whose pinned key the other side proved to hold, or None for a stranger."""
        certificates = context.auth_context().get("x509_pem_cert", ())
        try:
            return self._by_pin.get(self._pin(bytes(next(iter(certificates))).decode()))
        except (StopIteration, ValueError):
            return None
