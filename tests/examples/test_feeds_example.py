"""examples/feeds.py: four price feeds, one of which lies (issue 7, the first example)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from e2e.service_clients import QUIET, SECONDS, proposal, stub_of

from qbft.cluster import Prefix
from qbft.core import InstanceId
from qbft.crypto.keys import VoteKey
from qbft.crypto.roster import service_leader
from qbft.verify import verify
from qbft_server.config import ApplicationSettings
from qbft_server.local import LocalCluster, claim_ports

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "feeds.py"
TOPIC = "feeds/btc"
INSTANCE = f"{TOPIC}/1"
LIAR = 3
KEYS = [VoteKey(bytes([feed]) * 32) for feed in range(4)]
PUBLIC = [key.public for key in KEYS]


@pytest.fixture(scope="module")
def feeds() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("feeds_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def observations(feeds: ModuleType, **prices: int) -> list[tuple[int, int, str]]:
    """Genuine ones of feeds f0, f1 and so on."""
    found = []
    for name, price in prices.items():
        feed = int(name[1:])
        signed = feeds.signed_bytes(INSTANCE, feed, price)
        found.append((feed, price, KEYS[feed].sign(signed).hex()))
    return found


def test_one_false_price_leaves_the_median_between_honest_ones(feeds: ModuleType) -> None:
    """Of n-f observations at most f are false, however far off."""
    for false in (1, 10**12):
        for prices in ({"f0": 100, "f1": 102, "f3": false}, {"f0": 100, "f1": 102, "f2": 104}):
            report = feeds.encoded(observations(feeds, **{**prices, "f3": false}))
            assert feeds.is_report(report, INSTANCE, PUBLIC)
            assert 100 <= json.loads(report)["median"] <= 104


def _two(feeds: ModuleType) -> bytes:
    return bytes(feeds.encoded(observations(feeds, f0=100, f3=1)))


def _one_twice(feeds: ModuleType) -> bytes:
    said = observations(feeds, f0=100, f3=1) + observations(feeds, f3=2)
    return json.dumps({"median": 2, "observations": said}).encode()


def _another_median(feeds: ModuleType) -> bytes:
    report = json.loads(feeds.encoded(observations(feeds, f0=100, f1=101, f2=102)))
    return json.dumps({**report, "median": 102}).encode()


def _another_price(feeds: ModuleType) -> bytes:
    (zero, one, (feed, _, signature)) = observations(feeds, f0=100, f1=101, f2=102)
    return bytes(feeds.encoded([zero, one, (feed, 7, signature)]))


def _of_another_instance(feeds: ModuleType) -> bytes:
    old = KEYS[2].sign(feeds.signed_bytes(f"{TOPIC}/0", 2, 99)).hex()
    return bytes(feeds.encoded([*observations(feeds, f0=100, f1=101), (2, 99, old)]))


def _of_a_stranger(feeds: ModuleType) -> bytes:
    signature = VoteKey(b"9" * 32).sign(feeds.signed_bytes(INSTANCE, 4, 99)).hex()
    return bytes(feeds.encoded([*observations(feeds, f0=100, f1=101), (4, 99, signature)]))


def _written_otherwise(feeds: ModuleType) -> bytes:
    return bytes(feeds.encoded(observations(feeds, f0=100, f1=101, f2=102))) + b" "


LIES = (
    *(_two, _one_twice, _another_median, _another_price),
    *(_of_another_instance, _of_a_stranger, _written_otherwise),
)


@pytest.mark.parametrize("lie", LIES)
def test_what_a_lying_leader_may_propose_is_not_voted_for(
    feeds: ModuleType, lie: Callable[[ModuleType], bytes]
) -> None:
    """`CheckValue` recomputes everything, from the value and the instance alone."""
    assert not feeds.is_report(lie(feeds), INSTANCE, PUBLIC)


NO_REPORTS = (
    *(b"", b"64123.50", b"{}", b"[1]", b"null", b"[" * 4_000, b"\xff", b"9" * 5_000),
    *(b'{"observations": []}', b'{"observations": [1]}'),
    b'{"observations": [[Infinity, 1, "00"]]}',
)


@pytest.mark.parametrize("value", NO_REPORTS)
def test_what_is_no_report_is_refused(feeds: ModuleType, value: bytes) -> None:
    """Whatever bytes a client proposes: a verdict, not an exception."""
    assert not feeds.is_report(value, INSTANCE, PUBLIC)


@asynccontextmanager
async def _programs(feeds: ModuleType, folder: Path, cluster: LocalCluster) -> AsyncIterator[None]:
    """A feed beside each node, the last of which lies."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        first = claim_ports(1, stack)
        addresses = [f"127.0.0.1:{first + feed}" for feed in range(4)]
        feeds.init(folder, addresses)
        running = [
            tasks.create_task(
                feeds.Feed(folder, feed, lies=feed == LIAR).run(
                    address, f"unix:{cluster.directory / f'feed-{feed}.sock'}"
                )
            )
            for feed, address in enumerate(addresses)
        ]
        yield
        for task in running:
            task.cancel()


def _settings(cluster: LocalCluster, node: int) -> dict[str, str]:
    address = f"unix:{cluster.directory / f'feed-{node}.sock'}"
    application = {"address": address, "prefixes": ["feeds/"], "provides": True, "decided": False}
    return {"QBFT_APPLICATION": json.dumps(application)}


@pytest.mark.e2e
async def test_four_nodes_decide_what_the_feeds_have_signed(
    tmp_path: Path, feeds: ModuleType
) -> None:
    """A lying leader beside a lying feed: its round ends, and the next leader's report is decided.

    In a topic of `inputs = "own"` every leader proposes what its own feed's program gives. 8 s.
    """
    async with (
        asyncio.timeout(SECONDS),
        LocalCluster.create(tmp_path / "cluster", environment=QUIET) as cluster,
        _programs(feeds, tmp_path / "feeds", cluster),
    ):
        own = Prefix(prefix="feeds/", inputs="own")
        prefixes = (*cluster.cluster.prefixes, own)
        changed = cluster.cluster.model_copy(update={"prefixes": prefixes})
        cluster.cluster_file.write_text(changed.dump())
        for node in range(4):
            await cluster.start(node, environment=_settings(cluster, node))
        await cluster.wait_until_ready()
        leader = service_leader(changed.roster)
        height = next(h for h in range(1_000) if leader(InstanceId(TOPIC, h), 1) == LIAR)
        async with stub_of(cluster, 0) as stub:
            reply = await stub.Propose(proposal(TOPIC, height, b"begin"), timeout=SECONDS)
        decision = verify(reply.decision.SerializeToString(), changed)
        _check(feeds, tmp_path / "feeds", f"{TOPIC}/{height}", decision.value)
        assert decision.round > 1
        asked = await feeds.ask(tmp_path / "feeds", cluster.cluster_file, TOPIC, height + 1)
        _check(feeds, tmp_path / "feeds", f"{TOPIC}/{height + 1}", json.dumps(asked).encode())


def _check(feeds: ModuleType, folder: Path, instance: str, value: bytes) -> None:
    """The decided price is one between honest feeds' own."""
    assert feeds.is_report(value, instance, feeds.Feeds(folder).keys)
    honest = [feeds.Feed(folder, feed).observe(instance)[1] for feed in range(LIAR)]
    assert min(honest) <= json.loads(value)["median"] <= max(honest)


def test_it_is_a_program(
    tmp_path: Path, feeds: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that its docstring gives; without feeds there is no price."""
    folder = str(tmp_path / "feeds")
    monkeypatch.setattr("sys.argv", ["feeds.py", "init", folder, *["127.0.0.1:1"] * 4])
    feeds.main()
    assert len(list(tmp_path.glob("feeds/feed-*.key"))) == 4
    monkeypatch.setattr(feeds, "ASK_SECONDS", 0.0)
    monkeypatch.setattr("sys.argv", ["feeds.py", "ask", folder, "cluster.toml", TOPIC, "1"])
    with pytest.raises(SystemExit, match="too few feeds answer"):
        feeds.main()


def test_the_compose_profile_puts_a_feed_beside_each_node() -> None:
    """Node and program meet at one socket, of which the node is told by the file of variables."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    lines = (ROOT / "examples/feeds.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert variables["COMPOSE_PROFILES"] == "feeds"
    told = json.loads(variables["QBFT_APPLICATION"].strip("'"))
    settings = ApplicationSettings(**told)
    beside = "/run/qbft"
    assert settings.address.startswith(f"unix:{beside}/")
    assert INSTANCE.startswith(settings.prefixes)
    for index in range(4):
        node, feed = services[f"node{index}"], services[f"feed{index}"]
        assert node["environment"]["QBFT_APPLICATION"] is None  # as the environment has it
        assert feed["profiles"] == ["feeds"]
        assert feed["command"][:4] == ["run", "feeds", str(index), settings.address]
        assert ("--lie" in feed["command"]) == (index == LIAR)
        shared = f"beside{index}:{beside}"
        assert shared in node["volumes"]
        assert shared in feed["volumes"]
    script = services["feed-keys"]["command"][0]
    assert [f"feed{index}:7411" in script for index in range(4)] == [True] * 4
