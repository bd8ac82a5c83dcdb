"""The dashboard in a real browser, beside a real cluster (issue "See it, run it, build on it").

Without chromium, its driver and selenium the browser's part is skipped, and says so; what the page
is served is looked at in any case. With QBFT_TEST_PICTURES set to a folder the screenshots that
docs/pictures has are made anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.service_clients import SECONDS, proposal, running_cluster, stub_of
from grpc import aio

from qbft_server.config import NodeConfig
from qbft_server.local import LocalCluster

pytestmark = pytest.mark.e2e

WIDE, PHONE = (1280, 1060), (420, 1500)


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


def look_at(address: str, pictures: Path | None) -> None:
    """What somebody sees who opens the page and asks why an instance is stuck."""
    with browser() as chrome:
        find = chrome.find_element
        chrome.set_window_size(*WIDE)
        chrome.get(f"{address}/")

        def text(name: str) -> str:
            return str(find("id", name).text)

        def wait_for(name: str, words: str) -> None:
            wait = pytest.importorskip("selenium.webdriver.support.wait")
            wait.WebDriverWait(chrome, SECONDS).until(lambda _: words in text(name))

        wait_for("verdict", "No quorum: nothing can be decided without nodes 2 and 3.")
        wait_for("cluster", "3 down UNAVAILABLE")
        wait_for("links", "0 · ● ✕ ✕\n1 ● · ✕ ✕\n2 ✕ ✕ · ✕\n3 ✕ ✕ ✕ ·")
        assert "prices/btc/1" in text("decided")
        assert "PREPARE of" in text("open") or "ROUND-CHANGE of" in text("open")
        chrome.execute_script("document.querySelector('#open button').click()")
        wait_for("sentence", "nodes 2 and 3 do not answer")
        assert "a second" in text("numbers")
        heads = find("css selector", "#rows thead").text
        assert "lacks" in heads
        assert "refused" not in heads, "a column in which nothing stands"
        field = find("id", "instance")
        field.clear()
        field.send_keys("<img src=x>/7\n")
        wait_for("sentence", "There can be no such instance.")
        field.clear()
        field.send_keys("prices/btc/9\n")
        wait_for("rows", "does not answer")
        wait = pytest.importorskip("selenium.webdriver.support.wait")
        wait.WebDriverWait(chrome, SECONDS).until(lambda _: find("id", "diagram").is_displayed())
        assert "diagram?instance=" in str(find("id", "alone").get_attribute("href"))
        for (width, height), scheme, name in (
            (WIDE, "light", "dashboard"),
            (WIDE, "dark", "dashboard-dark"),
            (PHONE, "light", "dashboard-phone"),
        ):
            chrome.set_window_size(width, height)
            feature = {"name": "prefers-color-scheme", "value": scheme}
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            wider = "return document.documentElement.scrollWidth - innerWidth"
            assert chrome.execute_script(wider) <= 0, f"{name} is wider than its window"
            colour = "return getComputedStyle(document.body).backgroundColor"
            is_dark = chrome.execute_script(colour) == "rgb(15, 18, 22)"
            assert is_dark == (scheme == "dark")
            if pictures is not None:
                chrome.save_screenshot(str(pictures / f"{name}.png"))
        told = [entry for entry in chrome.get_log("browser") if "400" not in entry["message"]]
        assert told == [], "the browser complains"


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
        assert all(abs(row["clock_offset_ms"]) < 5_000 for row in state["cluster"])
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
                await node.Propose(proposal("prices/btc", height, b"x"), timeout=0.5)
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
        await asyncio.to_thread(look_at, address, Path(pictures) if pictures else None)
