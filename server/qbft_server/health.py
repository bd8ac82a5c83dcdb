"""Asks a node's health, as whoever looks after it does; any error on the way means no."""

from __future__ import annotations

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qbft.client.pinned import DIALLING, PINNED, pinned_credentials
from qbft.cluster import Validator

DECISION_SERVICE = "qbft.v1.DecisionService"
"""Healthy where a quorum can be reached; the empty name where the node lives at all."""


async def is_serving(
    address: str, validator: Validator | None, service: str = "", *, seconds: float
) -> bool:
    """Whether the node with that TLS key (None: without TLS) serves there."""
    if validator is None:
        channel = aio.insecure_channel(address, DIALLING)
    else:
        channel = aio.secure_channel(address, pinned_credentials(validator), PINNED)
    request = health_pb2.HealthCheckRequest(service=service)
    async with channel:
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=seconds)
        except aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
