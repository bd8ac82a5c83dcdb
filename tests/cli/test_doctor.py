"""`qbft doctor` (issue 7, running it): what it sees of a node that has not been started."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qbft_server.cli import main
from qbft_server.local import LocalCluster

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


def test_settings_that_cannot_be_read_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without them there is nothing to examine: exit code 2."""
    assert main(["doctor", str(tmp_path / "none.toml")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def _client_port(node_file: Path) -> int:
    text = node_file.read_text()
    return int(text.partition('client = "127.0.0.1:')[2].partition('"')[0])
