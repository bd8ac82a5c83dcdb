"""Nodes that agree by drawing lots, for the tests of what stands above agreement."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qbft.core import InstanceId
from qbft.crypto.certificate import Certificate
from qbft.crypto.entries import Entry, entries_of
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import BelowLowWaterMark, ProposalConflict
from qbft.ordered import Window
from qbft_server.ordered.appends import Appends

TOPIC = "log/a"


class Lots:
    """Decides each instance by a lot among what was proposed, some time after the first."""

    def __init__(self, seed: int = 0, nodes: int = 1, value_bytes_max: int = 1 << 20) -> None:
        self.draw = random.Random(seed)
        self.value_bytes_max = value_bytes_max
        self.proposals: dict[InstanceId, list[Proposal]] = {}
        self.nodes = [LotNode(self) for _ in range(nodes)]
        self.holds = False
        """Whether nothing is decided now."""

    def propose(self, proposal: Proposal) -> None:
        """Take part; the first of an instance sets the time of its lot."""
        known = self.proposals.setdefault(proposal.instance, [])
        known.append(proposal)
        if len(known) == 1:
            self._later(lambda: self._decide(proposal.instance))

    def _later(self, what: object) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self.draw.uniform(0.001, 0.02), what)  # type: ignore[arg-type]

    def _decide(self, instance: InstanceId) -> None:
        if self.holds:
            self._later(lambda: self._decide(instance))
            return
        chosen = self.draw.choice(self.proposals[instance])
        decision = Decision(chosen.value, Certificate(instance, 1, chosen.digest, ()))
        for node in self.nodes:
            self._later(lambda node=node: node.learn(decision))

    def put(self, height: int, value: bytes) -> None:
        """Have something decided for a height by everyone, at once."""
        instance = InstanceId(TOPIC, height)
        proposal = Proposal(instance, value)
        for node in self.nodes:
            node.learn(Decision(value, Certificate(instance, 1, proposal.digest, ())))


class LotNode:
    """What `Appends` asks of a replica and a store."""

    def __init__(self, lots: Lots) -> None:
        self.lots = lots
        self.decisions: dict[InstanceId, Decision] = {}
        self.mark = 0
        self.own: dict[InstanceId, bytes] = {}
        self.refusal: Exception | None = None
        self._waiters: dict[InstanceId, list[asyncio.Future[Decision]]] = {}
        self.proposed: list[Proposal] = []
        self.appends = self.new_life()

    def new_life(self) -> Appends:
        """What it is after a restart: nothing of its memory is left but what it has proposed."""
        return Appends(
            self,
            self,
            wake=lambda: None,
            first_height=lambda topic: 0,
            value_bytes_max=self.lots.value_bytes_max,
        )

    def learn(self, decision: Decision) -> None:
        """Know of a decision."""
        instance = decision.instance
        assert isinstance(instance, InstanceId)
        self.decisions[instance] = decision
        for waiter in self._waiters.pop(instance, ()):
            if not waiter.done():
                waiter.set_result(decision)

    def propose(self, proposal: Proposal, now_ms: int) -> asyncio.Future[Decision]:
        """As `Replica.propose`."""
        if self.refusal is not None:
            raise self.refusal
        first = self.own.setdefault(proposal.instance, proposal.digest)
        if proposal.instance not in self.decisions:
            if first != proposal.digest:
                raise ProposalConflict(first)
            self.proposed.append(proposal)
            self.lots.propose(proposal)
        return self._wait(proposal.instance)

    def has_input(self, instance: InstanceId) -> bool:
        """As `Replica.has_input`: here a node hears of no forward."""
        return False

    def _wait(self, instance: InstanceId) -> asyncio.Future[Decision]:
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        decision = self.decisions.get(instance)
        if decision is not None:
            future.set_result(decision)
        else:
            self._waiters.setdefault(instance, []).append(future)
        return future

    def get(self, instance: InstanceId) -> Decision | None:
        """As `NodeStore.get`."""
        return None if instance.height < self.mark else self.decisions.get(instance)

    def low_water_mark(self, topic: str) -> int:
        """As `NodeStore.low_water_mark`."""
        return self.mark

    async def first_undecided(self, topic: str, from_height: int = 0) -> int:
        """As `NodeStore.first_undecided`."""
        height = max(from_height, self.mark)
        while InstanceId(topic, height) in self.decisions:
            height += 1
        return height

    async def wait_for(self, instance: InstanceId) -> Decision:
        """As `NodeStore.wait_for`."""
        if instance.height < self.mark:
            raise BelowLowWaterMark(instance, self.mark)
        return await self._wait(instance)


@asynccontextmanager
async def running(*appends: Appends) -> AsyncIterator[None]:
    """These serve while the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        serving = [tasks.create_task(each.run()) for each in appends]
        yield
        for task in serving:
            task.cancel()


def log_of(node: LotNode) -> list[Entry]:
    """The entries that count, in order, as any reader of this node's decisions has them."""
    window, counted = Window(0), []
    while (decision := node.decisions.get(InstanceId(TOPIC, window.next_height))) is not None:
        entries = entries_of(decision.value)
        void = window.take(entries)
        counted += [entry for entry, is_void in zip(entries, void, strict=True) if not is_void]
    return counted
