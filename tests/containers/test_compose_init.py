"""server/compose/init.sh: the compose file's cluster is made once, whatever interrupts it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qbft.cluster import Cluster
from qbft_server.config import NodeConfig
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.store.store import NodeStore

SCRIPT = Path(__file__).parents[2] / "server/compose/init.sh"
NODES = range(4)
PUBLIC = "etc/qbft"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The volumes as the init service mounts them, empty."""
    for directory in (PUBLIC, *(f"init/{node}" for node in NODES)):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def _run(root: Path, tools: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(tools)] if tools else []
    places += [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": ":".join(places)}
    return subprocess.run(
        ["sh", SCRIPT, root],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


def _everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _check_whole(root: Path) -> None:
    """Every node can start: its keys are those of the one cluster file, and its store opens."""
    cluster = Cluster.load(root / PUBLIC / "cluster.toml")
    assert [v.client for v in cluster.validators] == [f"node{node}:7401" for node in NODES]
    assert {p.prefix for p in cluster.all_prefixes if p.ordered} == {"locks/", "config/"}
    assert not list((root / PUBLIC).glob("*made*"))
    for node in NODES:
        config = NodeConfig.load(root / f"init/{node}/node.toml")
        assert config.listen.peer == "0.0.0.0:7400"
        load_vote_key(config.vote_key, cluster.validators[node])
        load_tls_identity(config.tls_key, cluster.validators[node])
        store = NodeStore.open(config.data, cluster.roster.cluster_id, node)
        store.journal.close()
        for path in (config.vote_key, config.tls_key):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_second_run_changes_nothing(root: Path) -> None:
    """Issue "Four nodes decide", stage 4: one-shot init; the second `up` works."""
    assert _run(root).returncode == 0
    before = _everything(root)
    _check_whole(root)
    again = _run(root)
    assert again.stdout == "the cluster exists; nothing to do\n"
    assert _everything(root).keys() >= before.keys()
    votes = {path: data for path, data in before.items() if not path.endswith("lock")}
    assert votes.items() <= _everything(root).items()


@pytest.mark.parametrize("tool", ["cp", "mv", "sed"])
def test_an_interrupted_run_is_finished_by_the_next(root: Path, tool: str) -> None:
    """Whichever copy or rename is the last before the lights go out, one cluster comes of it.

    HARDENING W7: keys that were handed out are never replaced by others.
    """
    tools = root / "tools"
    tools.mkdir()
    stub = tools / tool
    calls = root / "calls"
    for survived in range({"cp": 8, "mv": 5, "sed": 1}[tool]):
        calls.write_text("")
        stub.write_text(
            f'#!/bin/sh\necho >> "{calls}"\n'
            f'[ "$(wc -l < "{calls}")" -le {survived} ] || exit 9\n'
            f'PATH="{os.environ["PATH"]}" exec {tool} "$@"\n'
        )
        stub.chmod(0o755)
        interrupted = _run(root, tools)
        assert interrupted.returncode == 9
        assert not (root / PUBLIC / "cluster.toml").exists()
    first_keys = [(root / f"init/{node}/vote.key").read_bytes() for node in NODES[:3]]
    assert _run(root).returncode == 0
    _check_whole(root)
    assert [(root / f"init/{node}/vote.key").read_bytes() for node in NODES[:3]] == first_keys


def test_a_lost_cluster_file_makes_no_new_cluster(root: Path) -> None:
    """HARDENING W7: where a node has keys, and maybe votes, init stops and says what to do."""
    assert _run(root).returncode == 0
    (root / PUBLIC / "cluster.toml").unlink()
    before = _everything(root)
    refused = _run(root)
    assert refused.returncode == 1
    assert "node 0 has keys, but the cluster file is lost" in refused.stderr
    assert _everything(root) == before
