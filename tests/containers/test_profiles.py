"""The profiles of docker-compose.yml, by the commands that examples/README.md has for them.

Beside the nodes of the other tests; skipped where no container can run.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable

import pytest
from containers.compose_project import ROOT, SECONDS, ComposeProject

from qbft.ordered import Position

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("containers")]

CLUSTER_FILE = "/etc/qbft/cluster.toml"
UP = ("up", "-d", "--no-build", "--pull", "never")
POLL_SECONDS = 0.5
WORKERS = ("worker0", "worker1")
TURNS = 3
LIAR = 3
ASK = (
    "import sys, urllib.request as u; print(*(u.urlopen(a).read().decode() for a in sys.argv[1:]))"
)


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


def test_prometheus_would_find_every_node(project: ComposeProject) -> None:
    """The profile `observability`, but for its images: its targets answer to these names."""
    config = (ROOT / "server/observability/prometheus.yml").read_text()
    targets = [f"http://{target}/metrics" for target in re.findall(r'"(node\d:\d+)"', config)]
    assert len(targets) == 4
    found = project.inside(0, "python", "-c", ASK, *targets)
    assert found.stdout.count("# TYPE qbft_voting gauge\n") == len(targets), found.stderr


def test_two_workers_hold_one_lock_in_turns(project: ComposeProject) -> None:
    """Issue 7, the second example: each has it three times, never both, each token higher."""
    locks = ("--profile", "locks")
    project.compose(*locks, *UP)
    _wait_until(
        lambda: all(project.state(worker)["Status"] == "exited" for worker in WORKERS),
        "the workers have had their turns",
    )
    assert [project.state(worker)["ExitCode"] for worker in WORKERS] == [0, 0]
    logs = project.compose(*locks, "logs", "--no-log-prefix", "--timestamps", *WORKERS).stdout
    said = [line.split(maxsplit=2)[1:] for line in sorted(logs.splitlines())]
    taken, given = said[::2], said[1::2]
    assert [what for _, what in taken] == ["holds it"] * TURNS * len(WORKERS)
    assert [what for _, what in given] == ["lets go"] * TURNS * len(WORKERS)
    tokens = [Position.parse(token) for token, _ in taken]
    assert tokens == [Position.parse(token) for token, _ in given]
    assert tokens == sorted(set(tokens))


def test_a_setting_is_changed_and_followed(project: ComposeProject) -> None:
    """Issue 7, the third example: who watches is told what another sets."""
    config = ("--profile", "config")
    project.compose(*config, *UP, "--wait")
    change = ("exec", "-T", "config", "python", "/examples/config_store.py", CLUSTER_FILE)
    assert project.compose(*config, *change, "set", "limits/rate", "100").stdout == "set\n"
    read = project.compose(*config, *change, "get", "limits/rate").stdout.split()
    _wait_until(
        lambda: (
            f"limits/rate {' '.join(read)}" in project.compose(*config, "logs", "config").stdout
        ),
        "the watching container has seen it",
    )
    assert read[0] == "100"
    project.compose(*config, "rm", "--stop", "--force", "config")


def test_of_four_feeds_one_lies_in_vain(project: ComposeProject) -> None:
    """Issue 7, the first example: decided is a median between honest prices, by all programs."""
    feeds = ("--env-file", str(ROOT / "examples/feeds.env"))
    project.compose(*feeds, *UP, "--wait")
    ask = ("ask", "feeds", CLUSTER_FILE, "feeds/btc", "1")
    asked = project.compose(*feeds, "exec", "-T", "feed0", "python", "/examples/feeds.py", *ask)
    report = ast.literal_eval(asked.stdout)
    honest = [price for feed, price, _ in report["observations"] if feed != LIAR]
    assert min(honest) <= report["median"] <= max(honest)
    told = f"feeds/btc/1 = {report['median'] / 100}\n"
    _wait_until(
        lambda: all(told in _log(project, feeds, f"feed{node}") for node in range(4)),
        "every program is told",
    )
    refused = project.inside(0, "qbft", "propose", "feeds/btc/2", "1", "--timeout", "3")
    assert refused.returncode != 0, "a price that no feed has signed is decided"
    project.compose(*feeds, "rm", "--stop", "--force", *(f"feed{node}" for node in range(4)))
    project.up()  # and the nodes ask no program any more


def _log(project: ComposeProject, feeds: tuple[str, ...], service: str) -> str:
    return project.compose(*feeds, "logs", "--no-log-prefix", service).stdout
