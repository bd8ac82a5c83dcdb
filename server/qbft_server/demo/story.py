"""The demo's story: four nodes, an outage under load, a recovery, and proof of everything.

Each claim is checked where it is made; a claim that does not hold is told like the others.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qbft.client import Client, NodeStatus
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.errors import CertificateError, QbftError, first_of
from qbft.verify import verify
from qbft.wire import encode_decision
from qbft_server.demo.load import Load, Outcome
from qbft_server.demo.rows import Row
from qbft_server.local import LocalCluster

NODES = 4
VICTIM = 2
CATCH_UP_SECONDS_MAX = 30.0
"""For the demo's node that was away to catch up."""

POLL_SECONDS = 0.05
CERTIFICATES = "certificates"


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, and whether it was found true."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Outage:
    """When the node was killed, restarted, and knew again all that is decided; the loop's clock.

    `in_flight` proposals were waiting at the kill; `decided_meanwhile` rows were decided between
    its death and the restart.
    """

    killed: float
    restarted: float
    caught_up: float
    in_flight: int
    decided_meanwhile: int
    exit_code: int


@dataclass
class Story:
    """What happened, as far as it has been told."""

    rows: Sequence[Row]
    directory: Path
    outcomes: list[Outcome] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    outage: Outage | None = None

    @property
    def holds(self) -> bool:
        """Whether every claim was found true."""
        return bool(self.claims) and all(claim.holds for claim in self.claims)

    def claim(self, text: str, holds: bool) -> None:
        """Tell a sentence that was just checked."""
        self.claims.append(Claim(text, holds))


@dataclass(frozen=True, slots=True)
class Listener:
    """Is told what happens while it does: the chapter, and how many rows are decided."""

    chapter: Callable[[str], None]
    decided: Callable[[int], None]


async def tell(rows: Sequence[Row], directory: Path, listener: Listener) -> Story:
    """Live through it all; when this ends, however it ends, no node runs any more.

    Raises:
        QbftError: a node does not start, a row is not decided, or the disk refuses.
    """
    story = Story(rows, directory)
    listener.chapter("making keys and starting four nodes")
    local = LocalCluster.create(directory / "cluster", NODES)
    async with local:
        await local.start()
        await local.wait_until_ready()
        load = Load(local.cluster, rows, listener.decided)
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(load.run())
                story.outage = await _outage(local, load, len(rows), listener)
                await feeding
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        story.outcomes = load.outcomes
        _claim_decisions(story, story.outage)
        listener.chapter(f"reading everything back from node {VICTIM}")
        await _read_back(story, local)
    _verify_files(story, local.cluster_file, listener)
    return story


async def _outage(local: LocalCluster, load: Load, rows: int, listener: Listener) -> Outage:
    """Kill the node at a third of the rows, restart it at two thirds, wait until it knows all."""
    clock = asyncio.get_running_loop().time
    listener.chapter("deciding with four nodes")
    await load.until(rows // 3)
    in_flight = load.in_flight
    local.signal(VICTIM, signal.SIGKILL)
    code = await local.wait(VICTIM)
    killed, before = clock(), len(load.outcomes)
    listener.chapter(f"node {VICTIM} was killed: deciding with three")
    await load.until(2 * rows // 3)
    restarted, meanwhile = clock(), len(load.outcomes) - before
    await local.start(VICTIM)
    listener.chapter(f"node {VICTIM} is back and catches up")
    await _caught_up(local.cluster, before + meanwhile)
    return Outage(killed, restarted, clock(), in_flight, meanwhile, code)


async def _caught_up(cluster: Cluster, decisions: int) -> None:
    """Wait until the node that was away says that it has so many decisions."""
    async with Client(cluster) as client:
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS_MAX):
                while True:
                    account = (await client.status())[VICTIM]
                    if isinstance(account, NodeStatus) and account.decisions >= decisions:
                        return
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            message = f"node {VICTIM} has not caught up in {CATCH_UP_SECONDS_MAX:g} s"
            raise QbftError(message) from None


def _claim_decisions(story: Story, outage: Outage) -> None:
    rows, outcomes = len(story.rows), story.outcomes
    right = sum(outcome.decision.value == outcome.row.value for outcome in outcomes)
    clients = len({outcome.client for outcome in outcomes})
    story.claim(
        f"{right} of {rows} rows were decided with the value of the file, "
        f"each proven to its client, asked by {clients} clients at once",
        right == rows == len(outcomes) and clients > 1,
    )
    story.claim(
        f"node {VICTIM} was killed (SIGKILL) with {outage.in_flight} proposals in flight",
        outage.exit_code == -signal.SIGKILL and outage.in_flight > 0,
    )
    fresh = [o for o in outcomes if outage.killed < o.began and o.ended <= outage.restarted]
    signed = sum(c.source == VICTIM for o in fresh for c in o.decision.certificate.commits)
    story.claim(
        f"the other three went on: {outage.decided_meanwhile} rows were decided while it was dead, "
        f"{len(fresh)} of them proposed after its death and proven without it",
        len(fresh) > 0 and not signed,
    )


async def _read_back(story: Story, local: LocalCluster) -> None:
    """Ask the restarted node alone for every row, and keep what it gives in files."""
    await _caught_up(local.cluster, len(story.rows))
    expected = {row.instance: row.value for row in story.rows}
    numbers = {row.instance: number for number, row in enumerate(story.rows, 1)}
    folder = story.directory / CERTIFICATES
    folder.mkdir()
    matching = 0
    async with Client(local.cluster) as client:
        for topic in sorted({row.instance.topic for row in story.rows}):
            async for decision in client.list_decisions(topic, node=VICTIM):
                instance = decision.instance
                if isinstance(instance, InstanceId) and expected.pop(instance, None) is not None:
                    file = folder / f"{numbers[instance]:06}.cert"
                    file.write_bytes(encode_decision(decision))
                    matching += decision.value == story.rows[numbers[instance] - 1].value
    story.claim(
        f"node {VICTIM} came back, caught up, and gave all {matching} decisions when asked alone",
        matching == len(story.rows) and not expected,
    )


def _verify_files(story: Story, cluster_file: Path, listener: Listener) -> None:
    """With every node stopped, check what the files prove by themselves."""
    listener.chapter("verifying every certificate offline")
    cluster = Cluster.load(cluster_file)
    proven = 0
    for number, row in enumerate(story.rows, 1):
        file = story.directory / CERTIFICATES / f"{number:06}.cert"
        try:
            decision = verify(file.read_bytes(), cluster)
        except (CertificateError, FileNotFoundError):
            continue
        proven += decision.instance == row.instance and decision.value == row.value
    story.claim(
        f"{proven} certificate files were verified offline, with every node stopped, "
        "from the cluster file alone",
        proven == len(story.rows),
    )
