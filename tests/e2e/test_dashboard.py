"""The dashboard in a real browser, beside a real cluster (issue "See it, run it, build on it").

Without chromium, its driver and selenium the browser's part is skipped, and says so; what the page
is served is looked at in any case. With QBFT_TEST_PICTURES set to a folder the screenshots that
docs/pictures has are made anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attacks.siege import HONEST, LIAR, HonestClients, attacked, besieged
from e2e.crash_cluster import (
    TOPIC,
    all_have_voted,
    cluster_with_faults,
    data_of,
    has_open,
    heights_led_by,
    replace,
    votes_again,
)
from e2e.service_clients import SECONDS, proposal, running_cluster, stub_of
from grpc import aio

from qbft.client import Client
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader
from qbft_server.config import NodeConfig
from qbft_server.local import LocalCluster
from qbft_server.telemetry.admin import WATCHERS_MAX
from qbft_server.version import VERSION

pytestmark = pytest.mark.e2e

WIDTH, PHONE_WIDTH = 1280, 390
QUICK_ROUNDS = {"QBFT_TIMER__FIRST_ROUND_MS": "400"}


def address_of(cluster: LocalCluster, node: int) -> str:
    """Where a node's admin port is."""
    admin = NodeConfig.load(cluster.directory / f"node-{node}" / "node.toml").listen.admin
    return f"http://{admin}"


def fetch(url: str) -> tuple[int, str]:
    """Status and content."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:  # noqa: S310
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def overview_when(address: str, is_so: Any, what: str) -> Any:
    """The first overview of which this is so."""
    async with asyncio.timeout(SECONDS):
        while True:
            state = json.loads((await asyncio.to_thread(fetch, f"{address}/overview"))[1])
            if is_so(state):
                return state
            await asyncio.sleep(0.2)
    raise AssertionError(what)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        chrome.set_page_load_timeout(SECONDS)
        yield chrome
    finally:
        chrome.quit()


class Page:
    """The dashboard in a browser, as it is read."""

    def __init__(self, chrome: Any, address: str) -> None:
        self.chrome = chrome
        chrome.set_window_size(WIDTH, 1_000)
        chrome.get(f"{address}/")

    def find(self, name: str) -> Any:
        """The element of that name."""
        return self.chrome.find_element("id", name)

    def text(self, name: str) -> str:
        """What is read in it."""
        return str(self.find(name).text)

    def wait_until(self, is_so: Any) -> None:
        """Until it is so."""
        wait = pytest.importorskip("selenium.webdriver.support.wait")
        wait.WebDriverWait(self.chrome, SECONDS).until(lambda _: is_so())

    def wait_for(self, name: str, words: str) -> None:
        """Until these words are read in it."""
        self.wait_until(lambda: words in self.text(name))

    def rows(self, table: str) -> list[list[str]]:
        """The cells of a table, its head being the first row; read at one moment."""
        cells = "return [...document.getElementById(arguments[0]).rows].map((row) => "
        found = self.chrome.execute_script(
            f"{cells}[...row.cells].map((cell) => cell.textContent))", table
        )
        return [[str(cell) for cell in row] for row in found]

    def beyond_the_edge(self) -> list[str]:
        """Cells, sentences and fields of which something lies right of the window, or is cut."""
        found = self.chrome.execute_script(
            "return [...document.querySelectorAll('td, th, p, li, dd, input, button')].filter("
            "(each) => each.offsetParent && (each.getBoundingClientRect().right > innerWidth"
            " || each.scrollWidth > each.clientWidth + 1 && each.tagName === 'TD'))"
            ".map((each) => each.textContent)"
        )
        return list(found)

    def show_whole(self, width: int, *, phone: bool) -> None:
        """Be so wide, and as high as what is to be seen."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": phone}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        height = self.chrome.execute_script("return document.documentElement.scrollHeight")
        self.chrome.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**metrics, "height": height}
        )


def look_at(address: str, cluster: LocalCluster, pictures: Path | None) -> None:
    """What somebody sees who opens the page and asks why an instance is stuck."""
    with browser() as chrome:
        page = Page(chrome, address)
        page.wait_for("verdict", "No quorum: nothing can be decided without nodes 2 and 3.")
        page.wait_for("cluster", "3 down UNAVAILABLE")
        page.wait_for("links", "0 · ● ✕ ✕\n1 ● · ✕ ✕\n2 ✕ ✕ · ✕\n3 ✕ ✕ ✕ ·")
        assert page.text("name") == f"local/0 · {VERSION}"
        _look_at_nodes(page)
        _look_at_decisions(page, cluster)
        refused = {what: (whose, int(count)) for what, whose, count in page.rows("refused")[1:]}
        whose, count = refused["limit: admin_watchers_max"]
        assert (whose, count >= 1) == ("", True)
        assert "PREPARE of" in page.text("open") or "ROUND-CHANGE of" in page.text("open")
        chrome.execute_script("document.querySelector('#open button').click()")
        page.wait_for("sentence", "nodes 2 and 3 do not answer")
        assert "a second" in page.text("numbers")
        heads = page.rows("rows")[0]
        assert "lacks" in heads
        assert "refused" not in heads, "a column in which nothing stands"
        field = page.find("instance")
        field.clear()
        field.send_keys("<img src=x>/7\n")
        page.wait_for("sentence", "There can be no such instance.")
        field.clear()
        field.send_keys("prices/btc/9\n")
        page.wait_for("rows", "does not answer")
        page.wait_until(page.find("diagram").is_displayed)
        assert "diagram?instance=" in str(page.find("alone").get_attribute("href"))
        _look_in_every_light(page, pictures)
        _look_at_a_node_that_hangs(page, cluster.pid(0))
        expected = ("400", "429")  # what was asked for in vain, and by one page too many
        told = [
            entry
            for entry in chrome.get_log("browser")
            if not any(f"status of {code}" in entry["message"] for code in expected)
        ]
        assert told == [], "the browser complains"


def _look_at_nodes(page: Page) -> None:
    """Each node with its version; a clock is only as far off as can be told."""
    head, own, other, *down = page.rows("cluster")
    assert head == ["node", "link", "votes", "quorum", "open", "decided", "version", "clock"]
    assert own == ["0", "this one", "yes", "no", "2", "8", VERSION, ""]
    assert other[:2] == ["1", "up"]
    assert other[6] == VERSION
    assert re.fullmatch(r"within \d+(\.\d)? m?s", other[7]), "clocks of one machine are the same"
    assert [row[:2] for row in down] == [["2", "down"], ["3", "down"]]


def _look_at_decisions(page: Page, cluster: LocalCluster) -> None:
    """Each with who led its round, and how long it took here."""
    leader = service_leader(cluster.cluster.roster)
    head, *rows = page.rows("decided")
    assert head == ["instance", "ago", "round", "leader", "took", "signers", "digest"]
    assert len(rows) == 8
    for height, row in zip(range(8, 0, -1), rows, strict=True):
        name, ago, round_, led, took, signers, digest = row
        assert name == f"prices/btc/{height}"
        assert re.fullmatch(r"\d+ (s|min)", ago)
        assert led == f"{leader(InstanceId('prices/btc', height), int(round_))}"
        assert re.fullmatch(r"\d+ ms|\d+\.\d s", took)
        assert len(signers.split()) >= 3
        assert re.fullmatch(r"[0-9a-f]{12}", digest)


def _look_in_every_light(page: Page, pictures: Path | None) -> None:
    """Light, dark, and on a phone, where nothing may lie beyond the edge."""
    page.chrome.execute_script("document.activeElement.blur()")
    for scheme, width, name in (
        ("light", WIDTH, "dashboard"),
        ("dark", WIDTH, "dashboard-dark"),
        ("light", PHONE_WIDTH, "dashboard-phone"),
    ):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        page.show_whole(width, phone=width == PHONE_WIDTH)
        assert page.beyond_the_edge() == []
        wider = "return document.documentElement.scrollWidth - innerWidth"
        assert page.chrome.execute_script(wider) <= 0, f"{name} is wider than its window"
        colour = "return getComputedStyle(document.body).backgroundColor"
        is_dark = page.chrome.execute_script(colour) == "rgb(15, 18, 22)"
        assert is_dark == (scheme == "dark")
        if pictures is not None:
            page.chrome.save_screenshot(str(pictures / f"{name}.png"))
    page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _look_at_a_node_that_hangs(page: Page, process: int) -> None:
    """Its connection stays, and nothing comes: what was last said is not shown as if it were so."""
    os.kill(process, signal.SIGSTOP)
    try:
        page.wait_for("verdict", "This node does not answer.")
        assert page.find("verdict").get_attribute("class") == "bad"
        assert page.chrome.execute_script("return document.body.className") == "stale"
    finally:
        os.kill(process, signal.SIGCONT)
    page.wait_for("verdict", "No quorum")
    assert page.chrome.execute_script("return document.body.className") == ""


def look_for_evidence(address: str) -> None:
    """Against whom there is proof is said, first of all that was refused."""
    with browser() as chrome:
        page = Page(chrome, address)
        page.wait_until(lambda: len(page.rows("refused")) > 1)
        what, whose, count = page.rows("refused")[1]
        assert what == "evidence: signed two votes that exclude each other"
        assert whose == f"{LIAR}"
        assert int(count) > 0
        assert chrome.find_element("css selector", "#refused tbody .bad").text == what
        assert re.search(r"evidence\n[1-9]", page.text("numbers"))


def look_who_keeps_out(address: str, instance: str, start_another: Callable[[], None]) -> None:
    """Said are the node, in how many instances, and what it means; and no more once it is over."""
    with browser() as chrome:
        page = Page(chrome, address)
        page.wait_for(
            "verdict",
            "Deciding, without node 3, and though node 1 keeps out of undecided instances.",
        )
        assert page.find("verdict").get_attribute("class") == "warn"
        assert "replace no other node" in page.text("keeps-out")
        head, *rows = page.rows("cluster")
        out = head.index("keeps out of")
        assert [row[out] for row in rows[:3]] == ["", "1", ""]
        page.wait_for("open", instance)
        chrome.execute_script("document.querySelector('#open button').click()")
        page.wait_for("rows", "1 not voting in it")
        page.show_whole(PHONE_WIDTH, phone=True)
        assert page.beyond_the_edge() == []
        start_another()
        page.wait_for("verdict", "All is well: every node is there.")
        assert not page.find("keeps-out").is_displayed()
        assert "keeps out of" not in page.rows("cluster")[0]


def watch_once_too_often(address: str) -> None:
    """Open as many streams as a node keeps up to date, and one more; the bound bites."""
    with ExitStack() as streams:
        for _ in range(WATCHERS_MAX):
            streams.enter_context(urllib.request.urlopen(f"{address}/events", timeout=SECONDS))  # noqa: S310
        assert fetch(f"{address}/events")[0] == 429


async def test_the_dashboard_tells_what_is_wrong(tmp_path: Path) -> None:
    """A node is killed and the page tells it; then no quorum is left, and it names the culprits."""
    async with running_cluster(tmp_path) as cluster, stub_of(cluster, 0) as node:
        address = address_of(cluster, 0)
        for height in range(1, 9):
            await node.Propose(proposal("prices/btc", height, b"64123.50"), timeout=SECONDS)
        state = await overview_when(
            address, lambda state: all(row["answers"] for row in state["cluster"]), "all answer"
        )
        assert [row["instance"] for row in state["decided"]][-1] == "prices/btc/1"
        assert all(row["took_ms"] >= 0 and row["ago_ms"] >= 0 for row in state["decided"])
        assert all(row["clock_offset_ms"] is None for row in state["cluster"][1:]), "one machine"
        assert all(0 <= row["clock_within_ms"] < 5_000 for row in state["cluster"][1:])
        assert await asyncio.to_thread(fetch, f"{address}/readyz") == (200, "ok\n")
        await cluster.kill(3)
        state = await overview_when(
            address, lambda state: not state["cluster"][3]["linked"], "the link is down"
        )
        assert state["node"]["quorum_reachable"]
        assert state["node"]["evidence"] == 0
        await cluster.kill(2)
        for height in (9, 10):
            with pytest.raises(aio.AioRpcError):
                await node.Propose(proposal("prices/btc", height, b"x"), timeout=2.0)
        state = await overview_when(
            address, lambda state: not state["node"]["quorum_reachable"], "no quorum"
        )
        assert [row["instance"] for row in state["open"]] == ["prices/btc/9", "prices/btc/10"]
        assert (await asyncio.to_thread(fetch, f"{address}/readyz"))[0] == 503
        assert (await asyncio.to_thread(fetch, f"{address}/livez"))[0] == 200
        status, text = await asyncio.to_thread(fetch, f"{address}/why?instance=prices/btc/9")
        assert status == 200
        assert json.loads(text)["findings"][0]["nodes"] == [2, 3]
        pictures = os.environ.get("QBFT_TEST_PICTURES")
        await asyncio.to_thread(watch_once_too_often, address)
        await asyncio.to_thread(look_at, address, cluster, Path(pictures) if pictures else None)


async def test_the_dashboard_tells_who_lied(tmp_path: Path) -> None:
    """SCENARIOS B16: a validator that signs two values is named, with how often it was caught."""
    async with besieged(tmp_path, QUICK_ROUNDS) as cluster:
        addresses = [address_of(cluster, node) for node in HONEST]
        clients = HonestClients(cluster)
        async with asyncio.timeout(SECONDS), attacked(cluster, "equivocating", priority=0):
            while True:
                await clients.propose(1.0, 4)
                states = [json.loads(fetch(f"{address}/overview")[1]) for address in addresses]
                caught = [state["node"]["evidence"] for state in states]
                if any(caught):
                    break
        await asyncio.to_thread(look_for_evidence, addresses[caught.index(max(caught))])


async def test_the_dashboard_tells_who_keeps_out(tmp_path: Path) -> None:
    """OPERATIONS, "Instances that a replaced node keeps out of": to be seen before the next one.

    One node of four is away and one has lost its votes: what was open waits for the one that is
    away. The node that keeps out says so of itself, and another one says it of that.
    """
    async with cluster_with_faults(tmp_path, {}) as cluster:
        async with Client(cluster.cluster) as client:
            await all_have_voted(cluster, client)
        height = next(heights_led_by(cluster, 1))
        await cluster.kill(1)
        await cluster.kill(3)
        async with stub_of(cluster, 0) as node:
            waiting = asyncio.ensure_future(
                node.Propose(proposal(TOPIC, height, b"v"), timeout=SECONDS)
            )
            await has_open(cluster, 2, height)
            shutil.rmtree(data_of(cluster, 1))
            replace(cluster, 1)
            await cluster.start(1)
            await votes_again(cluster, 1)
            told = [0, 1, 0, None]
            addresses = [address_of(cluster, node) for node in range(3)]
            for address in addresses:
                await overview_when(
                    address,
                    lambda state: [row.get("kept_out") for row in state["cluster"]] == told,
                    "each is known to keep out of as much as it does",
                )
            loop = asyncio.get_running_loop()

            def start_another() -> None:
                asyncio.run_coroutine_threadsafe(cluster.start(3), loop).result(SECONDS)

            instance = f"{TOPIC}/{height}"
            await asyncio.to_thread(look_who_keeps_out, addresses[0], instance, start_another)
            assert (await waiting).decision.value == b"v"
