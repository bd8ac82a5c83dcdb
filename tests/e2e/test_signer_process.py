"""A node whose vote key is in a process of its own (docs/adr/015). One cluster, 10 s."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from e2e.service_clients import QUIET, SECONDS

from qbft.client import Client, NodeStatus
from qbft_server.cli import main
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

NODE = 1
SIGNER = """
cluster = "../cluster.toml"
validator = 1
vote_key = "vote.key"
memory = "signer.sqlite3"
listen = "unix:signer.sock"
"""


def move_the_key(cluster: LocalCluster) -> Path:
    """Leave the vote key to a signer; gives the signer's file."""
    folder = cluster.directory / f"node-{NODE}"
    node = folder / "node.toml"
    text = node.read_text()
    assert 'vote_key = "vote.key"' in text
    node.write_text(text.replace('vote_key = "vote.key"', 'vote_signer = "unix:signer.sock"'))
    file = folder / "signer.toml"
    file.write_text(SIGNER)
    assert main(["signer", str(file), "--create"]) == 0
    return file


@asynccontextmanager
async def signing(file: Path) -> AsyncIterator[None]:
    """A signer's process, which stops when it is told to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qbft_server.cli", "signer", str(file)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SECONDS):
            while not file.with_name("signer.sock").is_socket():
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def votes(client: Client, node: int) -> bool:
    """Whether a node says that it votes."""
    account = (await client.status())[node]
    assert isinstance(account, NodeStatus)
    return account.voting


async def test_a_node_votes_only_while_its_signer_signs(tmp_path: Path) -> None:
    """Its votes count, others verify them, and without the signer it serves reads and no votes."""
    async with LocalCluster.create(tmp_path / "c", environment=QUIET) as cluster:
        file = move_the_key(cluster)
        async with Client(cluster.cluster, timeout=SECONDS) as client:
            async with signing(file):
                await cluster.start(0, NODE, 2)  # a quorum, but none without that node
                await cluster.wait_until_ready()
                decision = await client.propose("t", 1, b"one")
                assert NODE in {commit.source for commit in decision.certificate.commits}
            with pytest.raises(Exception, match="no answer in 5 s"):
                await client.propose("t", 2, b"two", timeout=5)
            async with asyncio.timeout(SECONDS):
                while await votes(client, NODE):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            assert (await client.get("t", 1, node=NODE)).value == b"one"
            assert "voting has stopped" in cluster.log(NODE).read_text()
            assert await cluster.stop(NODE) == 0
            await cluster.start(NODE)
            assert await cluster.wait(NODE) == 2, "without a signer it does not start"
            assert "vote_signer: the signer at" in cluster.log(NODE).read_text()
            async with signing(file):
                await cluster.start(NODE)
                await cluster.wait_until_ready()
                assert (await client.propose("t", 2, b"two")).value == b"two"
