"""Plain gRPC clients of real nodes, as any language would have them: stubs over pinned TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc import aio

from qbft.cluster import TLS_NAME
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2 as messages
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.local import LocalCluster

SECONDS = 120.0
"""The deadline of whatever must happen in an end-to-end test."""

QUIET = {"QBFT_LOG__LEVEL": "warning"}


@asynccontextmanager
async def running_cluster(
    directory: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[LocalCluster]:
    """Four nodes that are ready."""
    async with LocalCluster.create(
        directory / "cluster", environment={**QUIET, **(environment or {})}
    ) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        yield cluster


@asynccontextmanager
async def channel_to(cluster: LocalCluster, node: int) -> AsyncIterator[aio.Channel]:
    """A TLS channel to one node, which trusts that node's certificate alone."""
    validator = cluster.cluster.validators[node]
    credentials = grpc.ssl_channel_credentials(validator.tls_certificate.encode())
    options = [("grpc.ssl_target_name_override", TLS_NAME)]
    async with aio.secure_channel(validator.client, credentials, options) as channel:
        yield channel


@asynccontextmanager
async def stub_of(cluster: LocalCluster, node: int) -> AsyncIterator[DecisionServiceStub]:
    """The decision service of one node."""
    async with channel_to(cluster, node) as channel:
        yield DecisionServiceStub(channel)


def proposal(topic: str, height: int, value: bytes) -> pb.ProposeRequest:
    """A request to decide a value."""
    return pb.ProposeRequest(
        proposal=messages.Proposal(
            instance=messages.InstanceId(topic=topic, height=height), value=value
        )
    )


def question(topic: str, height: int) -> pb.GetDecisionRequest:
    """A request to read a decision."""
    return pb.GetDecisionRequest(instance=messages.InstanceId(topic=topic, height=height))
