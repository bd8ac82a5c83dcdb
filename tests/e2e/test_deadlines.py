"""A client whose deadline passes, with real nodes (SCENARIOS G6)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from e2e.crash_cluster import (
    SECONDS,
    TOPIC,
    cluster_with_faults,
    decided_everywhere,
    has_decided,
    has_open,
)
from e2e.service_clients import proposal, stub_of
from grpc import aio

pytestmark = pytest.mark.e2e

PATIENCE_SECONDS = 3.0


async def test_the_instance_outlives_its_clients_deadline(tmp_path: Path) -> None:
    """SCENARIOS G6: DEADLINE_EXCEEDED; the instance continues, and a later read has the result."""
    async with cluster_with_faults(tmp_path, {}) as cluster:
        async with stub_of(cluster, 0) as stub:
            await stub.Propose(proposal(TOPIC, 0, b"first"), timeout=SECONDS)
            for node in (1, 2):
                await cluster.stop(node)
            waiting = asyncio.ensure_future(
                stub.Propose(proposal(TOPIC, 1, b"patient"), timeout=PATIENCE_SECONDS)
            )
            await has_open(cluster, 0, 1)
            with pytest.raises(aio.AioRpcError) as late:
                await waiting
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await has_decided(cluster, 0, 1) is None
        await cluster.start(1, 2)
        assert await decided_everywhere(cluster, 1) == {b"patient"}
