"""How a node is dialled: TLS that believes its pinned certificate alone (DESIGN, section 4).

For whoever opens a channel to a node: clients, peers, and what looks after nodes on one machine.
"""

from __future__ import annotations

import grpc

from qbft.cluster import TLS_NAME, Validator

Options = list[tuple[str, str | int]]
"""Settings of a gRPC channel."""

DIALLING: Options = [
    ("grpc.enable_retries", 0),  # ours know of other nodes
    ("grpc.enable_http_proxy", 0),  # the addresses of the cluster file are meant as they are
    ("grpc.use_local_subchannel_pool", 1),  # no connection, and no backoff, of another channel's
]
"""What holds for every channel to a node, with TLS or without."""

PINNED: Options = [*DIALLING, ("grpc.ssl_target_name_override", TLS_NAME)]
"""... and with TLS: all nodes bear one name, so that only the pin says which of them it is."""


def keepalive(every_ms: int, timeout_ms: int) -> Options:
    """A ping after so much silence while calls run, and how long its answer may take.

    Without it a call waits for ever on a node whose machine, or the way to it, has gone without a
    word: nothing comes, nothing is to be sent, and TCP does not ask.
    """
    return [
        ("grpc.keepalive_time_ms", every_ms),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),  # 60 s by default, and it wins
        ("grpc.http2.max_pings_without_data", 0),
    ]


def pinned_credentials(
    validator: Validator, key_pem: bytes | None = None, certificate_pem: bytes | None = None
) -> grpc.ChannelCredentials:
    """Trust the certificate of that one node as the only root; show our own, if we have one."""
    return grpc.ssl_channel_credentials(
        validator.tls_certificate.encode(), key_pem, certificate_pem
    )
