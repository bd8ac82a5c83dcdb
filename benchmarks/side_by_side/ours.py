"""This service: its nodes as real processes, mutual TLS and fsync on."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from qbft.client import Client
from qbft.client.access import Access
from qbft.client.node import NodeLink
from qbft.client.proposals import ProposalStream
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader
from qbft.wire.v1 import messages_pb2
from qbft_server.local import LocalCluster
from side_by_side.load import ANSWER_SECONDS_MAX, Session, Source, Usage, by_workers
from side_by_side.processes import cpu_seconds, disk_bytes_of_all

UNARY, UNARY_UNVERIFIED = "qbft", "qbft unverified"
STREAM, STREAM_UNVERIFIED = "qbft stream", "qbft stream unverified"

_TERMS = "byzantine faults tolerated; votes signed and fsynced; TLS"
TERMS = {
    UNARY: f"{_TERMS}; Propose; the client verifies each certificate",
    UNARY_UNVERIFIED: f"{_TERMS}; Propose; the client believes what it is told",
    STREAM: f"{_TERMS}; ProposeStream; the client verifies each certificate",
    STREAM_UNVERIFIED: f"{_TERMS}; ProposeStream; the client believes what it is told",
}


class Ours:
    """The service, with so many nodes; `stream` adds the clients that use ProposeStream.

    `environment` is added to every node's.
    """

    def __init__(
        self, nodes: int, *, stream: bool, environment: Mapping[str, str] | None = None
    ) -> None:
        self._nodes = nodes
        self._environment = environment
        wanted = list(TERMS) if stream else [UNARY, UNARY_UNVERIFIED]
        self.variants = {name: TERMS[name] for name in wanted}

    @contextlib.asynccontextmanager
    async def run(self, directory: Path) -> AsyncIterator[RunningOurs]:
        """Run a fresh cluster."""
        async with LocalCluster.create(
            directory / "cluster", self._nodes, self._environment
        ) as local:
            await local.start()
            await local.wait_until_ready()
            yield RunningOurs(local)


class RunningOurs:
    """A local cluster as a system to measure."""

    def __init__(self, local: LocalCluster) -> None:
        self._local = local

    @property
    def pids(self) -> list[int]:
        """The nodes' processes."""
        return [self._local.pid(node) for node in self._local.running]

    async def usage(self) -> Usage:
        """From the nodes' own metrics, and from the system for each process."""
        return await asyncio.to_thread(self._read_usage)

    def session(self, variant: str) -> AbstractAsyncContextManager[Session]:
        """Clients of that kind."""
        return _SESSIONS[variant](self._local.cluster)

    def _read_usage(self) -> Usage:
        sums: dict[str, float] = {}
        for node in self._local.running:
            with (self._local.directory / f"node-{node}" / "node.toml").open("rb") as file:
                admin = tomllib.load(file)["listen"]["admin"]
            add_metrics(f"http://{admin}/metrics", sums)
        return Usage(
            cpu_seconds=sum(map(cpu_seconds, self.pids)),
            fsyncs=sums["qbft_journal_fsyncs_total"] + sums["qbft_decisions_commits_total"],
            frames=sums["qbft_peer_frames_sent_total"],
            wire_bytes=sums["qbft_peer_bytes_sent_total"],
            disk_bytes=disk_bytes_of_all(self.pids),
            journal_bytes=sums["qbft_journal_bytes_total"],
        )


def add_metrics(url: str, sums: dict[str, float]) -> None:
    """Read what a process exposes for Prometheus and add each sample to the sum of its name."""
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - a loopback address
        text = reply.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value


@contextlib.asynccontextmanager
async def _unary(cluster: Cluster) -> AsyncIterator[Session]:
    async with Client(cluster, timeout=ANSWER_SECONDS_MAX) as client:
        yield by_workers(client.propose)


@contextlib.asynccontextmanager
async def _stream(cluster: Cluster) -> AsyncIterator[Session]:
    async with Client(cluster, timeout=ANSWER_SECONDS_MAX) as client:

        async def session(source: Source, in_flight: int) -> None:
            def proposals() -> Iterator[tuple[str, int, bytes]]:
                while (item := source.next()) is not None:
                    yield source.topic, *item

            async for decision in client.propose_many(proposals(), in_flight=in_flight):
                instance = decision.instance
                assert isinstance(instance, InstanceId)
                source.done(instance.height)

        yield session


@contextlib.asynccontextmanager
async def _links(cluster: Cluster) -> AsyncIterator[Callable[[InstanceId], NodeLink]]:
    """Plain channels to the nodes, and which one leads an instance."""
    leader = service_leader(cluster.roster)
    links = [NodeLink(node, one, Access()) for node, one in enumerate(cluster.validators)]
    try:
        yield lambda instance: links[leader(instance, 1)]
    finally:
        for link in links:
            await link.close()


def _proposal(instance: InstanceId, value: bytes) -> messages_pb2.Proposal:
    named = messages_pb2.InstanceId(topic=instance.topic, height=instance.height)
    return messages_pb2.Proposal(instance=named, value=value)


@contextlib.asynccontextmanager
async def _unary_unverified(cluster: Cluster) -> AsyncIterator[Session]:
    async with _links(cluster) as leader:

        async def propose(topic: str, height: int, value: bytes) -> None:
            instance = InstanceId(topic, height)
            await leader(instance).propose(_proposal(instance, value), ANSWER_SECONDS_MAX)

        yield by_workers(propose)


@contextlib.asynccontextmanager
async def _stream_unverified(cluster: Cluster) -> AsyncIterator[Session]:
    streams: dict[int, ProposalStream] = {}
    async with _links(cluster) as leader:

        async def propose(topic: str, height: int, value: bytes) -> None:
            instance = InstanceId(topic, height)
            link = leader(instance)
            stream = streams.get(link.node)
            if stream is None:
                stream = streams[link.node] = ProposalStream(link)
            await stream.propose(_proposal(instance, value))

        try:
            yield by_workers(propose)
        finally:
            for stream in streams.values():
                await stream.close()


_SESSIONS: dict[str, Callable[[Cluster], AbstractAsyncContextManager[Session]]] = {
    UNARY: _unary,
    UNARY_UNVERIFIED: _unary_unverified,
    STREAM: _stream,
    STREAM_UNVERIFIED: _stream_unverified,
}
