"""What a command says beside a failure or a silence: what it waits for, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qbft.client import Client, ClientError, DeadlineExceeded, Refused, Unavailable
from qbft.core import InstanceId
from qbft_server.cli import asking, main
from qbft_server.cli.exits import CommandError, ExitCode
from qbft_server.initialise import init_cluster

AWAY = "UNAVAILABLE: cannot connect: Connection refused"


@pytest.fixture(name="cluster_file")
def _cluster_file(tmp_path: Path) -> Path:
    init_cluster(tmp_path / "c", 4)
    return tmp_path / "c" / "cluster.toml"


def _said(cluster_file: Path, error: ClientError, **more: Any) -> CommandError:
    """What `Asking` makes of a client's failure."""

    async def fail(_: Client) -> None:
        raise error

    with pytest.raises(CommandError) as raised:
        asking.Asking(cluster_file, **more).run(fail)
    return raised.value


def test_a_proposal_without_an_answer_names_why(cluster_file: Path) -> None:
    """Issue 7: who proposes and hears nothing is told of `qbft why`."""
    some = DeadlineExceeded("proposing t/1", 3, {2: Unavailable(f"node 2: {AWAY}", node=2)})
    said = _said(cluster_file, some, instance=InstanceId("t", 1))
    assert said.code is ExitCode.UNAVAILABLE
    assert str(said).endswith(f"node 2: {AWAY}; `qbft why t/1` says what it waits for")


def test_where_nobody_listens_it_asks_whether_nodes_run(cluster_file: Path) -> None:
    """All four refuse the connection: that is said once, and `qbft why` would say no more."""
    failures = {node: Unavailable(f"node {node}: {AWAY}", node=node) for node in range(4)}
    said = _said(
        cluster_file,
        DeadlineExceeded("proposing t/1", 3, failures),
        instance=InstanceId("t", 1),
    )
    assert f": nodes 0, 1, 2, 3: {AWAY}; do they run (`qbft node NODE_FILE`)" in str(said)


def test_who_is_not_known_hears_of_access(cluster_file: Path, tmp_path: Path) -> None:
    """Issue 7: errors name the fix; for a node that wants a token it is an option."""
    unknown = Refused("valid credentials are needed", code="UNAUTHENTICATED", node=1)
    assert str(_said(cluster_file, unknown)).endswith("by --access FILE")
    access = tmp_path / "alice.access"
    assert main(["token", str(access)]) == 0
    assert str(_said(cluster_file, unknown, access=access)).endswith(f"what {access} holds")


class _Topic:
    """A client of which one method is asked: the decisions of a topic from a height on."""

    def __init__(self, *heights: int, error: ClientError | None = None) -> None:
        self._heights = heights
        self._error = error

    async def list_decisions(
        self, topic: str, from_height: int, *, node: int | None
    ) -> AsyncIterator[SimpleNamespace]:
        assert node is None
        if self._error is not None:
            raise self._error
        for height in self._heights:
            if height >= from_height:
                yield SimpleNamespace(instance=InstanceId(topic, height))


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        (_Topic(17, 18), "waiting for t/0: the first height that is decided is 17 (--from 17)"),
        (_Topic(), "waiting for t/0: nothing is decided from there on"),
        (_Topic(error=ClientError("nobody\nis there")), "waiting for t/0: nobody is there"),
        (_Topic(0), ""),
    ],
)
async def test_a_quiet_watch_says_what_it_waits_for(
    topic: _Topic, says: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A topic that begins at height 17 gives a watch from 0 nothing, for ever: no gaps."""
    monkeypatch.setattr(asking, "QUIET_SECONDS", 0)
    start = InstanceId("t", 0)
    async with asking._saying_why_it_is_quiet(cast("Client", topic), start, None) as quiet:
        await asyncio.wait([quiet])
    assert capfd.readouterr().err == (f"qbft: {says}\n" if says else "")


def test_entries_of_a_topic_that_is_not_ordered(
    cluster_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """There may never be any: it says so, and follows the topic all the same."""
    monkeypatch.setattr(asking.Asking, "run", lambda *_: None)
    assert main(["entries", "t", "-c", str(cluster_file)]) == 0
    assert f"t is not ordered, by {cluster_file}: `qbft watch`" in capfd.readouterr().err
