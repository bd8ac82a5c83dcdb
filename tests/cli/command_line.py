"""Runs `qbft` as a shell does, and looks for what it left running."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "qbft_server.cli"]
SECONDS = 240.0
"""In which a command ends, or it hangs; on a machine that is busy with other tests too."""

STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one object that it printed."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """The objects that it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without settings of ours, but for the changes."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("QBFT_")}
    return {**inherited, **(changes or {})}


def qbft(*arguments: object, changes: Mapping[str, str] | None = None, through: str = "") -> Ended:
    """Run to its end; `through` is what a shell does with it, as "$0" "$@"."""
    command: Sequence[str] = [*COMMAND, *map(str, arguments)]
    if through:
        command = ["sh", "-c", through, *command]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(changes),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


async def end(process: asyncio.subprocess.Process) -> None:
    """See to it that a command that is still running ends, and first its nodes where it can."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def processes_about(path: Path) -> list[int]:
    """The processes that have a path below this one on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if os.fsencode(path) in line:
                found.append(int(entry.name))
    return found
