"""The parts of a running node that its services look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qbft.cluster import Cluster
from qbft.replica.driver import Driver
from qbft.replica.replica import Replica
from qbft_server.application import RemoteApplication
from qbft_server.config import NodeConfig
from qbft_server.identity import TlsIdentity
from qbft_server.ordered.appends import Appends
from qbft_server.peers import GrpcTransport
from qbft_server.store.store import NodeStore
from qbft_server.telemetry.metrics import Metrics
from qbft_server.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from qbft_server.telemetry.traces import Traces  # its packages are an extra


@dataclass(frozen=True, slots=True)
class NodeParts:
    """Put together by `qbft_server.node`, the only place that makes them."""

    config: NodeConfig
    cluster: Cluster
    identity: TlsIdentity
    replica: Replica
    driver: Driver
    store: NodeStore
    appends: Appends
    links: GrpcTransport
    metrics: Metrics
    application: RemoteApplication | None
    recorder: Recorder | None
    traces: Traces | None
    """None where these are turned off."""
