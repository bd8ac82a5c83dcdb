"""The admin port: digests for everyone there, values by grant, and labels that nobody chooses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry, Counter

from qbft.core import InstanceId, Message, MessageType, Start
from qbft.crypto.certificate import Certificate
from qbft.decision import Decision
from qbft.errors import ClusterError, JournalError
from qbft.replay.record import Entry, InstanceRecord
from qbft_server.access import Gate
from qbft_server.config import ClientSettings
from qbft_server.telemetry import admin
from qbft_server.telemetry.admin import DECISIONS_SHOWN, serve_admin

pytestmark = pytest.mark.real_clock

OPERATOR, READER = "the-operators-own", "a-reader-has-this"
DIGEST = b"d" * 32


class Store:
    """Decisions in one order."""

    def __init__(self, *instances: InstanceId) -> None:
        self._instances = instances

    @property
    def end(self) -> int:
        """How many there are."""
        return len(self._instances)

    def feed(self, after: int, limit: int) -> list[tuple[int, InstanceId]]:
        """As `NodeStore.feed`."""
        return list(enumerate(self._instances, 1))[after : after + limit]

    def get(self, instance: InstanceId) -> Decision | None:
        """As `NodeStore.get`; one of them is not kept."""
        if instance.height == 13:
            return None
        commit = Message(MessageType.COMMIT, instance, 3, 1, DIGEST)
        return Decision(b"secret value", Certificate(instance, 1, DIGEST, (commit,)))


class Broken(Store):
    """A store that cannot be read."""

    def get(self, instance: InstanceId) -> Decision | None:
        """Fail as a disk does."""
        raise JournalError(f"cannot read {instance} from /var/lib/qbft")


class Looking:
    """What the dashboard is shown; `asked` are the instances that it asked every node about."""

    def __init__(self) -> None:
        self.why_not = ""
        self.asked: list[InstanceId] = []
        self.is_asked = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()

    def overview(self) -> dict[str, object]:
        """All of it."""
        return {"name": "</script><b>"}

    def why_not_ready(self) -> str:
        """As it is told."""
        return self.why_not

    async def why(self, instance: InstanceId) -> dict[str, object]:
        """Answer when it may."""
        self.asked.append(instance)
        self.is_asked.release()
        await self.may_answer.wait()
        return {"sentence": f"{instance}: so it is"}

    async def records(self, instance: InstanceId) -> list[InstanceRecord]:
        """One that can be drawn, and one of a liar that cannot: none of it is as it must be."""
        honest = InstanceRecord(instance, 0, 4, 0, (Entry(5, 0, Start()),), opened_ms=5)
        lie = replace(honest, validator=1, entries=(cast("Entry", None),))
        return [honest, lie] if instance.height == 7 else []


def grant(name: str, token: str, **permissions: list[str]) -> dict[str, object]:
    """What a client with this token may do."""
    return {"name": name, "token_sha256": hashlib.sha256(token.encode()).hexdigest(), **permissions}


SETTINGS = ClientSettings.model_validate(
    {
        "grants": [
            grant("operator", OPERATOR, admin=["rates/"]),
            grant("reader", READER, read=[""], propose=[""]),
        ]
    }
)


@asynccontextmanager
async def served(
    store: Store,
    settings: ClientSettings = SETTINGS,
    host: str = "127.0.0.1",
    view: Looking | None = None,
) -> AsyncIterator[str]:
    """An admin port; gives where it is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.bind((host.strip("[]"), 0))
        port = probe.getsockname()[1]
    registry = CollectorRegistry()
    Counter("qbft_things", "Some.", registry=registry).inc()
    with serve_admin(f"{host}:{port}", registry, Gate(settings), store, view or Looking()):
        yield f"{host}:{port}"


async def get(address: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and content of a page."""

    def ask() -> tuple[int, str]:
        request = urllib.request.Request(f"http://{address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_values_are_shown_by_grant_alone() -> None:
    """Issue "No one let in": digests, not values, without an admin token; by prefix with one."""
    store = Store(InstanceId("orders", 1), InstanceId("rates/a", 2), InstanceId("rates/a", 13))
    value = base64.b64encode(b"secret value").decode()
    async with served(store) as address:
        for headers in ({}, {"Authorization": f"Bearer {READER}"}):
            status, text = await get(address, "/decisions", **headers)
            assert (status, value in text) == (200, False)
            assert json.loads(text) == [
                {"instance": instance, "round": 1, "digest": DIGEST.hex(), "signers": [3]}
                for instance in ("rates/a/2", "orders/1")
            ]
        _, text = await get(address, "/decisions", Authorization=f"Bearer {OPERATOR}")
        shown = {told["instance"]: told.get("value_base64") for told in json.loads(text)}
        assert shown == {"rates/a/2": value, "orders/1": None}


async def test_without_grants_nobody_is_shown_a_value() -> None:
    """The quick start's node has no admin; a token that is not asked for changes nothing."""
    async with served(Store(InstanceId("t", 1)), ClientSettings()) as address:
        for headers in ({}, {"Authorization": "Bearer whatever"}):
            assert "value" not in (await get(address, "/decisions", **headers))[1]


async def test_only_the_newest_are_shown() -> None:
    """A page is bounded, however many decisions there are."""
    store = Store(*(InstanceId("t", height) for height in range(100, 100 + 3 * DECISIONS_SHOWN)))
    async with served(store) as address:
        told = json.loads((await get(address, "/decisions"))[1])
    last = 99 + 3 * DECISIONS_SHOWN
    assert [each["instance"] for each in told] == [f"t/{last - i}" for i in range(DECISIONS_SHOWN)]


async def test_what_is_not_there_or_not_allowed_is_said_shortly(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nothing that is asked is repeated, logged or done; a disk's words stay in the house."""
    async with served(Broken(InstanceId("t", 1))) as address:
        wrong = f"Bearer {READER}x"
        assert (await get(address, "/decisions", Authorization=wrong))[0] == 401
        assert (await get(address, "/metrics", Authorization=wrong))[0] == 401
        for path in ("/index", "/decision", "/decisions/t", "/..%2fetc/passwd", "/<script>"):
            status, text = await get(address, path)
            assert (status, "passwd" in text, "script" in text) == (404, False, False)
        status, text = await get(address, "/decisions")
        assert (status, "/var/lib" in text) == (503, False)
        status, text = await get(address, "/metrics")
        assert (status, "qbft_things_total 1.0" in text) == (200, True)

        def post() -> int:
            connection = http.client.HTTPConnection(address, timeout=60)
            with closing(connection):
                connection.request("POST", "/decisions", b"x")
                return connection.getresponse().status

        assert await asyncio.to_thread(post) == 501
    assert capfd.readouterr() == ("", "")


@pytest.mark.bites("admin_requests_max")
async def test_requests_beyond_the_limit_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN, bounds: who keeps connections open takes so many threads, and no more."""
    monkeypatch.setattr(admin, "REQUESTS_MAX", 2)
    async with served(Store()) as address:
        host, _, port = address.rpartition(":")
        with ExitStack() as silent:
            for _ in range(2):
                silent.enter_context(socket.create_connection((host, int(port)), 60))
            with pytest.raises((OSError, http.client.HTTPException)):
                await get(address, "/metrics")
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await get(address, "/metrics"))[0] == 200
                    break
                except (OSError, http.client.HTTPException):
                    await asyncio.sleep(0.01)  # until the two have been noticed to be gone


async def test_it_listens_where_it_is_told() -> None:
    """IPv6 too; an address that is taken is one line."""
    async with served(Store(), host="[::1]") as address:
        assert (await get(address, "/metrics"))[0] == 200
        with (
            pytest.raises(ClusterError, match=r"listen.admin = .*: cannot listen there: Address"),
            serve_admin(address, CollectorRegistry(), Gate(SETTINGS), Store(), Looking()),
        ):
            pass


async def test_the_dashboard_is_whole_and_keeps_to_itself() -> None:
    """Every file that the page names is there; a browser takes nothing from elsewhere, nor inline.

    No markup is made of what comes from outside: the script sets text alone.
    """
    async with served(Store()) as address:
        status, page = await get(address, "/")
        assert status == 200
        assert (await get(address, "/index.html"))[1] == page
        named = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert sorted(named) == ["dashboard.css", "dashboard.js", "data:,"]
        for name in ("dashboard.css", "dashboard.js"):
            status, text = await get(address, f"/{name}")
            assert (status, "http" in text) == (200, False)
        script = (await get(address, "/dashboard.js"))[1]
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document.write|eval\(", script)
        ids = set(re.findall(r'id="(\w+)"', page))
        assert set(re.findall(r'(?:byId|fill)\(\s*"(\w+)"', script)) <= ids
        assert not re.search(r"<style|style=|<script>|onclick", page)

        def head() -> dict[str, str]:
            with urllib.request.urlopen(f"http://{address}/", timeout=60) as reply:
                return dict(reply.headers)

        headers = await asyncio.to_thread(head)
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (await get(address, "/../config.py"))[0] == 404
        assert (await get(address, "/static/index.html"))[0] == 404


async def test_a_node_is_alive_and_ready() -> None:
    """/livez: the event loop turns; /readyz: it votes and reaches a quorum, else 503 and why."""
    view = Looking()
    async with served(Store(), view=view) as address:
        assert await get(address, "/livez") == (200, "ok\n")
        assert await get(address, "/readyz") == (200, "ok\n")
        view.why_not = "no quorum can be reached"
        status, text = await get(address, "/readyz")
        assert (status, "no quorum can be reached" in text) == (503, True)


@pytest.mark.bites("admin_diagnoses_max")
async def test_every_node_is_asked_about_so_many_instances_at_once() -> None:
    """Each diagnosis costs every node a call, so that few are made at once; others get 429."""
    view = Looking()
    async with served(Store(), view=view) as address:
        assert (await get(address, "/why?instance=nonsense"))[0] == 400
        assert (await get(address, "/why"))[0] == 400
        assert (await get(address, "/diagram?instance=a/8"))[0] == 404
        status, text = await get(address, "/diagram?instance=a/7")
        assert (status, text.startswith("<svg"), "a/7" in text) == (200, True, True)
        asking = [asyncio.create_task(get(address, "/why?instance=a%2Fb/7")) for _ in range(4)]
        for _ in asking:
            await view.is_asked.acquire()
        assert (await get(address, "/why?instance=a/8"))[0] == 429
        view.may_answer.set()
        for status, text in await asyncio.gather(*asking):
            assert (status, json.loads(text)) == (200, {"sentence": "a/b/7: so it is"})
        assert view.asked == [InstanceId("a/b", 7)] * 4


@pytest.mark.bites("admin_request_seconds_max")
async def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN, bounds: a node that does not come to it keeps no thread; who asks gets 503."""
    monkeypatch.setattr(admin, "REQUEST_SECONDS_MAX", 0.01)
    async with served(Store()) as address:
        assert (await get(address, "/why?instance=a/8"))[0] == 503


@pytest.mark.bites("admin_watchers_max")
async def test_overviews_are_streamed_to_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Server-sent events, one line each, to a bounded number of viewers; a place comes back."""
    monkeypatch.setattr(admin, "WATCHERS_MAX", 1)
    monkeypatch.setattr(admin, "WATCH_SECONDS", 0.01)
    async with served(Store()) as address:

        def read() -> list[bytes]:
            with urllib.request.urlopen(f"http://{address}/events", timeout=60) as reply:
                assert reply.headers["Content-Type"] == "text/event-stream"
                lines = [reply.readline() for _ in range(4)]
                with pytest.raises(urllib.error.HTTPError) as second:
                    urllib.request.urlopen(f"http://{address}/events", timeout=60)
                with second.value:
                    assert second.value.code == 429
                return lines

        line = b'data: {"name": "</script><b>"}\n'
        assert await asyncio.to_thread(read) == [line, b"\n"] * 2
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await asyncio.to_thread(_first_event, address) == line
                    break
                except urllib.error.HTTPError as error:
                    error.close()
                    await asyncio.sleep(0.01)


def _first_event(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/events", timeout=60) as reply:
        return bytes(reply.readline())


def test_a_name_that_anybody_can_have_is_not_answered() -> None:
    """Issue 6: a web page cannot read the port by giving its own name this address (rebinding)."""
    names = {"0.0.0.0", "node-1.example.org"}  # noqa: S104 - as configured
    ours = ("", "localhost", "localhost:7402", "127.0.0.1:7402", "[::1]:7402", "node0:7402")
    assert all(admin._is_ours(host, names) for host in (*ours, "NODE-1.example.org:7402"))
    others = ("evil.example", "evil.example:7402", "127.0.0.1.evil.example", "node-2.example.org")
    assert not any(admin._is_ours(host, names) for host in others)


async def test_a_request_that_comes_byte_by_byte_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issue 6: with sixteen of them `/livez` was hung up on for as long as they liked."""
    monkeypatch.setattr(admin, "REQUEST_SECONDS_MAX", 0.4)
    async with served(Store()) as address:
        host, _, port = address.rpartition(":")

        def dawdle() -> bytes:
            with socket.create_connection((host, int(port)), timeout=60) as slow:
                slow.settimeout(0.05)
                for letter in b"GET /livez HTTP/1.1\r\nX: " + b"y" * 500:
                    try:
                        slow.send(bytes([letter]))
                        return slow.recv(100)
                    except TimeoutError:
                        continue
                    except OSError:
                        return b""
            return b"never hung up on"

        assert await asyncio.to_thread(dawdle) == b""
        assert (await get(address, "/decisions", Host="evil.example"))[0] == 421
        assert (await get(address, "/decisions", Host=f"localhost:{port}"))[0] == 200
