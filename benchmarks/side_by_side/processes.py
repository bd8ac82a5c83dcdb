"""Processes of a benchmark: started together, measured, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qbft.errors import QbftError

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended."""

STOP_SECONDS = 10.0
READY_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 5


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads together."""
    return _processor_seconds(Path(f"/proc/{pid}/stat"))


def main_thread_cpu_seconds(pid: int) -> float:
    """User and system time of a process's first thread so far."""
    return _processor_seconds(Path(f"/proc/{pid}/task/{pid}/stat"))


def _processor_seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes(pid: int) -> int | None:
    """Bytes that a process made the system write to disks, whole pages; None where it is not told.

    Nothing is counted of a directory in memory (tmpfs).
    """
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


def disk_bytes_of_all(pids: Sequence[int]) -> int | None:
    """The sum over several processes; None if one does not tell."""
    told = [disk_bytes(pid) for pid in pids]
    return sum(size for size in told if size is not None) if None not in told else None


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use at this moment."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_ports(wanted: int) -> list[int]:
    """Ports of the loopback that are free at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(wanted)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Children:
    """Processes that end with the block, however it ends; each one's lines go to a file."""

    def __init__(self) -> None:
        self._processes: list[tuple[asyncio.subprocess.Process, Path]] = []

    @property
    def pids(self) -> list[int]:
        """The processes, in the order in which they were started."""
        return [process.pid for process, _ in self._processes]

    async def start(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start one more."""
        with log.open("ab") as lines:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                env=environment,
            )
        self._processes.append((process, log))

    def check_running(self) -> None:
        """Raise a QbftError if one has ended: its code, and what it said last."""
        for process, log in self._processes:
            if process.returncode is not None:
                said = log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
                raise QbftError(
                    f"{log.stem} ended with exit code {process.returncode}; it said last:\n"
                    + "\n".join(said)
                )

    async def wait_until(
        self, is_ready: Callable[[], Awaitable[bool]], what: str, seconds: float = READY_SECONDS
    ) -> None:
        """Ask again and again until it is so.

        Raises:
            QbftError: one process ended instead, or it took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await is_ready():
                    self.check_running()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise QbftError(f"{what}: not in {seconds} s") from None

    async def __aenter__(self) -> Self:
        """Begin; nothing runs yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all: politely first, by force after a while or when cancelled."""
        running = [process for process, _ in self._processes]
        try:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                for process in running:
                    await process.wait()
        except TimeoutError:
            pass
        finally:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            for process in running:
                await process.wait()
            self._processes.clear()
