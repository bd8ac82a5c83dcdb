"""The admin port: /metrics, for this machine's operator only unless configured otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from qbft.errors import ClusterError
from qbft_server.telemetry.metrics import Metrics


@contextmanager
def serve_admin(address: str, metrics: Metrics) -> Iterator[None]:
    """Serve /metrics at HOST:PORT while the block lasts, from a thread of the library's own.

    Raises:
        ClusterError: the address cannot be listened on.
    """
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except OSError as error:
        raise ClusterError(
            f"listen.admin = {address!r}: cannot listen there: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
