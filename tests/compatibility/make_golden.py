"""Makes golden/VERSION: what a tiny cluster of this version leaves, and what others build on.

    PYTHONPATH=tests python tests/compatibility/make_golden.py

Run once for a release, and kept for ever: later versions have to read it (docs/VERSIONS.md). It
overwrites nothing. The cluster's keys are thrown away.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any

from compatibility.surface import api, schema

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import value_digest
from qbft.crypto.signing import BatchSigner
from qbft.records import EvidenceRecord
from qbft.wire import encode_evidence
from qbft_server.identity import load_vote_key
from qbft_server.local import LocalCluster
from qbft_server.store.store import NodeStore
from qbft_server.version import VERSION

GOLDEN = Path(__file__).with_name("golden")
DECIDED = {"prices/btc/17": "64123.50", "prices/btc/18": "64200.00", "guarded/rates/1": "4.25"}
UNDECIDED = "prices/btc/19"
NODE, LIAR = 0, 3


async def main() -> None:
    """Make it, whole or not at all."""
    target = GOLDEN / VERSION
    if target.exists():
        sys.exit(f"{target} is there: what a version was does not change")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        made.mkdir()
        async with LocalCluster.create(Path(name) / "c", guarded="guarded/") as cluster:
            await _decide(cluster, made)
        await _blame(cluster, made)
        shutil.copytree(cluster.data(NODE), made / "data")
        shutil.copy(cluster.cluster_file, made)
        (made / "schema.binpb").write_bytes(schema().SerializeToString(deterministic=True))
        (made / "api.json").write_text(_dumped(api()))
        expected = {"decided": DECIDED, "undecided": UNDECIDED, "node": NODE, "liar": LIAR}
        (made / "expected.json").write_text(_dumped(expected))
        shutil.copytree(made, target, ignore=shutil.ignore_patterns("lock", "*-wal", "*-shm"))


async def _decide(cluster: LocalCluster, made: Path) -> None:
    """Some decisions; then one instance in which two nodes have voted, and no more."""
    await cluster.start()
    await cluster.wait_until_ready()
    key = cluster.directory / "proposer.key"
    for instance, value in DECIDED.items():
        out = made / f"{instance.replace('/', '-')}.cert"
        await _qbft(cluster, "propose", instance, value, "--key", key, "--out", out)
    await _qbft(cluster, "capture", next(iter(DECIDED)), "--out", made / "capture.qbft")
    for node in (2, 3):
        await cluster.stop(node)
    await _qbft(cluster, "propose", UNDECIDED, "64300.00", "--timeout", "3", expected=3)
    for node in (0, 1):
        await cluster.stop(node)
    node_file = cluster.directory / f"node-{NODE}" / "node.toml"
    await _qbft(None, "backup", node_file, made / "backup.sqlite3")


async def _blame(cluster: LocalCluster, made: Path) -> None:
    """Evidence that the liar has PREPAREd two values, as a file and in the node's journal."""
    roster = cluster.cluster.roster
    key_file = cluster.directory / f"node-{LIAR}" / "vote.key"
    key = load_vote_key(key_file, cluster.cluster.validators[LIAR])
    instance = InstanceId("prices/btc", 18)
    first, second = (
        Message(MessageType.PREPARE, instance, LIAR, 1, value_digest(value), proof=Proof())
        for value in (b"64200.00", b"1.00")
    )
    BatchSigner(key, roster, LIAR).sign([first, second], bytes(16), 1)
    evidence = Evidence(first, second)
    (made / "liar.evidence").write_bytes(encode_evidence(evidence))
    store = NodeStore.open(cluster.data(NODE), roster.cluster_id, NODE)
    async with aclosing(store):
        await store.commit([EvidenceRecord(evidence)])


async def _qbft(cluster: LocalCluster | None, *words: object, expected: int = 0) -> None:
    asked = [] if cluster is None else ["--cluster", str(cluster.cluster_file)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qbft_server.cli", *map(str, words), *asked)
    )
    if await process.wait() != expected:
        sys.exit(f"qbft {words} ended with {process.returncode}")


def _dumped(what: Any) -> str:
    return json.dumps(what, indent=1) + "\n"


if __name__ == "__main__":
    asyncio.run(main())
