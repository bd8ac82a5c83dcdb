"""Verifiers and a client in Go and TypeScript, written from docs/PROTOCOL.md (issue 7).

Skipped, visibly, where a toolchain is not there, or the registry of its packages is not reached.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from qbft.client import Client
from qbft.wire.decisions import encode_decision
from qbft_server.local import LocalCluster

EXAMPLES = Path(__file__).parents[2] / "examples"
PROTOS = EXAMPLES.parent / "proto"
GO, TYPESCRIPT = EXAMPLES / "go", EXAMPLES / "typescript"
SECONDS = 300.0

pytestmark = pytest.mark.xdist_group("other languages")


def say(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command there, to its end."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier in Go, built; it needs the standard library only."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go here")
    program = tmp_path_factory.mktemp("go") / "qbft-verify"
    built = say(GO, "go", "build", "-o", program, "./cmd/qbft-verify")
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture(scope="module")
def typescript() -> Path:
    """The client in TypeScript, compiled, with its packages."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node.js here")
    if not (TYPESCRIPT / "node_modules" / ".package-lock.json").is_file():  # written at the end
        installed = say(TYPESCRIPT, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
        if installed.returncode:
            pytest.skip("npm cannot install the packages here")
    built = say(TYPESCRIPT, "npm", "run", "build")
    assert built.returncode == 0, built.stdout
    return TYPESCRIPT / "dist" / "cli.js"


@pytest.mark.usefixtures("go")
def test_go_agrees_with_the_vectors() -> None:
    """PROTOCOL.md, sections 2 to 8: another hand, another language, the same verdicts."""
    done = say(GO, "go", "test", "./...")
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("typescript")
def test_typescript_agrees_with_the_vectors() -> None:
    """PROTOCOL.md, sections 2 to 8: the same in TypeScript."""
    done = say(TYPESCRIPT, "node", "--test", "dist/")
    assert done.returncode == 0, done.stdout


@pytest.mark.e2e
async def test_what_a_living_cluster_decides_is_proven_in_both(
    tmp_path: Path, go: Path, typescript: Path
) -> None:
    """Issue 7: proposed from TypeScript; its certificate is genuine in both, a changed one not."""
    genuine, changed = tmp_path / "genuine.cert", tmp_path / "changed.cert"
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        words = ("propose", cluster.cluster_file, PROTOS, "abroad", "7", "bonjour")
        told = await asyncio.to_thread(say, tmp_path, "node", typescript, *words)
        assert told.returncode == 0, told.stderr
        assert "abroad/7" in told.stdout
        async with Client(cluster.cluster) as client:
            decision = await client.get("abroad", 7)
        cluster_file = cluster.cluster_file
    assert decision is not None
    assert decision.value == b"bonjour"
    data = encode_decision(decision)
    genuine.write_bytes(data)
    changed.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    for verifier in ((go,), ("node", typescript, "verify")):
        assert "genuine" in say(tmp_path, *verifier, cluster_file, genuine).stdout
        refused = say(tmp_path, *verifier, cluster_file, changed)
        assert refused.returncode == 1
        assert "not valid" in refused.stderr
