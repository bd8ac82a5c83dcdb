"""A cluster of real node processes on this machine: for the demo, the benchmarks and the tests.

Nodes are started, killed and started again as an operator would do it; when the block ends, however
it ends, none of them is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from qbft.cluster import Cluster
from qbft.errors import QbftError, first_of
from qbft_server.config import ENVIRONMENT_PREFIX
from qbft_server.health import DECISION_SERVICE, is_serving
from qbft_server.initialise import CLUSTER_FILE, NODE_FILE, PORTS_PER_NODE, init_cluster

FIRST_PORT, LAST_PORT = 10_000, 30_000
"""Below the ports that the system gives to outgoing connections."""

PORT_ATTEMPTS_MAX = 200
"""Ranges of ports that are tried for a cluster on this machine."""

CLAIM = PORTS_PER_NODE - 1
"""Of a node's ports the last, at which it never listens: bound, it says that the others are taken,
also while the node is down."""

OWN_SETTINGS = ("cluster", "validator", "data", "vote_key", "vote_signer", "tls_key", "listen")
"""Settings that no two nodes share, and that a caller's environment must not give to all."""

STOP_SECONDS = 10.0
READY_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 5


class LocalCluster:
    """Node processes over one directory that `init_cluster` has made.

    `environment` is added to that of every node.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.cluster = Cluster.load(directory / CLUSTER_FILE)
        self._environment = dict(environment or {})
        self._views: dict[int, Path] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._claims = contextlib.ExitStack()

    @classmethod
    def create(
        cls,
        directory: Path,
        nodes: int = 4,
        environment: Mapping[str, str] | None = None,
        guarded: str | None = None,
        ordered: str | None = None,
    ) -> Self:
        """Make a new cluster in an empty directory, on ports of the loopback that are free now.

        `guarded` and `ordered` are as in `init_cluster`, `ordered` being one prefix.
        From here on, until its block ends, no other cluster that is made here takes them.

        Raises:
            ClusterError: the directory is in use, or the disk refuses.
            QbftError: there are not enough free ports.
        """
        with contextlib.ExitStack() as claims:
            first = claim_ports(nodes, claims)
            init_cluster(
                directory,
                nodes,
                name="local",
                base_port=first,
                guarded=guarded,
                ordered=() if ordered is None else (ordered,),
            )
            made = cls(directory, environment)
            made._claims = claims.pop_all()
        return made

    @property
    def cluster_file(self) -> Path:
        """What clients need."""
        return self.directory / CLUSTER_FILE

    @property
    def running(self) -> tuple[int, ...]:
        """The nodes that were started and have not been seen to end."""
        return tuple(sorted(self._processes))

    def pid(self, node: int) -> int:
        """The process of a node that runs."""
        return self._processes[node].pid

    def log(self, node: int) -> Path:
        """Where a node's lines go, of all its lives."""
        return self.directory / f"node-{node}" / "node.log"

    def data(self, node: int) -> Path:
        """A node's data directory: its votes and decisions."""
        return self.directory / f"node-{node}" / "data"

    def exit_code(self, node: int) -> int | None:
        """How a node that was started has ended, None while it runs; negative for a signal."""
        return self._processes[node].returncode

    def see(self, node: int, cluster: Cluster) -> None:
        """Let a node, from its next start, find its peers at the addresses that this one has.

        It has to be the same cluster otherwise: peers are known by their keys.
        """
        view = self.directory / f"node-{node}" / "view.toml"
        view.write_text(cluster.dump())
        self._views[node] = view

    async def replace_store(self, node: int) -> None:
        """Give a node that lost its data directory a new one, as its operator would.

        Raises:
            QbftError: it could not be made; the command's line says why.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "qbft_server.cli", "init", "--replace"),
            str(self.directory / f"node-{node}" / NODE_FILE),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**_shared_environment(), **self._environment},
        )
        try:
            _, told = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise QbftError(told.decode(errors="replace").strip())

    async def __aenter__(self) -> Self:
        """Begin; nothing runs until it is started."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every node, by force where it does not stop in time or the block was left in haste.

        A second interruption cannot leave a process behind either: what still runs is killed first.
        """
        try:
            if kind is None:
                await asyncio.gather(*(self.stop(node) for node in list(self._processes)))
        finally:
            for process in self._processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            for process in self._processes.values():
                await process.wait()
            self._processes.clear()
            self._claims.close()

    async def start(self, *nodes: int, environment: Mapping[str, str] | None = None) -> None:
        """Start these nodes, or all; does not wait until they are ready."""
        for node in nodes or range(len(self.cluster.validators)):
            with self.log(node).open("ab") as log:
                self._processes[node] = await asyncio.create_subprocess_exec(
                    *self._command(node),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={
                        **_shared_environment(),
                        **self._environment,
                        **self._view(node),
                        **(environment or {}),
                    },
                )

    def _command(self, node: int) -> list[str]:
        """What is run as a node."""
        file = str(self.directory / f"node-{node}" / NODE_FILE)
        return [sys.executable, "-m", "qbft_server.cli", "node", file]

    def signal(self, node: int, number: signal.Signals) -> None:
        """Send a signal to a node's process."""
        self._processes[node].send_signal(number)

    async def kill(self, node: int) -> None:
        """End a node as a power cut would: SIGKILL; one that has ended already is only noted."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(node, signal.SIGKILL)
        await self.wait(node)

    async def stop(self, node: int, seconds: float = STOP_SECONDS) -> int:
        """Ask a node to stop (SIGTERM) and give its exit code; kills it if it does not in time."""
        process = self._processes[node]
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(seconds):
                return await self.wait(node)
        except TimeoutError:
            process.kill()
            return await self.wait(node)

    async def wait(self, node: int) -> int:
        """Wait until a node's process has ended; give its exit code."""
        code = await self._processes[node].wait()
        self._processes.pop(node, None)
        return code

    async def wait_until_ready(self, *nodes: int, seconds: float = READY_SECONDS) -> None:
        """Wait until these nodes, or all that run, can reach a quorum, by the health service.

        Raises:
            QbftError: one of them ended instead, or it took too long; its last lines are told.
        """
        waiting = nodes or tuple(sorted(self._processes))
        try:
            async with asyncio.TaskGroup() as tasks:
                for node in waiting:
                    tasks.create_task(self._wait_until_ready(node, seconds))
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def _wait_until_ready(self, node: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_ready(node):
                    self._check_running(node)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise QbftError(f"node {node} was not ready in {seconds} s{self._said(node)}") from None

    async def _is_ready(self, node: int) -> bool:
        validator = self.cluster.validators[node]
        return await is_serving(validator.client, validator, DECISION_SERVICE, seconds=1.0)

    def _view(self, node: int) -> dict[str, str]:
        """The setting that names a cluster file of its own, for a node that has one."""
        view = self._views.get(node)
        return {} if view is None else {f"{ENVIRONMENT_PREFIX}CLUSTER": str(view)}

    def _check_running(self, node: int) -> None:
        process = self._processes.get(node)
        if process is None or process.returncode is not None:
            code = None if process is None else process.returncode
            raise QbftError(f"node {node} ended with exit code {code}{self._said(node)}")

    def _said(self, node: int) -> str:
        lines = self.log(node).read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return "; it said last:\n" + "\n".join(lines) if lines else ""


def _shared_environment() -> dict[str, str]:
    """This process's environment without what makes a node itself: that is in each node's file."""
    own = tuple(ENVIRONMENT_PREFIX + key.upper() for key in OWN_SETTINGS)
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def claim_ports(nodes: int, claims: contextlib.ExitStack) -> int:
    """The first of a run of ports that are free on the loopback, and claimed until `claims` ends.

    A whole number of `PORTS_PER_NODE`, so that runs that overlap share a claim.

    Raises:
        QbftError: none was found.
    """
    wanted = nodes * PORTS_PER_NODE
    for _ in range(PORT_ATTEMPTS_MAX):
        first = random.randrange(  # noqa: S311 - no secret
            FIRST_PORT, LAST_PORT - wanted, PORTS_PER_NODE
        )
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError):
            for port in range(first, first + wanted):
                probe = taken.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
                if port % PORTS_PER_NODE != CLAIM:
                    probe.close()
            claims.enter_context(taken.pop_all())
            return first
    raise QbftError(f"no {wanted} free ports in a row between {FIRST_PORT} and {LAST_PORT}")


async def wait_until(
    is_true: Callable[[], bool], what: str, seconds: float = READY_SECONDS
) -> None:
    """Wait for a condition of a real cluster, looking often.

    Raises:
        QbftError: it did not come in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not is_true():  # noqa: ASYNC110 - other processes make it true
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise QbftError(f"{what} did not come in {seconds} s") from None
