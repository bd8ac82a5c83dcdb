"""Clusters of real processes on one machine (`qbft_server.local`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbft_server.local import LocalCluster


@pytest.mark.e2e
async def test_a_shell_set_up_for_another_cluster_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's QBFT_CLUSTER, or a node's own settings, must not reach every node that is started.

    Settings that nodes share do: they are the way to tune them.
    """
    monkeypatch.setenv("QBFT_CLUSTER", str(tmp_path / "another" / "cluster.toml"))
    monkeypatch.setenv("QBFT_VALIDATOR", "3")
    monkeypatch.setenv("QBFT_LOG__LEVEL", "debug")
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        assert cluster.running == (0, 1, 2, 3)
        assert '"validator": 2' in cluster.log(2).read_text()
