"""One run: nodes behind relays, clients, a plan of faults, the checker, and the reading back."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from qbft.errors import first_of
from qbft_server.chaos.audit import read_accounts
from qbft_server.chaos.checker import Promise, Violation
from qbft_server.chaos.clock import now
from qbft_server.chaos.faults import Injector
from qbft_server.chaos.history import Misbehaved
from qbft_server.chaos.load import LOG
from qbft_server.chaos.plan import Episode, Kind, episodes
from qbft_server.chaos.relays import Relays, Weather
from qbft_server.chaos.witness import Witness, background
from qbft_server.local import LocalCluster
from qbft_server.store.store import NodeStore

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
    """What happened in a run, whose faults began and ended then by the events' clock."""

    settings: Settings
    witness: Witness
    began: float = 0.0
    ended: float = 0.0
    episodes: int = 0
    votes_audited: int = 0
    faults: Counter[Kind] = field(default_factory=Counter)

    @property
    def violations(self) -> list[Violation]:
        """What was broken, as far as it is kept."""
        return self.witness.checker.violations


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
        self._local = LocalCluster.create(directory / "cluster", settings.nodes, ordered=LOG)
        cluster = self._local.cluster
        self._witness = Witness(cluster, rate=settings.rate, seed=settings.seed)
        self.outcome = Outcome(settings, self._witness)
        self._relays = Relays(cluster, settings.seed)
        self._injector = Injector(self._local, self._relays, self._witness.see)
        self._told = 0

    async def run(self) -> Outcome:
        """Do it; when this ends, however it ends, no node runs any more.

        Raises:
            QbftError: a node cannot be started at all.
        """
        self.outcome.began = now()
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
        return self.outcome

    # --- the two kinds of run ---------------------------------------------------------------------

    async def _wreak(self) -> None:
        outcome = self.outcome
        self._tell("starting the nodes")
        await self._injector.start()
        outcome.began = now()
        async with self._witness.clients() as proposing, background(self._injector.watch_nodes()):
            for episode in self._due_episodes():
                self._listener.episode(self._elapsed(), episode)
                await self._carry_out(episode)
                outcome.episodes += 1
            outcome.ended = now()
            self._tell("no more faults: waiting for what is open")
            if not await self._witness.settled(proposing):
                self._tell("not every node has everything")
            self._tell("reading everything back from every node")
            await self._witness.read_back()
        await self._injector.stop_all()
        self._audit()
        self._witness.checker.finish(now())
        self._tell_violations()

    def _audit(self) -> None:
        """Hold every node's votes against each other, wherever they are, lost disks too."""
        lives = [self._injector.lives(node) for node in range(self._settings.nodes)]
        for node, account in enumerate(read_accounts(lives, self._local.cluster)):
            self.outcome.votes_audited += len(account.votes)
            for what in account.flaws():
                self._witness.see(Misbehaved(now(), f"node {node}: {what}"))

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
        self.outcome.began = now()
        async with self._witness.clients():
            await self._until(
                lambda: len(self._witness.checker.decided) > SABOTAGE_DECISIONS, SABOTAGE_SECONDS
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
        self.outcome.ended = now()
        self._tell_violations()

    def _has_forked(self) -> bool:
        return any(v.promise is Promise.AGREEMENT for v in self.outcome.violations)

    # --- their parts ------------------------------------------------------------------------------

    def _due_episodes(self) -> Iterator[Episode]:
        settings = self._settings
        for episode in episodes(settings.seed, settings.nodes, settings.kinds):
            if now() - self.outcome.began >= settings.seconds:
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
                await self._witness.recovered()
        await asyncio.sleep(episode.calm)
        self._tell_violations()

    async def _until(self, is_true: Callable[[], bool], seconds: float) -> None:
        deadline = now() + seconds
        while not is_true() and now() < deadline:  # noqa: ASYNC110 - other tasks make it true
            await asyncio.sleep(POLL_SECONDS)

    # --- telling ----------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return now() - self.outcome.began

    def _tell(self, chapter: str) -> None:
        self._listener.chapter(self._elapsed(), chapter)

    def _tell_violations(self) -> None:
        for violation in self.outcome.violations[self._told :]:
            self._listener.violation(violation.at - self.outcome.began, violation)
        self._told = len(self.outcome.violations)
