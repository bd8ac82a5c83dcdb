"""What a liar leaves behind, from its votes on the wire to a check offline (SCENARIOS B16).

The liar is a program with a validator's keys that equivocates against real nodes; the evidence is
listed and exported by `qbft evidence`, and checked by `qbft verify` from files alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from attacks.siege import HONEST, LIAR, HonestClients, attacked, besieged

from qbft.cluster import Cluster
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

SECONDS = 240.0
QUICK_ROUNDS = {"QBFT_TIMER__FIRST_ROUND_MS": "400"}


async def qbft(*arguments: str) -> tuple[int, str]:
    """Run a command of ours as a user does; its exit code, and what it told."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qbft_server.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode or 0, out.decode()


async def evidence_against_liar(cluster: LocalCluster, save: Path) -> list[dict[str, object]]:
    """What the nodes hold, once they hold anything; it is saved as files.

    Until then clients propose where the liar leads too: it leaves traces where it leads, and where
    both of its votes arrive before the decision.
    """
    clients = HonestClients(cluster)
    async with asyncio.timeout(SECONDS):
        while True:
            assert not (await clients.propose(1.0, 4)).failures
            arguments = ("evidence", "-c", str(cluster.cluster_file), "--json", "--save", str(save))
            _, told = await qbft(*arguments)
            rows = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
            if rows:
                return rows


def spoil(genuine: Path, forged: Path) -> None:
    """Write a copy in which one bit is another."""
    data = genuine.read_bytes()
    forged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


async def test_a_liar_is_convicted_from_files_alone(tmp_path: Path) -> None:
    """B16; REFERENCE, rule 28: only the liar is accused, and nobody has to be asked to check it.

    Another cluster's file does not confirm it, nor does a file in which one bit is other.
    """
    save = tmp_path / "evidence"
    async with besieged(tmp_path, QUICK_ROUNDS) as cluster:
        async with attacked(cluster, "equivocating", priority=0):
            rows = await evidence_against_liar(cluster, save)
        assert {row["validator"] for row in rows} == {LIAR}
        assert all(set(row["held_by"]) <= set(HONEST) for row in rows)
        await asyncio.gather(*(cluster.stop(node) for node in HONEST))
        trusted = str(cluster.cluster_file)

    files = sorted(str(path) for path in save.iterdir())
    assert {row["file"] for row in rows} <= set(files)
    code, told_of = await qbft("verify", *files, "-c", trusted, "--json")
    assert code == 0
    verdicts = [json.loads(line) for line in told_of.splitlines()]
    assert all(verdict["valid"] and verdict["validator"] == LIAR for verdict in verdicts)

    code, _ = await qbft("init", str(tmp_path / "other"), "--json")
    assert code == 0
    other = tmp_path / "other" / "cluster.toml"
    assert Cluster.load(other).roster.cluster_id != Cluster.load(Path(trusted)).roster.cluster_id
    code, _ = await qbft("verify", files[0], "-c", str(other))
    assert code == 1
    forged = tmp_path / "forged.evidence"
    spoil(Path(files[0]), forged)
    code, _ = await qbft("verify", str(forged), "-c", trusted)
    assert code == 1
