"""Asks the node on this machine whether it lives: the health check of containers and supervisors.

`python -m qbft_server.probe node.toml`; exit code 0 if it serves, else 1 and one line. It reads the
node's own settings, so it comes to the right address and trusts no key but the pinned one.

Alive is what it asks, not whether a quorum can be reached: to restart a node because others are
away would help nobody. `qbft status` tells the rest.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qbft.client.pinned import DIALLING, PINNED, pinned_credentials
from qbft.cluster import Validator
from qbft.errors import QbftError
from qbft_server.config import NodeConfig

PROBE_SECONDS = 4.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - looked up, not bound


def probe(path: Path) -> None:
    """Ask the node that this file configures.

    Where clients must show a certificate, which a probe has not, it only sees that the port takes
    connections.

    Raises:
        QbftError: the file is not usable, or no living node answers there.
    """
    config = NodeConfig.load(path)
    _, validator = config.load_cluster()
    host, _, port = config.listen.client.rpartition(":")
    host = _EVERYWHERE.get(host, host)
    try:
        if config.clients.authority is not None:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
        else:
            _ask(f"{host}:{port}", None if config.clients.insecure_plaintext else validator)
    except OSError as error:
        raise QbftError(f"{host}:{port}: {error.strerror or error}") from error
    except grpc.RpcError as error:
        raise QbftError(f"{host}:{port}: {error.code().name}: {error.details()}") from error


def _ask(address: str, validator: Validator | None) -> None:
    if validator is None:
        channel = grpc.insecure_channel(address, DIALLING)
    else:
        channel = grpc.secure_channel(address, pinned_credentials(validator), PINNED)
    with channel:
        request = health_pb2.HealthCheckRequest()
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        raise QbftError(f"{address}: the node is {status}")


def main() -> int:
    """The command; see the module."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m qbft_server.probe NODE_FILE\n")
        return 2
    try:
        probe(Path(sys.argv[1]))
    except QbftError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
