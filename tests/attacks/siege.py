"""Three real nodes, a liar in the place of the fourth, honest clients, and what becomes of them.

For the tests and for `benchmarks/attack.py`. The clients propose mostly where an honest node leads,
so that what is seen of their pace is what the attack costs, and beside that, one at a time, where
the liar leads, which costs a round in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import tomllib
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from attacks import liar as liar_program
from prometheus_client.parser import text_string_to_metric_families

from qbft.client import Client, ClientError
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader
from qbft_server.local import LocalCluster

LIAR = 3
HONEST = (0, 1, 2)
TOPIC = "honest"
PROPOSE_SECONDS = 60.0
BEGIN_SECONDS = 120.0
LEAST_PRIORITY = 19
LINK_EVENTS = frozenset({"link is up", "link is down"})
"""What an operator is told of links, so many lines a minute at most."""

Metrics = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextlib.asynccontextmanager
async def besieged(
    directory: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[LocalCluster]:
    """A fresh cluster of which three nodes run; the place of the fourth is free."""
    async with LocalCluster.create(directory / "cluster", environment=environment) as cluster:
        await cluster.start(*HONEST)
        await cluster.wait_until_ready(*HONEST)
        yield cluster


@contextlib.asynccontextmanager
async def attacked(
    cluster: LocalCluster,
    name: str,
    *,
    seed: int = 0,
    priority: int = LEAST_PRIORITY,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """A liar attacks while the block lasts; its settings are those of the nodes' `environment`.

    At the least priority nodes are slowed down by what it sends, not by what it takes of the
    processors; where these are busy it may then say nothing for long.
    """
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", str(priority), sys.executable, str(liar_program.__file__)),
        *(str(cluster.directory / f"node-{LIAR}"), name, "--seed", str(seed)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BEGIN_SECONDS):
            said = (await process.stdout.readline()).decode().strip()
        if said != liar_program.BEGUN:
            _, error = await process.communicate()
            raise AssertionError(f"the liar did not begin: {error.decode()[-2_000:]}")
        yield
        if process.returncode is not None:
            _, error = await process.communicate()
            raise AssertionError(f"the liar ended by itself: {error.decode()[-2_000:]}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def heights(cluster: LocalCluster, *leaders: int) -> Iterator[int]:
    """The heights of the honest topic at which one of these leads the first round."""
    leader = service_leader(cluster.cluster.roster)
    return (height for height in count() if leader(InstanceId(TOPIC, height), 1) in leaders)


@dataclass
class Told:
    """What honest clients were told: values by height, and how long each took, in seconds.

    `in_time` of these, led by honest nodes, came before the time was over.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    in_time: int = 0
    led_by_liar: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class HonestClients:
    """Proposals for ever new heights of one cluster, so many in flight."""

    def __init__(self, cluster: LocalCluster, patience: float = PROPOSE_SECONDS) -> None:
        self._cluster = cluster
        self._patience = patience
        self._led = heights(cluster, *HONEST)
        self._led_by_liar = heights(cluster, LIAR)

    async def propose(self, seconds: float, in_flight: int, told: Told | None = None) -> Told:
        """Propose for so long, and wait for the last decisions; adds to what was told before."""
        told = Told() if told is None else told
        end = time.perf_counter() + seconds
        async with Client(self._cluster.cluster) as client, asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(self._work(client, told, self._led, told.latencies, end))
            tasks.create_task(self._work(client, told, self._led_by_liar, told.led_by_liar, end))
        return told

    async def _work(
        self,
        client: Client,
        told: Told,
        heights: Iterator[int],
        latencies: list[float],
        end: float,
    ) -> None:
        while (began := time.perf_counter()) < end:
            height = next(heights)
            try:
                decision = await client.propose(
                    TOPIC, height, b"%d" % height, timeout=self._patience
                )
            except ClientError as error:
                told.failures.append(f"{height}: {error}")
                continue
            now = time.perf_counter()
            latencies.append(now - began)
            told.in_time += latencies is told.latencies and now < end
            told.values[height] = decision.value or b""


def resident_mib(cluster: LocalCluster, node: int) -> float:
    """The memory that a node's process holds."""
    status = Path(f"/proc/{cluster.pid(node)}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


class MemoryWatch:
    """The most that each honest node has held while the block lasts, in MiB."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.most = dict.fromkeys(HONEST, 0.0)

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            for node in HONEST:
                self.most[node] = max(self.most[node], resident_mib(self._cluster, node))
            await asyncio.sleep(0.2)


def read_metrics(cluster: LocalCluster, node: int) -> Metrics:
    """A node's samples, by name and labels."""
    with (cluster.directory / f"node-{node}" / "node.toml").open("rb") as file:
        admin = tomllib.load(file)["listen"]["admin"]
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rejects_of_liar(metrics: Metrics) -> dict[str, float]:
    """What was refused of what the liar sent, by reason."""
    found = {}
    for (name, labels), value in metrics.items():
        given = dict(labels)
        if name == "qbft_rejects_total" and given["peer"] == str(LIAR):
            found[given["reason"]] = value
    return found


def heard_of_liar(metrics: Metrics) -> float:
    """The frames that a node has taken in from the liar."""
    return metrics.get(("qbft_peer_frames_received_total", (("peer", str(LIAR)),)), 0.0)


class Lines:
    """The lines that the honest nodes write from here on."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._read = {node: cluster.log(node).stat().st_size for node in HONEST}

    def told(self) -> list[str]:
        """All since then, but for what they say of links."""
        found = []
        for node, offset in self._read.items():
            with self._cluster.log(node).open("rb") as file:
                file.seek(offset)
                lines = file.read().decode(errors="replace").splitlines()
            found += [f"node {node}: {line}" for line in lines if not _is_about_link(line)]
        return found


def _is_about_link(line: str) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("event") in LINK_EVENTS
