"""Four nodes in real containers, from the project's own files; skipped where none can run.

One to two minutes with an engine. To run it: an engine at DOCKER_HOST or at its usual socket, with
`docker compose`; the image is built, or taken from QBFT_TEST_IMAGE.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from containers.compose_project import ComposeProject

from qbft.cluster import Cluster
from qbft.verify import verify

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("containers")]

TOPIC = "prices/btc"
NODES = 4


def _propose(project: ComposeProject, heights: range) -> dict[int, str]:
    """Have heights decided by asking node 0; gives the certificate files in its container."""
    files = {}
    for height in heights:
        files[height] = f"/tmp/{height}.cert"  # noqa: S108 - a container's own
        decided = project.ask(
            0, "propose", f"{TOPIC}/{height}", f"value {height}", "--out", files[height]
        )
        assert decided["value"] == f"value {height}"
    return files


def test_a_killed_node_comes_back(project: ComposeProject, tmp_path: Path) -> None:
    """Issue "Four nodes decide", stage 4: decide, lose a node, decide, get it back, verify."""
    files = _propose(project, range(1, 3))

    project.compose("kill", "node3")
    files |= _propose(project, range(3, 7))
    status = project.ask(0, "status")
    assert status["quorum_reachable"]
    assert [node["answers"] for node in status["nodes"]] == [True, True, True, False]

    project.compose("start", "node3")
    for height in files:
        caught_up = project.wait_for_answer(0, "get", f"{TOPIC}/{height}", "--node", "3")
        assert caught_up["value"] == f"value {height}"
    project.up()  # and all are healthy

    cluster_file = tmp_path / "cluster.toml"
    cluster_file.write_text(project.inside(1, "cat", "/etc/qbft/cluster.toml").stdout)
    cluster = Cluster.load(cluster_file)
    for height, file in files.items():
        encoded = project.inside(0, "base64", file).stdout
        decision = verify(base64.b64decode(encoded), cluster)
        assert (decision.instance.height, decision.value) == (height, b"value %d" % height)


def test_the_cluster_is_made_once(project: ComposeProject) -> None:
    """Stage 4: the init service never overwrites; a second `up` is the same cluster."""
    before = project.inside(0, "cat", "/etc/qbft/cluster.toml").stdout
    again = project.compose("run", "--rm", "init")
    assert "the cluster exists; nothing to do" in again.stdout
    project.up()
    assert project.inside(0, "cat", "/etc/qbft/cluster.toml").stdout == before
    assert project.state("init")["ExitCode"] == 0


def test_a_node_has_its_own_secrets_only(project: ComposeProject) -> None:
    """Stage 4, non-root; HARDENING W8: no container holds the keys of two nodes."""
    keys = set()
    for node in range(NODES):
        assert not project.inside(node, "find", "/", "-xdev", "-name", "*.key").stdout
        mine = project.inside(node, "find", "/var/lib/qbft", "/etc/qbft", "-name", "*.key").stdout
        assert set(mine.split()) == {"/var/lib/qbft/vote.key", "/var/lib/qbft/tls.key"}
        keys.add(project.inside(node, "cat", "/var/lib/qbft/vote.key").stdout)
        assert project.inside(node, "id", "-u").stdout.strip() == "10001"
        for path in ("/etc/qbft/cluster.toml", "/opt/qbft/bin/qbft", "/new"):
            written = project.inside(node, "sh", "-c", f"echo >> {path}")
            assert written.returncode != 0
            assert "cannot create" in written.stderr
    assert len(keys) == NODES


def test_clients_of_this_machine_have_a_cluster_file(project: ComposeProject) -> None:
    """OPERATIONS, with docker compose: the same cluster at the published ports."""
    inside, outside = (
        Cluster.parse(project.inside(0, "cat", f"/etc/qbft/{name}").stdout)
        for name in ("cluster.toml", "localhost.toml")
    )
    assert inside.roster.cluster_id == outside.roster.cluster_id
    addresses = [validator.client for validator in outside.validators]
    assert addresses == [f"127.0.0.1:{7401 + 10 * node}" for node in range(NODES)]


def test_a_stopped_node_ends_well(project: ComposeProject) -> None:
    """DESIGN, async; stage 3: SIGTERM ends a node with exit code 0, long before it is killed."""
    project.compose("stop", "node2")
    state = project.state("node2")
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    assert '"event": "stopped"' in project.compose("logs", "--no-log-prefix", "node2").stdout
    project.compose("start", "node2")
    project.up()
