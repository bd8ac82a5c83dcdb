"""What a listening socket shows of itself and trusts; it can be renewed while it listens (M14)."""

from __future__ import annotations

from collections import deque
from typing import Any

import grpc

from qbft_server.identity import TlsIdentity


class ListenerTls:
    """The TLS side of one port: new handshakes take what it was last given, standing ones go on.

    With `roots` a certificate is demanded of whoever dials, and has to be vouched for by them.
    """

    def __init__(self, identity: TlsIdentity, roots: bytes | None = None) -> None:
        self._is_mutual = roots is not None
        self._first = _configuration(identity, roots)
        self._renewed: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    def credentials(self) -> grpc.ServerCredentials:
        """What the port is opened with, once."""
        fetch: Any = self._fetch  # the stubs do not know that nothing may be new
        return grpc.dynamic_ssl_server_credentials(self._first, fetch, self._is_mutual)

    def renew(self, identity: TlsIdentity, roots: bytes | None = None) -> None:
        """Show and trust these from now on; whether certificates are demanded stays as it was."""
        self._renewed.append(_configuration(identity, roots))

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What is new, if anything; gRPC asks at each handshake, in threads of its own."""
        try:
            return self._renewed.popleft()
        except IndexError:
            return None


def _configuration(
    identity: TlsIdentity, roots: bytes | None
) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key_pem, identity.certificate_pem)
    return grpc.ssl_server_certificate_configuration([pair], roots)
