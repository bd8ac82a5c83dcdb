"""The parts of a running node that its services look at."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.cluster import Cluster
from qbft.replica.driver import Driver
from qbft.replica.replica import Replica
from qbft_server.config import NodeConfig
from qbft_server.identity import TlsIdentity
from qbft_server.peers import GrpcTransport
from qbft_server.store.store import NodeStore
from qbft_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class NodeParts:
    """Put together by `qbft_server.node`, the only place that makes them."""

    config: NodeConfig
    cluster: Cluster
    identity: TlsIdentity
    replica: Replica
    driver: Driver
    store: NodeStore
    links: GrpcTransport
    metrics: Metrics
