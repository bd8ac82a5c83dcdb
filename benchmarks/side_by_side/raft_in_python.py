"""PySyncObj: four processes of the Raft library that a Python program would pick.

It tolerates crashes, not lies; as it comes it writes nothing to disk and its links are plain TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from qbft.errors import QbftError
from side_by_side.load import ANSWER_SECONDS_MAX, Session, Usage, by_workers
from side_by_side.processes import Children, cpu_seconds, disk_bytes_of_all, free_ports

ELECTION_SECONDS = 2.0
"""Where processors are scarce leaders change, and what is under way then has to be put again."""

NAME = "pysyncobj"
PROCESSES = 4
SERVICE = "side_by_side.Log"
NODE = Path(__file__).with_name("raft_in_python_node.py")


class RaftInPython:
    """Four processes; operations go to the leader's."""

    def __init__(self) -> None:
        self.variants = {
            NAME: f"{PROCESSES} processes; crash faults only; no fsync, no TLS; synchronous call"
        }

    @contextlib.asynccontextmanager
    async def run(self, directory: Path) -> AsyncIterator[RunningRaft]:
        """Run fresh processes.

        Raises:
            QbftError: PySyncObj is not installed, or a process did not start.
        """
        if importlib.util.find_spec("pysyncobj") is None:
            raise QbftError("there is no PySyncObj here: install it first (pip install '.[bench]')")
        ports = free_ports(2 * PROCESSES)
        doors, members = ports[:PROCESSES], ports[PROCESSES:]
        async with contextlib.AsyncExitStack() as stack:
            children = await stack.enter_async_context(Children())
            for door, own in zip(doors, members, strict=True):
                peers = [port for port in members if port != own]
                command = [sys.executable, str(NODE), *map(str, (door, own, *peers))]
                await children.start(command, directory / f"pysyncobj-{door}.log")
            channels = [
                await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{door}"))
                for door in doors
            ]
            running = RunningRaft(children, channels)
            await children.wait_until(running.has_leader, "PySyncObj has a leader")
            yield running


class RunningRaft:
    """Processes that run."""

    def __init__(self, children: Children, channels: list[aio.Channel]) -> None:
        self._children = children
        self._channels = channels
        self._leader = channels[0]

    async def has_leader(self) -> bool:
        """Whether one process leads; remembers which."""
        try:
            for channel, status in zip(self._channels, await self._statuses(), strict=True):
                if status["is_leading"]:
                    self._leader = channel
                    return True
        except aio.AioRpcError:
            pass
        return False

    async def usage(self) -> Usage:
        """What the processes counted; PySyncObj as it comes never syncs a disk."""
        statuses = await self._statuses()
        return Usage(
            cpu_seconds=sum(map(cpu_seconds, self._children.pids)),
            fsyncs=0.0,
            frames=sum(status["frames"] for status in statuses),
            wire_bytes=sum(status["wire_bytes"] for status in statuses),
            disk_bytes=disk_bytes_of_all(self._children.pids),
        )

    def session(self, variant: str) -> AbstractAsyncContextManager[Session]:
        """Clients of the leader."""
        return self._clients()

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[Session]:
        put = self._leader.unary_unary(f"/{SERVICE}/Put")

        async def propose(topic: str, height: int, value: bytes) -> None:
            key = f"{topic}/{height}".encode()
            request = len(key).to_bytes(2, "big") + key + value
            try:
                await put(request, timeout=ANSWER_SECONDS_MAX)
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(ELECTION_SECONDS)
                await put(request, timeout=ANSWER_SECONDS_MAX)

        yield by_workers(propose)

    async def _statuses(self) -> list[dict[str, Any]]:
        calls = (channel.unary_unary(f"/{SERVICE}/Status") for channel in self._channels)
        told = await asyncio.gather(*(call(b"", timeout=ANSWER_SECONDS_MAX) for call in calls))
        return [json.loads(status) for status in told]
