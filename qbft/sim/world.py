"""A simulated cluster: shipped replicas and drivers under seeded faults, watched by the oracle.

Two phases: while faults last only safety is demanded; then the network heals, all nodes come back,
and every instance must be decided everywhere within a bound.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from qbft.core import Definition, InstanceId
from qbft.crypto.proposal import Proposal
from qbft.errors import InvariantViolation, ProposalConflict, first_of
from qbft.replica.driver import Driver, now_ms
from qbft.replica.protocols import DecisionRecord, Record, VoteRecord
from qbft.replica.replica import Replica
from qbft.sim.authenticator import SimAuthenticator
from qbft.sim.clock import run_virtual
from qbft.sim.disk import Crashed, SimDisk
from qbft.sim.network import NetworkFaults, SimNetwork
from qbft.sim.oracle import Oracle, Violation
from qbft.timers import TimerPolicy, exponential

CLIENT_RETRIES_EVERY = 20
"""Looks of 50 ms after which a client whose call may have died with its node asks again."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One moment of a run: the so manyth time, from 0, that a node is at a crash point.

    Crash points are before and after each commit, and before each copy of a frame is sent. With
    `everyone` all nodes lose power at that moment.
    """

    node: int
    number: int
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What a run is made of. Times in milliseconds of the virtual clock."""

    nodes: int = 4
    instances: int = 4
    faults: NetworkFaults = field(default_factory=NetworkFaults)
    crash_probability: float = 0.0
    """That a node crashes at any one crash point while faults last."""
    crash_at: CrashPoint | None = None
    """Where a node crashes for certain."""
    faults_ms: int = 6_000
    heal_ms: int = 60_000
    timers: TimerPolicy = field(default_factory=lambda: exponential(500, 4_000))


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one run."""

    decided: int
    crashes: int
    rounds: tuple[int, ...]
    took_ms: int
    crash_points: tuple[int, ...]
    """How often each node was at one while faults lasted."""
    digest: str
    """Of everything that was journaled and sent, where that was asked for."""


class World:
    """One run: build it from a seed, `run()` it, read the report.

    `traced` asks for the digest of all that the nodes did, which takes a while to compute.
    """

    def __init__(self, seed: int, settings: WorldSettings, *, traced: bool = False) -> None:
        self.seed = seed
        self.settings = settings
        random = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._crash_random = Random(random.random())  # noqa: S311
        self._client_random = Random(random.random())  # noqa: S311
        self.network = SimNetwork(
            settings.nodes,
            Random(random.random()),  # noqa: S311
            settings.faults,
        )
        self.oracle = Oracle(settings.nodes, range(settings.nodes))
        self.crashes = 0
        self._faulty = True
        self._crash_points = [0] * settings.nodes
        self._doomed: set[int] = set()
        self._trace = hashlib.sha256() if traced else None
        if traced:
            self.network.observe = lambda *sent: self.trace("sent", *sent)
        self._definition = Definition(
            settings.nodes,
            lambda instance, round_: (instance.height + round_ - 1) % settings.nodes,  # type: ignore[attr-defined]
        )
        self._nodes = [SimNode(self, index) for index in range(settings.nodes)]

    def run(self) -> Report:
        """Run to the end on a virtual clock.

        Raises:
            Violation: a property does not hold; the message names the seed.
        """
        try:
            return run_virtual(self._run())
        except BaseException as error:
            first = first_of(error) if isinstance(error, BaseExceptionGroup) else error
            if isinstance(first, (Violation, InvariantViolation)):
                raise Violation(f"seed {self.seed}: {first}") from first
            error.add_note(f"seed {self.seed} of {self.settings}")
            raise

    async def _run(self) -> Report:
        settings = self.settings
        begin = now_ms()
        async with asyncio.TaskGroup() as tasks:
            lives = [tasks.create_task(node.live()) for node in self._nodes]
            instances = [InstanceId("sim", height) for height in range(settings.instances)]
            for instance in instances:
                await asyncio.sleep(self._client_random.randint(0, 300) / 1000)
                self._propose(instance)
            await asyncio.sleep(settings.faults_ms / 1000)
            self._heal()
            await self._wait_for_all(instances, now_ms() + settings.heal_ms)
            for life in lives:
                life.cancel()
        rounds = [
            decision.round
            for node in self._nodes
            for instance in instances
            if (decision := node.disk.get(instance)) is not None
        ]
        return Report(
            len(self.oracle.decided),
            self.crashes,
            tuple(rounds),
            now_ms() - begin,
            tuple(self._crash_points),
            self._trace.hexdigest() if self._trace is not None else "",
        )

    def trace(self, *happened: object) -> None:
        """Add what happened, and when, to the digest."""
        if self._trace is not None:
            self._trace.update(repr((now_ms(), *happened)).encode())

    def _heal(self) -> None:
        self._faulty = False
        self.network.faults = NetworkFaults()

    def _propose(self, instance: InstanceId) -> None:
        """Let some clients propose different values at some nodes."""
        for node in self._nodes:
            if self._client_random.random() < 0.5 or not self._faulty:
                value = f"{instance} from {node.index}".encode()
                self.oracle.proposed(instance, value)
                node.propose(Proposal(instance, value))

    async def _wait_for_all(self, instances: Sequence[InstanceId], deadline_ms: int) -> None:
        """Demand that every node decides every instance (oracle I9); clients go on asking."""
        round_trips = 0
        while True:
            missing = [
                (node.index, str(instance))
                for node in self._nodes
                for instance in instances
                if node.disk.get(instance) is None
            ]
            if not missing:
                return
            if now_ms() > deadline_ms:
                raise Violation(
                    f"I9: undecided {self.settings.heal_ms} ms after healing: {missing}"
                )
            if not round_trips % CLIENT_RETRIES_EVERY:
                for instance in instances:
                    self._propose(instance)
            round_trips += 1
            await asyncio.sleep(0.05)

    def crashes_here(self, node: int) -> bool:
        """Whether a node crashes at the crash point it is at."""
        if not self._faulty:
            return False
        number = self._crash_points[node]
        self._crash_points[node] += 1
        chosen = self.settings.crash_at
        if chosen is not None and (chosen.node, chosen.number) == (node, number):
            if chosen.everyone:
                self._doomed = set(range(self.settings.nodes))
            crashes = True
        else:
            crashes = self._crash_random.random() < self.settings.crash_probability
        if node in self._doomed:
            crashes = True
        self._doomed.discard(node)
        self.crashes += crashes
        return crashes

    def outage_ms(self) -> int:
        """How long a node that crashed stays down."""
        return self._crash_random.randint(10, 2_000)

    def replica(self, node: SimNode) -> Replica:
        """Build the shipped replica on a node's disk."""
        return Replica(
            definition=self._definition,
            validator=node.index,
            authenticator=SimAuthenticator(node.index, self.settings.nodes),
            journal=node.disk,
            store=node.disk,
            timers=self.settings.timers,
        )


class SimNode:
    """One node: a disk that lasts, and a life that may end and begin again."""

    def __init__(self, world: World, index: int) -> None:
        self.index = index
        self.disk = SimDisk(bytes([index]) * 16, self._at_commit)
        self._world = world
        self._replica: Replica | None = None
        self._driver: Driver | None = None

    async def live(self) -> None:
        """Run, and after each crash start again from the disk."""
        while True:
            try:
                await self._one_life()
            except Crashed:
                await asyncio.sleep(self._world.outage_ms() / 1000)

    async def _one_life(self) -> None:
        transport = self._world.network.attach(self.index, self._maybe_crash)
        try:
            self._replica = self._world.replica(self)
            self._replica.recover(now_ms())
            self._driver = Driver(self._replica, transport, self.disk)
            await self._driver.run()
        finally:
            self._replica = None
            self._world.network.detach(self.index)

    def propose(self, proposal: Proposal) -> None:
        """Let a client propose here; a node that is down hears nothing."""
        if self._replica is None or self._driver is None:
            return
        try:
            self._replica.propose(proposal, now_ms())
        except ProposalConflict:
            return
        self._driver.wake()

    def _maybe_crash(self, label: str) -> None:
        if self._world.crashes_here(self.index):
            raise Crashed(label)

    def _at_commit(self, label: str, records: Sequence[Record]) -> None:
        self._maybe_crash(label)
        if label == "after_commit":
            return
        self._world.trace("journaled", self.index, records)
        for record in records:
            if isinstance(record, VoteRecord):
                self._world.oracle.signed(record.vote)
            elif isinstance(record, DecisionRecord):
                self._world.oracle.concluded(self.index, record.decision)
