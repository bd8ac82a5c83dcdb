"""The health check of containers: what it takes for alive, over each kind of listener. 4 s."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from qbft.errors import QbftError
from qbft_server.initialise import NODE_FILE
from qbft_server.local import LocalCluster, wait_until
from qbft_server.probe import probe

pytestmark = pytest.mark.e2e


def _is_alive(node_file: Path) -> bool:
    try:
        probe(node_file)
    except QbftError:
        return False
    return True


def _command(node_file: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qbft_server.probe", node_file],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="tls"),
        pytest.param({"QBFT_CLIENTS__INSECURE_PLAINTEXT": "true"}, id="plaintext"),
        pytest.param({"QBFT_CLIENTS__AUTHORITY": "tls.crt"}, id="client certificates"),
        pytest.param({"QBFT_CLIENTS__TOKENS": '["0123456789abcdef"]'}, id="tokens"),
    ],
)
async def test_alive_without_a_quorum_and_dead_when_it_stops(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 3, health: '' is alive, a quorum is not asked for; the probe respects TLS."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        node_file = cluster.directory / "node-0" / NODE_FILE
        with pytest.raises(QbftError, match=r"refused"):
            probe(node_file)
        await cluster.start(0)  # one of four
        await wait_until(lambda: _is_alive(node_file), "a living node")
        assert _command(node_file, environment).returncode == 0
        await cluster.stop(0)
        dead = _command(node_file, environment)
        assert dead.returncode == 1
        assert dead.stderr.count("\n") == 1


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """Bad input: one clear line and a non-zero exit."""
    missing = _command(tmp_path / "node.toml", {})
    assert missing.returncode == 1
    assert missing.stderr == f"{tmp_path}/node.toml: cannot read the node file: " + (
        "No such file or directory\n"
    )
