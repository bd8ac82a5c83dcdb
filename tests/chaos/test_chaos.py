"""`qbft chaos` from outside: a minute of it, its negative control, and Ctrl-C (issue 4, part 3)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from cli.command_line import COMMAND, Ended, end, environment, processes_about

from qbft_server.chaos.checker import Promise

pytestmark = pytest.mark.e2e

SEED_VARIABLE = "QBFT_TEST_CHAOS_SEED"
SEED = os.environ.get(SEED_VARIABLE, "332")
"""The first episodes of this one kill, wipe, lose, halve, pause, take a disk away and kill all at
once; the variable takes another one."""

SECONDS = 400.0
"""The whole command on a machine that is busy with other things."""


async def chaos(folder: Path, *arguments: str, interrupt: bool = False) -> Ended:
    """Run it to its end, its temporary files in this folder; or interrupt it once nodes run."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "chaos",
        "--json",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({"TMPDIR": str(folder)}),
    )
    try:
        async with asyncio.timeout(SECONDS):
            if interrupt:
                while not _nodes_begin(folder):
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
                process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        await end(process)
    return Ended(process.returncode or 0, out.decode(), err.decode())


def _nodes_begin(folder: Path) -> bool:
    return any(folder.glob("qbft-chaos-*/cluster/node-3/node.log"))


def _left(folder: Path) -> list[object]:
    """What a run has left: processes and files."""
    return [*processes_about(folder), *folder.iterdir()]


async def test_a_minute_of_chaos(tmp_path: Path) -> None:
    """Issue 4, part 3: real nodes, seeded faults, and every promise kept."""
    ended = await chaos(tmp_path, "--minutes", "1", "--seed", SEED)
    told = ended.json()
    assert told["repeat"] == f"qbft chaos --minutes 1 --seed {SEED}"
    assert told["violations_seen"] == [], told["repeat"]
    assert (ended.code, told["ok"], told["undecided"]) == (0, True, 0), told["repeat"]
    assert told["episodes"] >= 2
    assert told["faults_total"] == sum(told["faults"].values()) >= told["episodes"]
    assert told["decisions"] > 100
    assert told["certificates_verified"] >= told["decisions"]
    assert told["votes_audited"] > 4 * told["decisions"]
    assert told["reads"] > 4 * told["decisions"]
    assert told["appended"] > 50
    assert told["availability"]["quorum_whole"] > 0.5
    assert _left(tmp_path) == []


async def test_the_checker_catches_a_cluster_that_forgot(tmp_path: Path) -> None:
    """Issue 4, part 3, the negative control; SCENARIOS C24: f+1 nodes are wiped unnoticed.

    What was decided is decided again with another value: agreement is broken, the command ends with
    1, and the nodes' data are kept as evidence.
    """
    ended = await chaos(tmp_path, "--sabotage", "--seed", "1")
    told = ended.json()
    assert ended.code == 1
    assert told["ok"] is False
    broken = {violation["promise"] for violation in told["violations_seen"]}
    assert Promise.AGREEMENT.value in broken
    kept = Path(told["kept_in"])
    assert _left(tmp_path) == [kept]
    assert (kept / "cluster" / "node-1" / "node.log").exists()


async def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Issue 4, part 3: Ctrl-C leaves no process behind, nor a file."""
    ended = await chaos(tmp_path, "--seed", "1", interrupt=True)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.endswith("qbft: interrupted\n")
    assert _left(tmp_path) == []


async def test_a_fault_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """One line and the exit code for usage; nothing is started."""
    ended = await chaos(tmp_path, "--only", "rain")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("qbft: --only rain: allowed is one of kill, pause, ")
    assert _left(tmp_path) == []
