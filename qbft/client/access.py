"""How a client reaches the nodes: TLS pinned to each node's key, and what it shows of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from grpc import aio

from qbft.client.pinned import DIALLING, PINNED, Options, keepalive, pinned_credentials
from qbft.cluster import Validator

MESSAGE_BYTES_MAX = 66 << 20
"""The largest message read: a value of the most that any node can be configured for, and room."""

_OPTIONS: Options = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in spite of its name: what a handshake may take
]

KEEPALIVE: Options = keepalive(20_000, 10_000)
"""Nodes take pings twice as often."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the operator asks of clients, if anything.

    `token` goes with every call; `key_pem` and `certificate_pem` are a client certificate. With
    `insecure_plaintext` there is no TLS: anyone on the path reads what is said, and may refuse or
    delay it, but still cannot make a decision up.
    """

    token: str | None = field(default=None, repr=False)
    key_pem: bytes | None = field(default=None, repr=False)
    certificate_pem: bytes | None = None
    insecure_plaintext: bool = False

    def channel(self, validator: Validator) -> aio.Channel:
        """A channel to one node, which believes that node's own certificate alone."""
        if self.insecure_plaintext:
            return aio.insecure_channel(validator.client, [*DIALLING, *KEEPALIVE, *_OPTIONS])
        credentials = pinned_credentials(validator, self.key_pem, self.certificate_pem)
        return aio.secure_channel(validator.client, credentials, [*PINNED, *KEEPALIVE, *_OPTIONS])

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)
