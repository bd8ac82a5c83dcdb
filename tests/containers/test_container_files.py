"""What Dockerfile, .dockerignore and docker-compose.yml promise, read from their text."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "server/Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
NODES = range(4)


def _final_stage() -> list[str]:
    """The instructions of the image that runs, continued lines joined, without comments."""
    stage = DOCKERFILE.split("\nFROM ")[-1]
    text = re.sub(r"^#.*\n", "", stage, flags=re.MULTILINE).replace("\\\n", " ")
    return text.splitlines()


def _instruction(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in _final_stage() if line.startswith(name)]


def _service(name: str) -> str:
    """A service's text in the compose file."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, flags=re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_image_runs_without_privileges_and_stops_gracefully() -> None:
    """Issue "Four nodes decide", stage 4: slim, non-root, health check; SIGTERM reaches qbft."""
    assert DOCKERFILE.count("FROM python:3.12-slim") == DOCKERFILE.count("\nFROM ") == 2
    assert _instruction("USER") == ["qbft"]
    assert _instruction("STOPSIGNAL") == ["SIGTERM"]
    assert _instruction("ENTRYPOINT") == ['["qbft"]']  # exec form: no shell before it
    assert _instruction("CMD") == ['["node", "/var/lib/qbft/node.toml"]']
    (health,) = _instruction("HEALTHCHECK")
    assert '["python", "-m", "qbft_server.probe", "/var/lib/qbft/node.toml"]' in health


def test_the_image_gets_what_the_wheel_is_built_from_and_no_more() -> None:
    """Stage 4: no secret in the image, wherever in the checkout an operator made a cluster."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert set(rules[1:]) == {
        "!pyproject.toml",
        "!README.md",
        "!qbft",
        "!server/qbft_server",
        "!server/compose",
        "**/__pycache__",
    }


def test_a_build_of_the_root_finds_the_dockerfile() -> None:
    """`docker build .` is the same image as the compose file's."""
    assert (ROOT / "Dockerfile").read_text() == DOCKERFILE


def test_each_node_mounts_its_own_volume_alone() -> None:
    """HARDENING W8: no container can reach the keys or votes of another."""
    for node in NODES:
        (volumes,) = re.findall(r"^    volumes: (.*)$", _service(f"node{node}"), flags=re.MULTILINE)
        own = f'"node{node}:/var/lib/qbft", "beside{node}:/run/qbft"'
        assert volumes == f'["cluster:/etc/qbft:ro", {own}]'


def test_ports_are_published_on_loopback_alone() -> None:
    """OPERATIONS, ports: nothing of a cluster on a laptop is offered to its network."""
    published = re.findall(r'^    ports: \["(.*)"\]$', COMPOSE, flags=re.MULTILINE)
    assert published == [
        *(f"127.0.0.1:{7401 + 10 * node}:7401" for node in NODES),
        "127.0.0.1:9090:9090",
        "127.0.0.1:3000:3000",
    ]


def test_prometheus_scrapes_every_node() -> None:
    """DESIGN 2: the compose file's profile `observability`."""
    config = (ROOT / "server/observability/prometheus.yml").read_text()
    targets = re.findall(r'"(node\d:\d+)"', config)
    assert targets == [f"node{node}:7402" for node in NODES]
    assert "QBFT_LISTEN__ADMIN: 0.0.0.0:7402" in COMPOSE
