"""Verifiers and clients in Go and TypeScript, written from docs/PROTOCOL.md (issue 7).

Skipped, visibly and each by itself, where a toolchain is not there, or the registry of its packages
is not reached.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import QUIET
from grpc import aio

from qbft.client import Client
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader
from qbft.wire.decisions import encode_decision
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2 as messages
from qbft_server.local import LocalCluster

EXAMPLES = Path(__file__).parents[2] / "examples"
PROTOS = EXAMPLES.parent / "proto"
GO, TYPESCRIPT = EXAMPLES / "go", EXAMPLES / "typescript"
GO_CLIENT = GO / "cmd" / "qbft-propose"
TOPIC = "abroad"
SECONDS = 300.0

pytestmark = pytest.mark.xdist_group("other languages")

Command = tuple[str | Path, ...]


def say(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command there, to its end; protoc is the one that this project has in Python."""
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PROTOC": f"{sys.executable} -m grpc_tools.protoc"},
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
def go_client(go: Path) -> Path:
    """The client in Go, its stubs made from the published proto files, with its modules."""
    if say(GO_CLIENT, "go", "mod", "download").returncode:
        pytest.skip("Go cannot have the client's modules here")
    made = say(GO_CLIENT, "go", "generate")
    assert made.returncode == 0, made.stderr
    program = go.parent / "qbft-propose"
    built = say(GO_CLIENT, "go", "build", "-o", program, ".")
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
            shutil.rmtree(TYPESCRIPT / "node_modules", ignore_errors=True)  # half of it is none
            pytest.skip("npm cannot install the packages here")
    built = say(TYPESCRIPT, "npm", "run", "build")
    assert built.returncode == 0, built.stdout
    return TYPESCRIPT / "dist" / "cli.js"


@pytest.fixture(params=["go", "typescript"])
def verifier(request: pytest.FixtureRequest) -> Command:
    """How a certificate is verified in a language: this, the cluster file, the certificate's."""
    program: Path = request.getfixturevalue(request.param)
    return (program,) if request.param == "go" else ("node", program, "verify")


@pytest.fixture(params=["go_client", "typescript"])
def proposer(request: pytest.FixtureRequest) -> tuple[Command, Command]:
    """How a value is proposed in a language: what stands before the cluster file, what after."""
    program: Path = request.getfixturevalue(request.param)
    if request.param == "go_client":
        return (program,), ()
    return ("node", program, "propose"), (PROTOS,)


@pytest.mark.usefixtures("go")
def test_go_agrees_with_the_vectors() -> None:
    """PROTOCOL.md, sections 2 to 8: another hand, another language, the same verdicts."""
    done = say(GO, "go", "test", "./...")
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("go_client")
def test_the_client_in_go_takes_no_answer_about_another_instance() -> None:
    """A genuine certificate of another height, or one without its value, answers nothing."""
    done = say(GO_CLIENT, "go", "test", ".")
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("typescript")
def test_typescript_agrees_with_the_vectors() -> None:
    """PROTOCOL.md, sections 2 to 8: the same in TypeScript, and what of an answer is believed."""
    done = say(TYPESCRIPT, "node", "--test", "dist/")
    assert done.returncode == 0, done.stdout


@pytest.mark.e2e
async def test_what_a_living_cluster_decides_is_proven_abroad(
    tmp_path: Path, verifier: Command
) -> None:
    """Issue 7: a certificate of real nodes is genuine in each language, a changed one is not."""
    genuine, changed = tmp_path / "genuine.cert", tmp_path / "changed.cert"
    async with LocalCluster.create(tmp_path / "cluster", environment=QUIET) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client:
            data = encode_decision(await client.propose(TOPIC, 7, b"bonjour"))
    genuine.write_bytes(data)
    changed.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    assert "genuine" in say(tmp_path, *verifier, cluster.cluster_file, genuine).stdout
    refused = say(tmp_path, *verifier, cluster.cluster_file, changed)
    assert refused.returncode == 1
    assert "not valid" in refused.stderr


@asynccontextmanager
async def _liar(cluster: LocalCluster, node: int, answer: bytes) -> AsyncIterator[None]:
    """At the place of a node, with its key: whatever is proposed, it answers the same bytes."""
    folder = cluster.directory / f"node-{node}"
    pair = ((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())

    async def reply(_request: bytes, _context: object) -> bytes:
        return answer

    propose = grpc.method_handlers_generic_handler(
        "qbft.v1.DecisionService", {"Propose": grpc.unary_unary_rpc_method_handler(reply)}
    )
    server = aio.server()
    server.add_generic_rpc_handlers((propose,))
    credentials = grpc.ssl_server_credentials([pair])
    server.add_secure_port(cluster.cluster.validators[node].client, credentials)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.mark.e2e
async def test_a_client_abroad_asks_on_where_a_node_lies_or_is_down(
    tmp_path: Path, proposer: tuple[Command, Command]
) -> None:
    """Proposed in each language: at a healthy cluster, at a liar's, at one without its leader.

    The liar leads round 1, so it is asked first, and gives a genuine certificate of another height.
    """
    before, after = proposer
    async with LocalCluster.create(tmp_path / "cluster", environment=QUIET) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        first = service_leader(cluster.cluster.roster)
        liar = first(InstanceId(TOPIC, 7), 1)
        beyond = (
            height for height in range(8, 1_000) if first(InstanceId(TOPIC, height), 1) == liar
        )

        async def propose(height: int) -> subprocess.CompletedProcess[str]:
            words = (*before, cluster.cluster_file, *after, TOPIC, str(height), "bonjour")
            return await asyncio.to_thread(say, tmp_path, *words)

        told = await propose(7)
        assert told.returncode == 0, told.stderr
        async with Client(cluster.cluster) as client:
            decision = await client.get(TOPIC, 7)
        assert decision.value == b"bonjour"
        await cluster.kill(liar)
        old = pb.ProposeReply(decision=messages.Decision.FromString(encode_decision(decision)))
        async with _liar(cluster, liar, old.SerializeToString()):
            lied_to = await propose(next(beyond))
        for told in (lied_to, await propose(height := next(beyond))):
            assert told.returncode == 0, told.stderr
            assert f"{TOPIC}/7 " not in told.stdout
            assert "bonjour" in told.stdout
        assert f"{TOPIC}/{height} " in told.stdout
        for node in cluster.running:
            await cluster.kill(node)
        given_up = await propose(next(beyond))
        assert given_up.returncode == 1
        assert all(f"node {node}: " in given_up.stderr for node in range(4))
