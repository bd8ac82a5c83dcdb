"""`qbft doctor` (issue 7, running it): what it sees of a node that has not been started.

Each verdict is brought about, and the words that say what to do about it are held to.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from qbft.cluster import Cluster
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import (
    DecisionServiceServicer,
    add_DecisionServiceServicer_to_server,
)
from qbft_server import doctor
from qbft_server.cli import main
from qbft_server.identity import TlsIdentity, load_tls_identity
from qbft_server.initialise import init_cluster
from qbft_server.listener_tls import ListenerTls
from qbft_server.local import LocalCluster
from qbft_server.peers.tls import peer_roots

pytestmark = pytest.mark.real_clock


@pytest.fixture
def node_file(tmp_path: Path) -> Iterator[Path]:
    """A node of a fresh cluster, on ports that nobody has."""
    cluster = LocalCluster.create(tmp_path / "cluster")
    yield cluster.directory / "node-0" / "node.toml"
    cluster._claims.close()


def ask(node_file: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """The exit code, the findings by name, and what was said beside them."""
    code = main(["doctor", str(node_file), "--json"])
    told = capfd.readouterr()
    findings = [json.loads(line) for line in told.out.splitlines()]
    return code, {finding["what"]: finding for finding in findings}, told.err


def test_a_fresh_node_may_start(node_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing keeps it from running; of its peers, which are down, it is told what to do."""
    code, found, _ = ask(node_file, capfd)
    assert code == 0
    assert {found[name]["verdict"] for name in ("TLS key", "vote key", "data", "peer port")} == {
        "ok"
    }
    assert [found[f"node {peer}"]["verdict"] for peer in (1, 2, 3)] == ["warn"] * 3
    assert found["node 1"]["fix"].startswith("start it")
    assert main(["doctor", str(node_file)]) == 0
    assert "vote key" in capfd.readouterr().out


def test_what_keeps_it_from_running_is_named(
    node_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An open key, no data directory, a port that is taken: exit code 1, each with its remedy."""
    folder = node_file.parent
    (folder / "vote.key").chmod(0o644)
    (folder / "data").rename(folder / "elsewhere")
    with socket.create_server(("127.0.0.1", _client_port(node_file))):
        code, found, error = ask(node_file, capfd)
    assert code == 1
    assert "to be fixed: vote key, data, client port" in error
    assert "chmod 600" in found["vote key"]["seen"]
    assert "qbft init --replace" in found["data"]["fix"]
    assert "in use" in found["client port"]["seen"]


def test_what_would_only_be_seen_at_its_start_is_named(
    node_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A token that others may read, another validator's data, no OpenTelemetry: each fails."""
    folder = node_file.parent
    token = folder / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o644)
    (folder / "data").rename(folder / "own")
    (folder / "data").symlink_to(folder.parent / "node-1" / "data")
    more = f'\n[[clients.grants]]\nname = "it"\ntoken_file = "{token}"\nread = [""]\n'
    node_file.write_text(node_file.read_text() + more)
    code, found, error = ask(node_file, capfd)
    assert code == 1
    assert "to be fixed: clients, data" in error
    assert str(token) in found["clients"]["seen"]
    assert found["data"]["seen"].endswith("belongs to validator 1, this node is 0")


def test_an_application_that_is_away_is_a_warning(
    node_file: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The node starts, but has no vote in the application's topics; one that is there is well."""
    text = node_file.read_text()
    for address in (f"unix:{tmp_path}/application.sock", "127.0.0.1:1"):
        node_file.write_text(f'{text}\n[application]\naddress = "{address}"\n')
        code, found, _ = ask(node_file, capfd)
        assert code == 0
        assert found["application"]["verdict"] == "warn"
        assert found["application"]["seen"].startswith(f"{address}: ")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        node_file.write_text(f'{text}\n[application]\naddress = "{address}"\n')
        assert ask(node_file, capfd)[1]["application"]["verdict"] == "ok"


@pytest.mark.parametrize(("spec", "verdict"), [(None, "fail"), (object(), "ok")])
def test_traces_without_their_packages_keep_it_from_running(
    node_file: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spec: object,
    verdict: str,
) -> None:
    """They are an extra; the remedy names it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    more = '\n[traces]\nendpoint = "http://127.0.0.1:4318/v1/traces"\n'
    node_file.write_text(node_file.read_text() + more)
    _, found, _ = ask(node_file, capfd)
    assert found["traces"]["verdict"] == verdict
    assert ("qbft[otel]" in found["traces"]["fix"]) is (spec is None)


def test_settings_that_cannot_be_read_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without them there is nothing to examine: exit code 2."""
    assert main(["doctor", str(tmp_path / "none.toml")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (("SYNC_MS_MAX", -1.0), ("disk speed", "each vote waits so long: use a faster disk")),
        (("FREE_BYTES_MIN", 1 << 90), ("disk space", "on a full disk the node stops voting")),
        (("CLOCK_DRIFT_MAX", -1.0), ("clock", "let the time service finish its correction")),
    ],
)
def test_what_runs_badly_is_a_warning(
    node_file: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: tuple[str, float],
    expected: tuple[str, str],
) -> None:
    """Within its limit each is well, beyond it a warning with what to do; the node may start."""
    what, fix = expected
    roomy = {"SYNC_MS_MAX": 1e9, "FREE_BYTES_MIN": 0, "CLOCK_DRIFT_MAX": 1e9}
    for name, enough in roomy.items():
        monkeypatch.setattr(doctor, name, enough)
    _, found, _ = ask(node_file, capfd)
    assert (found[what]["verdict"], found[what]["fix"]) == ("ok", "")
    monkeypatch.setattr(doctor, *limit)
    code, found, _ = ask(node_file, capfd)
    assert code == 0
    assert (found[what]["verdict"], found[what]["fix"]) == ("warn", fix)


def test_too_few_files_and_a_disk_that_takes_nothing_keep_it_from_running(
    node_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both fail; of files it is said how many are wanted (docs/OPERATIONS.md, LimitNOFILE)."""

    def refuse(_: Path) -> list[float]:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor, "_syncs", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    code, found, error = ask(node_file, capfd)
    assert code == 1
    assert "to be fixed: disk speed, open files" in error
    assert found["disk speed"]["seen"].endswith(": Read-only file system")
    assert found["disk speed"]["fix"] == "make it writable for this user"
    assert found["open files"]["seen"] == "at most 100 open"
    assert found["open files"]["fix"] == "allow 228 or more (ulimit -n)"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (228, 228))
    assert ask(node_file, capfd)[1]["open files"]["verdict"] == "ok"


def test_nodes_that_survive_nothing_are_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With f = 0 each node is one that must not fail."""
    init_cluster(tmp_path / "c", 3)
    _, found, _ = ask(tmp_path / "c" / "node-0" / "node.toml", capfd)
    assert found["cluster"]["seen"] == "3 nodes, survives 0 faulty"
    assert found["cluster"]["verdict"] == "warn"
    assert found["cluster"]["fix"] == "four nodes or more survive a faulty one"


class Peer(DecisionServiceServicer):
    """The ports of a node without a node behind, whose clock is ahead; counts what is opened."""

    def __init__(self, cluster: Cluster, index: int, ahead_ms: int = 0) -> None:
        self.cluster, self.index, self.ahead_ms = cluster, index, ahead_ms
        self.streams = 0

    async def GetStatus(self, request: Any, context: Any) -> pb.GetStatusReply:  # noqa: N802
        """What its clock shows."""
        return pb.GetStatusReply(clock_unix_ms=round(time.time() * 1_000) + self.ahead_ms)

    @asynccontextmanager
    async def serving(
        self, identity: TlsIdentity, *, at_peer_port: TlsIdentity | None = None, roots: bytes = b""
    ) -> AsyncIterator[None]:
        """Listen as that identity, or as another one at the peer port, or letting others in."""
        validator = self.cluster.validators[self.index]
        peers, clients = aio.server(), aio.server()
        peers.add_generic_rpc_handlers((_Counting(self),))
        roots = roots or peer_roots(self.cluster, self.index, identity)
        tls = ListenerTls(at_peer_port or identity, roots)
        peers.add_secure_port(validator.peer, tls.credentials())
        add_DecisionServiceServicer_to_server(self, clients)
        add_HealthServicer_to_server(health.aio.HealthServicer(), clients)
        clients.add_secure_port(validator.client, ListenerTls(identity).credentials())
        await peers.start()
        await clients.start()
        try:
            yield
        finally:
            await peers.stop(None)
            await clients.stop(None)


class _Counting(grpc.GenericRpcHandler):  # type: ignore[misc] # no types
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def service(self, handler_call_details: Any) -> None:
        self._peer.streams += 1


async def findings_of(node_file: Path) -> dict[str, doctor.Finding]:
    """What is found, by name."""
    return {finding.what: finding for finding in await doctor.examine(node_file)}


def cluster_of(node_file: Path) -> tuple[Cluster, list[TlsIdentity]]:
    """The cluster of a node's file and its nodes' identities."""
    folder = node_file.parent.parent
    cluster = Cluster.load(folder / "cluster.toml")
    return cluster, [
        load_tls_identity(folder / f"node-{index}" / "tls.key", validator)
        for index, validator in enumerate(cluster.validators)
    ]


async def test_a_peer_proves_its_key_at_both_ports(node_file: Path) -> None:
    """The handshake of a link is made, on both sides' keys, and no stream: nothing has joined."""
    cluster, identities = cluster_of(node_file)
    peer = Peer(cluster, 1)
    async with peer.serving(identities[1]):
        found = await findings_of(node_file)
    address = cluster.validators[1]
    assert found["node 1"].seen == f"{address.peer} and {address.client} prove its TLS key"
    assert found["node 1"].verdict is doctor.Verdict.OK
    assert peer.streams == 0


@pytest.mark.parametrize("who", ["shows another's key", "lets another in"])
async def test_a_peer_port_with_a_wrong_key_is_named(
    node_file: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Its client port alone says nothing of links: a node that cannot link counts as down."""
    monkeypatch.setattr(doctor, "REACH_SECONDS", 1.0)
    cluster, identities = cluster_of(node_file)
    wrong: dict[str, Any] = {"at_peer_port": identities[2]}
    if who == "lets another in":
        wrong = {"roots": identities[2].certificate_pem}
    async with Peer(cluster, 1).serving(identities[1], **wrong):
        finding = (await findings_of(node_file))["node 1"]
    address = cluster.validators[1].peer
    assert finding.verdict is doctor.Verdict.WARN
    assert finding.seen == f"{address} does not prove its TLS key, or does not take ours"
    assert finding.fix.startswith("give both nodes the same cluster file, and each its own key")


async def test_a_peer_cannot_be_proven_without_our_own_key(node_file: Path) -> None:
    """Links are mutual; that our own key is missing is the finding that fails."""
    cluster, identities = cluster_of(node_file)
    (node_file.parent / "tls.key").unlink()
    async with Peer(cluster, 1).serving(identities[1]):
        found = await findings_of(node_file)
    assert found["TLS key"].verdict is doctor.Verdict.FAIL
    assert found["TLS key"].fix == "put this validator's own key there"
    assert found["node 1"].verdict is doctor.Verdict.WARN
    assert found["node 1"].seen.endswith("without our TLS key no more can be seen")


async def test_a_peers_clock_that_is_far_off_is_a_warning(node_file: Path) -> None:
    """Votes go by no clock, but people do, who read several nodes' logs side by side."""
    cluster, identities = cluster_of(node_file)
    async with Peer(cluster, 1).serving(identities[1]):
        near = (await findings_of(node_file))["peers' clocks"]
        async with Peer(cluster, 2, ahead_ms=3_600_000).serving(identities[2]):
            far = (await findings_of(node_file))["peers' clocks"]
    alone = (await findings_of(node_file))["peers' clocks"]
    assert near.verdict is doctor.Verdict.OK
    assert near.seen.startswith("node 1 ")
    assert far.verdict is doctor.Verdict.WARN
    assert re.search(r"node 2 \+(3599|3600)\d{3} ms \(within \d+\)", far.seen)
    assert far.fix == "run a time service on every node: logs and diagrams go by these clocks"
    assert (alone.verdict, alone.seen) == (doctor.Verdict.OK, "no other node tells its own")


def _client_port(node_file: Path) -> int:
    text = node_file.read_text()
    return int(text.partition('client = "127.0.0.1:')[2].partition('"')[0])
