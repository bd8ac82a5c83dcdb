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


def pinned_credentials(
    validator: Validator, key_pem: bytes | None = None, certificate_pem: bytes | None = None
) -> grpc.ChannelCredentials:
    """Trust the certificate of that one node as the only root; show our own, if we have one."""
    return grpc.ssl_channel_credentials(
        validator.tls_certificate.encode(), key_pem, certificate_pem
    )
