"""One run: nodes behind relays, clients, a plan of faults, the checker, and the reading back."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

from qbft.client import Access, Client, ClientError, NodeStatus
from qbft.client.node import NodeLink
from qbft.core import InstanceId
from qbft.errors import first_of
from qbft_server.chaos.bound import recovery_seconds
from qbft_server.chaos.checker import Checker, Promise, Violation
from qbft_server.chaos.faults import Injector
from qbft_server.chaos.history import Conditions, Event, Misbehaved, Replayed, Told
from qbft_server.chaos.load import Load
from qbft_server.chaos.plan import Episode, Kind, episodes
from qbft_server.chaos.relays import Relays, Weather
from qbft_server.local import LocalCluster
from qbft_server.store.store import NodeStore

SETTLE_SECONDS = 120.0
"""In which, at the end, every node has to have every decision."""

STATUS_SECONDS = 2.0
SABOTAGE_SECONDS = 60.0
SABOTAGE_DECISIONS = 40
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is made of; `seconds` is how long episodes are begun, `rate` proposals a second.

    `is_sabotaged` plays the negative control instead: f+1 nodes are wiped behind the cluster's
    back, and the checker has to see what comes of it.
    """

    seconds: float
    seed: int
    nodes: int = 4
    rate: float = 30.0
    kinds: tuple[Kind, ...] = tuple(Kind)
    is_sabotaged: bool = False


@dataclass
class Outcome:
    """What happened in a run. Times are those of the events, by one monotonic clock."""

    settings: Settings
    checker: Checker
    began: float = 0.0
    ended: float = 0.0
    proposals: int = 0
    late: int = 0
    refused: int = 0
    certificates: int = 0
    latencies: list[float] = field(default_factory=list)
    episodes: int = 0
    lag_max: float = 0.0
    faults: Counter[Kind] = field(default_factory=Counter)
    conditions: list[Conditions] = field(default_factory=list)

    @property
    def violations(self) -> list[Violation]:
        """What was broken, as far as it is kept."""
        return self.checker.violations


@dataclass(frozen=True, slots=True)
class Listener:
    """Is told what happens while it does."""

    episode: Callable[[float, Episode], None]
    violation: Callable[[float, Violation], None]
    chapter: Callable[[float, str], None]


class Run:
    """A run in the making; `run` does it once."""

    def __init__(self, settings: Settings, directory: Path, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._local = LocalCluster.create(directory / "cluster", settings.nodes)
        self._checker = Checker(settings.nodes, recovery_seconds)
        self.outcome = Outcome(settings, self._checker)
        self._relays = Relays(self._local.cluster, settings.seed)
        self._injector = Injector(self._local, self._relays, self._see)
        self._load = Load(self._local.cluster, self._see, rate=settings.rate, seed=settings.seed)

    async def run(self) -> Outcome:
        """Do it; when this ends, however it ends, no node runs any more.

        Raises:
            QbftError: a node cannot be started at all.
        """
        self.outcome.began = _now()
        try:
            async with self._relays, self._local:
                for node in range(self._settings.nodes):
                    self._local.see(node, self._relays.view(node))
                if self._settings.is_sabotaged:
                    await self._sabotage()
                else:
                    await self._wreak()
        except BaseExceptionGroup as group:
            raise first_of(group) from group
        outcome, load = self.outcome, self._load
        outcome.proposals, outcome.late, outcome.refused = load.proposals, load.late, load.refused
        outcome.certificates, outcome.latencies = load.prover.certificates, load.latencies
        return outcome

    # --- the two kinds of run ---------------------------------------------------------------------

    async def _wreak(self) -> None:
        settings, outcome = self._settings, self.outcome
        self._tell("starting the nodes")
        await self._injector.start()
        outcome.began = _now()
        async with (
            self._clients() as proposing,
            _task(self._injector.watch_nodes()),
            _task(self._feel_the_pulse()),
        ):
            for episode in self._due_episodes():
                self._listener.episode(self._elapsed(), episode)
                await self._carry_out(episode)
                outcome.episodes += 1
            outcome.ended = _now()
            self._tell("no more faults: waiting for what is open")
            self._load.stop()
            await self._until(proposing.done, SETTLE_SECONDS)
            await self._settle()
            self._tell("reading everything back from every node")
            for node in range(settings.nodes):
                await self._read_back(node)
        await self._injector.stop_all()
        self._checker.finish(_now())
        self._tell_violations()

    async def _sabotage(self) -> None:
        """Make f+1 nodes forget what they said, and another never hear it: values must change.

        One node is cut off from the first moment on; then all others are killed. Of these f+1 come
        back with data directories that do not even say that votes are lost, which no command makes,
        and the rest stay down. Together with the node that was cut off they are a quorum of which
        nobody remembers: what was decided is decided again, with other values.
        """
        local, relays, roster = self._local, self._relays, self._local.cluster.roster
        alone = roster.nodes - 1
        forgetful = range(alone - roster.faulty - 1, alone)
        cut = [link for link in permutations(range(roster.nodes), 2) if alone in link]
        for link in cut:
            relays.set(link, Weather(is_refused=True))
        self._tell(f"starting the nodes, node {alone} cut off")
        await local.start(alone)
        await self._injector.start(*range(alone))
        self.outcome.began = _now()
        async with self._clients():
            await self._until(
                lambda: len(self._checker.decided) > SABOTAGE_DECISIONS, SABOTAGE_SECONDS
            )
            self._tell(f"killing all others and wiping {', '.join(map(str, forgetful))}")
            await asyncio.gather(*(local.kill(node) for node in range(alone)))
            for node in forgetful:
                shutil.rmtree(local.data(node))
                NodeStore.create(local.data(node), roster.cluster_id, node)
            await local.start(*forgetful)
            for link in cut:
                relays.set(link, Weather())
            await self._until(self._has_forked, SABOTAGE_SECONDS)
        self.outcome.ended = _now()
        self._tell_violations()

    def _has_forked(self) -> bool:
        return any(v.promise is Promise.AGREEMENT for v in self.outcome.violations)

    # --- their parts ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[asyncio.Task[None]]:
        """All clients, while the block lasts; gives the task of those that propose."""
        async with _task(self._load.read()), _task(self._load.run()) as proposing:
            yield proposing

    async def _feel_the_pulse(self) -> None:
        """How late this process itself is: what the machine does to the nodes as well."""
        while True:
            due = _now() + POLL_SECONDS
            await asyncio.sleep(POLL_SECONDS)
            self.outcome.lag_max = max(self.outcome.lag_max, _now() - due)

    def _due_episodes(self) -> Iterator[Episode]:
        settings = self._settings
        for episode in episodes(settings.seed, settings.nodes, settings.kinds):
            if _now() - self.outcome.began >= settings.seconds:
                return
            yield episode

    async def _carry_out(self, episode: Episode) -> None:
        for fault in episode.faults:
            await self._injector.begin(fault)
            self.outcome.faults[fault.kind] += 1
            await asyncio.sleep(episode.gap)
        await asyncio.sleep(episode.hold)
        for fault in episode.faults:
            await self._injector.end(fault)
            if self._injector.is_able:
                await self._recovered()
        await asyncio.sleep(episode.calm)
        self._tell_violations()

    async def _recovered(self) -> None:
        """Wait until what was open is decided, or should have been."""
        checker = self._checker
        while not checker.is_recovered and not checker.overdue(_now()):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def _settle(self) -> None:
        """Wait until every node has all decisions, and every follower has them too."""
        nodes, checker = range(self._settings.nodes), self._checker

        async def is_settled(client: Client) -> bool:
            accounts = await client.status(STATUS_SECONDS)
            count = len(checker.decided)
            return all(
                isinstance(account, NodeStatus) and account.decisions >= count
                for account in accounts.values()
            ) and all(checker.followed(node) >= count for node in nodes)

        try:
            async with Client(self._local.cluster) as client, asyncio.timeout(SETTLE_SECONDS):
                while not await is_settled(client):  # noqa: ASYNC110 - nodes make it true
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._tell(f"not every node has everything after {SETTLE_SECONDS:g} s")

    async def _read_back(self, node: int) -> None:
        """Read a node's whole order from its beginning, and verify every certificate."""
        order: list[InstanceId] = []
        link = NodeLink(node, self._local.cluster.validators[node], Access())
        try:
            count = (await link.status(STATUS_SECONDS)).decisions
            async for reply in link.watch_all(b""):
                decision = reply.decision
                instance = InstanceId(decision.instance.topic, decision.instance.height)
                flaw = self._load.prover.flaw(decision.SerializeToString())
                self._see(Told(_now(), instance, decision.value, node, flaw))
                order.append(instance)
                if len(order) >= count:
                    break
        except ClientError as error:
            self._see(Misbehaved(_now(), f"reading back from node {node}: {error}"))
        finally:
            await link.close()
        self._see(Replayed(_now(), node, tuple(order)))

    async def _until(self, is_true: Callable[[], bool], seconds: float) -> None:
        deadline = _now() + seconds
        while not is_true() and _now() < deadline:  # noqa: ASYNC110 - other tasks make it true
            await asyncio.sleep(POLL_SECONDS)

    # --- telling ----------------------------------------------------------------------------------

    def _see(self, event: Event) -> None:
        if isinstance(event, Conditions):
            self.outcome.conditions.append(event)
        self._checker.see(event)

    def _elapsed(self) -> float:
        return _now() - self.outcome.began

    def _tell(self, chapter: str) -> None:
        self._listener.chapter(self._elapsed(), chapter)

    def _tell_violations(self) -> None:
        for violation in self.outcome.violations[self._told :]:
            self._listener.violation(violation.at - self.outcome.began, violation)
        self._told = len(self.outcome.violations)

    _told = 0


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task in the background of a block; its failure ends the block, whose end ends it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield task
        task.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
