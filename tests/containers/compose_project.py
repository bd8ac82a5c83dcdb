"""The project's own docker-compose.yml, driven as an operator would, on an engine that answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qbft.cluster import Cluster

ROOT = Path(__file__).parents[2]
IMAGE_VARIABLE = "QBFT_TEST_IMAGE"
NETWORK = "10.77.8"
"""Not the one that the file itself takes, so that a cluster of the developer's may go on."""

CLIENT_PORT = 7401
SECONDS = 180.0
_POLL_SECONDS = 0.5

# No published ports: they may be taken here, and the tests speak to nodes from inside.
_OVERRIDE = "services:\n" + "".join(f"  node{i}:\n    ports: !reset []\n" for i in range(4))


class UnavailableError(Exception):
    """Containers cannot run here; the message says why."""


def image_to_test() -> str:
    """The image that QBFT_TEST_IMAGE names, or one that is built now.

    Raises:
        UnavailableError: there is no client, no engine, or it cannot build.
    """
    if shutil.which("docker") is None:
        raise UnavailableError("there is no docker client")
    _try("docker", "compose", "version", reason="docker compose is not installed")
    _try("docker", "version", reason="no container engine answers")
    image = os.environ.get(IMAGE_VARIABLE)
    if image:
        return image
    image = "qbft-node:test"
    _try(
        *("docker", "build", "-f", "server/Dockerfile", "-t", image, "."),
        reason=f"the image cannot be built here, and {IMAGE_VARIABLE} names none",
    )
    return image


def _try(*command: str, reason: str) -> None:
    result = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=900,
    )
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise UnavailableError(f"{reason}: {said[-1] if said else result.returncode}")


class ComposeProject:
    """One run of the compose file under a name of its own."""

    def __init__(self, image: str, override: Path) -> None:
        self.name = f"qbft-test-{os.getpid()}"
        override.write_text(_OVERRIDE)
        self._files = ("-f", str(ROOT / "docker-compose.yml"), "-f", str(override))
        self._environment = {**os.environ, "NODE_IMAGE": image, "NODE_NETWORK": NETWORK}

    def compose(self, *arguments: str, is_checked: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose ...` and see that it succeeds."""
        result = self._run(*arguments)
        if is_checked and result.returncode:
            raise AssertionError(
                f"docker compose {' '.join(arguments)}: exit code {result.returncode}\n"
                f"{result.stdout[-2_000:]}\n{result.stderr[-4_000:]}"
            )
        return result

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", "-p", self.name, *self._files, *arguments],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )

    def inside(self, node: int, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a node's container, however it ends."""
        return self.compose("exec", "-T", f"node{node}", *command, is_checked=False)

    def ask(self, node: int, *command: str) -> dict[str, Any]:
        """Run a `qbft` command with --json in a node's container; gives the object it prints."""
        result = self.inside(node, "qbft", *command, "--json")
        assert result.returncode == 0, result.stderr
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def up(self) -> None:
        """`docker compose up`, until every node is healthy."""
        self.compose("up", "-d", "--wait", "--no-build", "--pull", "never")

    def wait_for_answer(self, node: int, *command: str) -> dict[str, Any]:
        """Ask until the command succeeds.

        Raises:
            AssertionError: it did not in time.
        """
        deadline = time.monotonic() + SECONDS
        while True:
            result = self.inside(node, "qbft", *command, "--json")
            if result.returncode == 0:
                answer: dict[str, Any] = json.loads(result.stdout)
                return answer
            assert time.monotonic() < deadline, f"{command} in vain: {result.stderr}"
            time.sleep(_POLL_SECONDS)

    def state(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container: State of `docker inspect`."""
        container = self.compose("ps", "-a", "-q", service).stdout.strip()
        result = subprocess.run(
            ["docker", "inspect", container],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        state: dict[str, Any] = json.loads(result.stdout)[0]["State"]
        return state

    def disconnect(self, node: int) -> None:
        """Pull a node's cable."""
        self._network("disconnect", f"{self.name}_default", self._container(node))

    def connect(self, node: int) -> None:
        """Plug it in again, at its own address."""
        network, address = f"{self.name}_default", f"{NETWORK}.{10 + node}"
        self._network("connect", "--ip", address, network, self._container(node))

    def _container(self, node: int) -> str:
        return self.compose("ps", "-a", "-q", f"node{node}").stdout.strip()

    def _network(self, *arguments: str) -> None:
        result = subprocess.run(
            ["docker", "network", *arguments],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
        assert result.returncode == 0, result.stderr

    def cluster(self) -> Cluster:
        """The cluster as it is reached from outside its containers, at the network's addresses."""
        cluster = Cluster.parse(self.inside(0, "cat", "/etc/qbft/cluster.toml").stdout)
        validators = tuple(
            validator.model_copy(update={"client": f"{NETWORK}.{10 + node}:{CLIENT_PORT}"})
            for node, validator in enumerate(cluster.validators)
        )
        return cluster.model_copy(update={"validators": validators})

    def left_behind(self) -> str:
        """Containers and volumes of this project that still exist."""
        label = f"label=com.docker.compose.project={self.name}"
        found = ""
        for command in (("ps", "-a", "-q"), ("volume", "ls", "-q")):
            found += subprocess.run(
                ["docker", *command, "--filter", label],
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            ).stdout
        return found


@contextmanager
def running_project(image: str, directory: Path) -> Iterator[ComposeProject]:
    """Four healthy nodes; nothing of them is left when the block ends."""
    project = ComposeProject(image, directory / "override.yml")
    try:
        project.up()
        yield project
    finally:
        project.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
        assert not project.left_behind()
