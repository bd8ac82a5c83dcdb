"""examples/locks.py, config_store.py and propose.py as a user runs them, at real nodes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.service_clients import QUIET, SECONDS

from qbft.cluster import Prefix
from qbft_server.local import LocalCluster

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXAMPLES_INSIDE, CLUSTER_INSIDE = "/examples/", "/etc/qbft/cluster.toml"
"""Where a container has what is elsewhere here."""

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
    "services"
]
WORKERS = ("worker0", "worker1")
TURNS = 3


@asynccontextmanager
async def running(*words: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program, of which nothing is left when the block ends, nor of what it has started."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `python` is this one
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        env={**os.environ, "PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def told(*words: str | Path) -> list[str]:
    """The lines of a program that has to end well."""
    async with running(*words) as process:
        out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode().splitlines()


def command_of(service: str, cluster_file: Path) -> list[str]:
    """What a service of the compose file runs, with the places of this machine."""
    of = SERVICES[service]
    return [
        word.replace(EXAMPLES_INSIDE, f"{EXAMPLES}/")
        .replace(CLUSTER_INSIDE, str(cluster_file))
        .replace("$$", "$")
        for word in (*of["entrypoint"], *of["command"])
    ]


@asynccontextmanager
async def ordered_cluster(directory: Path) -> AsyncIterator[LocalCluster]:
    """Four nodes, with the ordered prefixes that the compose file's cluster has."""
    async with (
        asyncio.timeout(SECONDS),
        LocalCluster.create(directory, environment=QUIET, ordered="locks/") as cluster,
    ):
        config = Prefix(prefix="config/", ordered=True)
        prefixes = (*cluster.cluster.prefixes, config)
        changed = cluster.cluster.model_copy(update={"prefixes": prefixes})
        cluster.cluster_file.write_text(changed.dump())
        await cluster.start()
        await cluster.wait_until_ready()
        yield cluster


@pytest.mark.e2e
async def test_the_examples_work_at_real_nodes(tmp_path: Path) -> None:
    """What each module's docstring and the compose profiles promise, by the programs' own words."""
    async with ordered_cluster(tmp_path / "cluster") as cluster:
        await _propose(cluster.cluster_file)
        await _settings(cluster.cluster_file)
        await _locks(cluster.cluster_file)


async def _propose(cluster_file: Path) -> None:
    """It says what was decided, and what each node says of it."""
    lines = await told(sys.executable, EXAMPLES / "propose.py", cluster_file)
    assert lines[0].endswith("b'64123.50'")
    assert [line.split()[:2] for line in lines[1:]] == [["node", str(n)] for n in range(4)]
    assert any(line.endswith("b'64123.50'") for line in lines[1:])  # others may lag


async def _settings(cluster_file: Path) -> None:
    """Set, read, compared and set, removed; a watcher, as the compose profile has one, sees all."""
    store = (sys.executable, EXAMPLES / "config_store.py", cluster_file)
    async with running(*command_of("config", cluster_file)) as watcher:
        assert await told(*store, "set", "limits/rate", "100") == ["set"]
        (first,) = await told(*store, "get", "limits/rate")
        value, version = first.split()
        assert value == "100"
        assert await told(*store, "set", "limits/rate", "200", version) == ["set"]
        late = await told(*store, "set", "limits/rate", "300", version)
        assert late == ["not set: it has changed"]
        (second,) = await told(*store, "get", "limits/rate")
        assert await told(*store, "remove", "limits/rate") == ["removed"]
        assert await told(*store, "get", "limits/rate") == ["None None"]
        assert watcher.stdout is not None
        seen = [(await watcher.stdout.readline()).decode().strip() for _ in range(3)]
    assert seen == [f"limits/rate {each}" for each in (first, second, "None None")]


async def _locks(cluster_file: Path) -> None:
    """Two workers, as the compose profile has them, never hold it at once; tokens grow."""
    script = [command_of(worker, cluster_file) for worker in WORKERS]
    log = cluster_file.with_name("workers.log")
    both = [["sh", "-c", f'exec "$@" >> {log}', "sh", *words] for words in script]
    await asyncio.gather(*(told(*words) for words in both))
    lines = log.read_text().splitlines()
    tokens = [line.split()[0] for line in lines[::2]]
    assert lines == [f"{token} {what}" for token in tokens for what in ("holds it", "lets go")]
    places = [tuple(map(int, token.split("."))) for token in tokens]
    assert places == sorted(set(places))
    assert len(places) == len(WORKERS) * TURNS


def test_the_compose_profiles_wait_for_all_nodes_and_hold_no_secret() -> None:
    """Issue 7, each example with its profile: clients, beside which no node's folder is mounted."""
    for service, profile in {**dict.fromkeys(WORKERS, "locks"), "config": "config"}.items():
        of = SERVICES[service]
        assert of["profiles"] == [profile]
        healthy = {f"node{node}": {"condition": "service_healthy"} for node in range(4)}
        assert of["depends_on"] == healthy
        assert of["volumes"] == ["./examples:/examples:ro", "cluster:/etc/qbft:ro"]
        assert (of["read_only"], of["cap_drop"]) == (True, ["ALL"])
        readme = (EXAMPLES / "README.md").read_text()
        assert f"--profile {profile} up" in readme
