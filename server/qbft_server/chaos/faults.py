"""Carries out faults on real processes, and says what they leave able to work.

A disk that is full is a limit on the size of files (RLIMIT_FSIZE) at what the journal has now: the
next write fails with an error of the system, as on a full disk, and needs no root.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from qbft.client import Client, ClientError, NodeStatus
from qbft_server.chaos.clock import now
from qbft_server.chaos.history import Conditions, Event, Misbehaved, Wiped
from qbft_server.chaos.plan import Fault, Kind, Link
from qbft_server.chaos.relays import Relays, Weather
from qbft_server.cli.exits import ExitCode
from qbft_server.local import LocalCluster

READY_SECONDS = 90.0
"""From a node's start until it can reach a quorum and votes, on a machine that is busy."""

STOP_SECONDS = 60.0
"""From SIGTERM until a node has ended by itself; the calls of its clients get 5 of them."""

CATCH_UP_PER_SECOND_MIN = 100
"""Decisions that a node pulls, on such a machine: a wiped one votes only when it has them all."""

STATUS_SECONDS = 1.0
POLL_SECONDS = 0.1

_WEATHER = {
    Kind.CUT: Weather(is_refused=True),
    Kind.ISOLATE: Weather(is_silent=True),
    Kind.HALVES: Weather(is_refused=True),
    Kind.ONE_WAY: Weather(is_silent=True),
    Kind.RING: Weather(is_refused=True),
    Kind.LOSS: Weather(is_lossy=True),
}


class Injector:
    """Begins and ends faults; `see` is told what they leave, and what should not have happened."""

    def __init__(self, local: LocalCluster, relays: Relays, see: Callable[[Event], None]) -> None:
        self._local = local
        self._relays = relays
        self._see = see
        self._down: set[int] = set()
        self._meant: set[int] = set()
        self._of_links: list[Fault] = []
        self._lost: dict[int, list[Path]] = {}
        self._faulty_max = local.cluster.roster.faulty

    @property
    def is_able(self) -> bool:
        """Whether what is proposed now has to be decided."""
        return not self._of_links and len(self._down) <= self._faulty_max

    @property
    def down(self) -> int:
        """How many nodes are down or faulty."""
        return len(self._down)

    async def start(self, *nodes: int) -> None:
        """Start all nodes, or these, and wait until they can work."""
        started = nodes or tuple(range(self._relays.nodes))
        self._down.update(started)
        await self._start(*started)

    async def begin(self, fault: Fault) -> None:
        """Let a fault happen; those that end by themselves have ended when this returns."""
        if fault.links:
            self._of_links.append(fault)
            self._tell()
            self._set_weather(fault.links)
        elif fault.kind in (Kind.KILL, Kind.KILL_ALL):
            await self._kill(*fault.nodes)
        else:
            for node in fault.nodes:
                await self._begin_on(node, fault.kind)

    async def _begin_on(self, node: int, kind: Kind) -> None:
        match kind:
            case Kind.PAUSE:
                self._are_down(node)
                self._local.signal(node, signal.SIGSTOP)
            case Kind.RESTART | Kind.ROLLING:
                await self._stop(node)
                await self._start(node)
            case Kind.DISK_FULL:
                self._are_down(node)
                self._limit_files(node, self._journal_bytes(node))
            case Kind.NO_DISK:
                await self._kill(node)
                self._local.data(node).rename(self._away(node))
                await self._must_refuse(node)
            case Kind.WIPE:
                await self._kill(node)
                self._lose(node)
                await self._must_refuse(node)

    async def end(self, fault: Fault) -> None:
        """Undo a fault, and wait until its nodes can work."""
        if fault.links:
            self._of_links.remove(fault)
            self._set_weather(fault.links)
            self._tell()
        elif fault.kind in (Kind.KILL, Kind.KILL_ALL):
            await self._start(*fault.nodes)
        else:
            for node in fault.nodes:
                await self._end_on(node, fault.kind)

    async def _end_on(self, node: int, kind: Kind) -> None:
        match kind:
            case Kind.PAUSE:
                self._local.signal(node, signal.SIGCONT)
                await self._are_able(node)
            case Kind.DISK_FULL:
                self._limit_files(node, None)
                await self._stop(node)
                await self._start(node)
            case Kind.NO_DISK:
                self._away(node).rename(self._local.data(node))
                await self._start(node)
            case Kind.WIPE:
                self._see(Wiped(now(), node))
                await self._local.replace_store(node)
                await self._start(node)

    async def watch_nodes(self) -> None:
        """Tell of nodes that end without being made to, and start them again."""
        while True:
            for node in self._local.running:
                if node in self._meant or node not in self._local.running:
                    continue
                code = self._local.exit_code(node)
                if code is None:
                    continue
                self._see(Misbehaved(now(), f"node {node} ended by itself with exit code {code}"))
                await self._local.wait(node)
                await self._local.start(node)
            await asyncio.sleep(POLL_SECONDS)

    async def stop_all(self) -> None:
        """Stop every node, as an operator does."""
        await asyncio.gather(*(self._stop(node) for node in self._local.running))

    def _set_weather(self, links: Iterable[Link]) -> None:
        """What the latest fault that is still there makes of each of these links."""
        for link in links:
            there = [fault for fault in self._of_links if link in fault.links]
            self._relays.set(link, _weather(there[-1]) if there else Weather())

    # --- nodes ------------------------------------------------------------------------------------

    async def _kill(self, *nodes: int) -> None:
        self._are_down(*nodes)
        self._meant.update(nodes)
        await asyncio.gather(*map(self._local.kill, nodes))

    async def _stop(self, node: int) -> None:
        self._are_down(node)
        self._meant.add(node)
        code = await self._local.stop(node, STOP_SECONDS)
        if code:
            self._see(
                Misbehaved(now(), f"node {node} was told to stop and ended with exit code {code}")
            )

    async def _start(self, *nodes: int) -> None:
        await self._local.start(*nodes)
        self._meant.difference_update(nodes)
        await self._are_able(*nodes)

    async def _must_refuse(self, node: int) -> None:
        """A node without its data directory has to end, and never to make one."""
        self._meant.add(node)
        await self._local.start(node)
        try:
            async with asyncio.timeout(READY_SECONDS):
                code = await self._local.wait(node)
        except TimeoutError:
            await self._local.kill(node)
            code = ExitCode.OK
        if code != ExitCode.FAILED or self._local.data(node).exists():
            self._see(Misbehaved(now(), f"node {node} started without its data (code {code})"))

    def _are_down(self, *nodes: int) -> None:
        self._down.update(nodes)
        self._tell()

    async def _are_able(self, *nodes: int) -> None:
        """Wait until these nodes vote, and reach a quorum where the other faults leave one."""
        others = self._down.difference(nodes)
        needs_quorum = len(others) <= self._faulty_max and not self._of_links
        began = now()
        async with Client(self._local.cluster) as client:
            while True:
                accounts = await client.status(STATUS_SECONDS)
                if all(_is_able(accounts[node], needs_quorum) for node in nodes):
                    break
                if now() - began > READY_SECONDS + _catch_up_seconds(accounts.values()):
                    said = "; ".join(self._last_line(node) for node in nodes)
                    what = f"nodes {nodes} are not back after {now() - began:.0f} s, and said last"
                    self._see(Misbehaved(now(), f"{what}: {said}"))
                    break
                await asyncio.sleep(POLL_SECONDS)
        self._down.difference_update(nodes)
        self._tell()

    def _last_line(self, node: int) -> str:
        lines = self._local.log(node).read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def _tell(self) -> None:
        self._see(Conditions(now(), self.is_able, self.down))

    # --- disks ------------------------------------------------------------------------------------

    def _away(self, node: int) -> Path:
        return self._local.data(node).with_name("data.away")

    def _lose(self, node: int) -> None:
        """Put a node's data where it never looks; the judge will."""
        lost = self._lost.setdefault(node, [])
        lost.append(self._local.data(node).with_name(f"data.lost-{len(lost) + 1}"))
        self._local.data(node).rename(lost[-1])

    def lives(self, node: int) -> list[Path]:
        """All data directories that a node has had, the lost ones too, the oldest first."""
        return [*self._lost.get(node, ()), self._local.data(node)]

    def _journal_bytes(self, node: int) -> int:
        segments = sorted((self._local.data(node) / "journal").glob("*.segment"))
        return segments[-1].stat().st_size

    def _limit_files(self, node: int, bytes_max: int | None) -> None:
        pid = self._local.pid(node)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        limit = hard if bytes_max is None else bytes_max
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))


def _weather(fault: Fault) -> Weather:
    return _WEATHER.get(fault.kind) or Weather(delay_ms=fault.ms)


def _is_able(account: NodeStatus | ClientError, needs_quorum: bool) -> bool:
    if isinstance(account, ClientError):
        return False
    return account.voting and (account.quorum_reachable or not needs_quorum)


def _catch_up_seconds(accounts: Iterable[NodeStatus | ClientError]) -> float:
    """What a node that has nothing may take to learn what the others know."""
    counts = [account.decisions for account in accounts if isinstance(account, NodeStatus)]
    return max(counts, default=0) / CATCH_UP_PER_SECOND_MIN
