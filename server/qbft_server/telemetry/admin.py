"""The admin port: what the operator of a node, and its monitoring, look at. Plain HTTP, read-only.

Whoever reaches it is shown metrics, and the digests of what was decided. Values are shown to those
whom a grant names `admin` of their topics (docs/adr/014). It is on loopback unless configured
otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Collection, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from socketserver import BaseServer, ThreadingTCPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.errors import ClusterError, QbftError
from qbft.replay.drawing import picture
from qbft.replay.record import InstanceRecord
from qbft.replica.bounds import Bites
from qbft_server.access import Gate, Permissions, bearer_token
from qbft_server.bounds import NodeBound
from qbft_server.web.files import CONTENT_SECURITY_POLICY, read_files

T = TypeVar("T")

REQUESTS_MAX = 16
"""Requests that are answered at once, each by a thread; more are hung up on."""

REQUEST_SECONDS_MAX = 10.0
"""For a request to come, for its answer to be made ready, and for that to be read."""

WATCHERS_MAX = 8
"""Dashboards that are kept up to date at once, each by one of these threads."""

WATCH_SECONDS = 1.0
"""Between two overviews of a stream."""

DIAGNOSES_MAX = 4
"""Diagnoses and diagrams at once: each asks every node."""

DRAWN_ENTRIES_MAX = 4_096
"""Of each node's record so many entries are replayed for a diagram; other nodes' may be lies."""

DECISIONS_SHOWN = 20
NOBODY = Permissions()


class Decisions(Protocol):
    """What is read of `NodeStore`, in the event loop's thread."""

    @property
    def end(self) -> int:
        """The position of the newest decision."""

    def feed(self, after: int, limit: int) -> Sequence[tuple[int, InstanceId]]:
        """(position, instance) of decided instances, positions above `after`."""

    def get(self, instance: InstanceId) -> Decision | None:
        """One decision."""


class View(Protocol):
    """What is read of `qbft_server.web.overview.Overview`, in the event loop's thread."""

    def overview(self) -> dict[str, object]:
        """All that the dashboard shows."""

    def why_not_ready(self) -> str:
        """Why this node should be sent no proposals; "" if it should."""

    async def why(self, instance: InstanceId) -> dict[str, object]:
        """Ask every node what keeps an instance from its decision."""

    async def records(self, instance: InstanceId) -> list[InstanceRecord]:
        """What was recorded of an instance, this node's first where it has any."""


@contextmanager
def serve_admin(
    address: str,
    registry: CollectorRegistry,
    gate: Gate,
    decisions: Decisions,
    view: View,
    *,
    names: Collection[str] = (),
    bites: Bites | None = None,
) -> Iterator[None]:
    """Serve the pages at HOST:PORT while the block lasts, from threads of its own.

    What it reads of the node it reads in the running event loop. `names` are those of this node
    with a dot, by which it may be asked; `bites` counts its bounds that bite.

    Raises:
        ClusterError: the address cannot be listened on.
    """
    host, _, port = address.rpartition(":")
    bites = bites or Bites()
    pages = _Pages(asyncio.get_running_loop(), registry, gate, decisions, view, bites=bites)
    try:
        server = _Server(host.strip("[]"), int(port), pages, {host.lower(), *map(str.lower, names)})
    except OSError as error:
        raise ClusterError(
            f"listen.admin = {address!r}: cannot listen there: {error.strerror}"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="admin", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):  # noqa: N818 - what is answered
    """A request ends with this status, and these words of our own."""

    def __init__(self, status: HTTPStatus, why: str = "") -> None:
        super().__init__(why or status.phrase)
        self.status = status


class _Pages:
    """What each path shows; called from the threads that answer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        registry: CollectorRegistry,
        gate: Gate,
        decisions: Decisions,
        view: View,
        *,
        bites: Bites,
    ) -> None:
        self.bites = bites
        self._loop = loop
        self._registry = registry
        self._gate = gate
        self._decisions = decisions
        self._view = view
        self._files = read_files()
        self._diagnoses = threading.BoundedSemaphore(DIAGNOSES_MAX)

    def page(self, target: str, accept: str, authorization: str) -> tuple[str, bytes]:
        """The content type and the content of a page.

        Raises:
            _Refused: there is no such page, or these credentials are nobody's.
        """
        path, _, query = target.partition("?")
        viewer = self._viewer(authorization)
        if path in self._files:
            return self._files[path]
        match path:
            case "/livez":
                self._in_loop(self._nothing())
                return "text/plain", b"ok\n"
            case "/readyz":
                why_not = self._in_loop(self._why_not_ready())
                if why_not:
                    raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, why_not)
                return "text/plain", b"ok\n"
            case "/diagram":
                return "image/svg+xml", self._diagram(query)
            case "/overview":
                return "application/json", self.overview()
            case "/why":
                return "application/json", self._why(query)
            case "/metrics":
                encode, content_type = choose_encoder(accept)
                return content_type, encode(self._registry)
            case "/decisions":
                return "application/json", self._newest_decisions(viewer)
            case _:
                raise _Refused(HTTPStatus.NOT_FOUND)

    def _viewer(self, authorization: str) -> Permissions:
        """What the viewer may see; nobody has to say who he is, but nobody may pretend."""
        if not authorization:
            return NOBODY
        permissions = self._gate.permissions(bearer_token(authorization))
        if permissions is None:
            raise _Refused(HTTPStatus.UNAUTHORIZED)
        return permissions

    def overview(self) -> bytes:
        """All that the dashboard shows, as JSON.

        Raises:
            _Refused: the node does not come to it.
        """
        return json.dumps(self._in_loop(self._overview())).encode()

    def _why(self, query: str) -> bytes:
        """Ask every node about an instance."""
        instance = _asked_about(query)
        with self._asking_all():
            return json.dumps(self._in_loop(self._view.why(instance))).encode()

    def _diagram(self, query: str) -> bytes:
        """Draw what all nodes recorded of an instance, in this thread."""
        instance = _asked_about(query)
        with self._asking_all():
            records = self._in_loop(self._view.records(instance))
            if not records:
                raise _Refused(HTTPStatus.NOT_FOUND)
            drawn = [replace(each, entries=each.entries[:DRAWN_ENTRIES_MAX]) for each in records]
            for together in (drawn, *([each] for each in drawn)):
                with suppress(Exception):  # another node may tell what cannot have been
                    return picture(together).encode()
            raise _Refused(HTTPStatus.NOT_FOUND)

    @contextmanager
    def _asking_all(self) -> Iterator[None]:
        """Take a place among those who ask every node: so many at a time."""
        if not self._diagnoses.acquire(blocking=False):
            self.bites.note(NodeBound.ADMIN_DIAGNOSES_MAX)
            raise _Refused(HTTPStatus.TOO_MANY_REQUESTS)
        try:
            yield
        finally:
            self._diagnoses.release()

    async def _nothing(self) -> None:
        """Show that the loop turns."""

    async def _why_not_ready(self) -> str:
        return self._view.why_not_ready()

    async def _overview(self) -> dict[str, object]:
        return self._view.overview()

    def _newest_decisions(self, viewer: Permissions) -> bytes:
        return json.dumps(self._in_loop(self._read_newest(viewer))).encode()

    def _in_loop(self, reading: Coroutine[Any, Any, T]) -> T:
        """Have something read in the node's event loop."""
        future = asyncio.run_coroutine_threadsafe(reading, self._loop)
        try:
            return future.result(REQUEST_SECONDS_MAX)
        except (TimeoutError, CancelledError, QbftError) as error:
            future.cancel()
            if isinstance(error, TimeoutError):
                self.bites.note(NodeBound.ADMIN_REQUEST_SECONDS_MAX)
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE) from error

    async def _read_newest(self, viewer: Permissions) -> list[dict[str, object]]:
        """The newest decisions in this node's order, the newest first."""
        begin = max(0, self._decisions.end - DECISIONS_SHOWN)
        shown = []
        for _, instance in reversed(self._decisions.feed(begin, DECISIONS_SHOWN)):
            decision = self._decisions.get(instance)
            if decision is not None:
                shown.append(_shown(instance, decision, viewer))
            await asyncio.sleep(0)
        return shown


def _asked_about(query: str) -> InstanceId:
    try:
        return InstanceId.parse(dict(parse_qsl(query)).get("instance", ""))
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST) from error


def _shown(instance: InstanceId, decision: Decision, viewer: Permissions) -> dict[str, object]:
    certificate = decision.certificate
    record: dict[str, object] = {
        "instance": str(instance),
        "round": certificate.round,
        "digest": certificate.value.hex() if isinstance(certificate.value, bytes) else None,
        "signers": [commit.source for commit in certificate.commits],
    }
    if viewer.may_see_values(instance.topic) and isinstance(decision.value, bytes):
        record["value_base64"] = base64.b64encode(decision.value).decode()
    return record


class _Server(ThreadingTCPServer):
    """Answers so many requests at a time."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, pages: _Pages, names: Collection[str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self.names = names
        self.watchers = threading.BoundedSemaphore(WATCHERS_MAX)
        self.stopping = threading.Event()
        self._places = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is a place; else hang up."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.pages.bites.note(NodeBound.ADMIN_REQUESTS_MAX)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def shutdown(self) -> None:
        """Take no more requests, and end the streams."""
        self.stopping.set()
        super().shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it: whoever asked has gone, and can make this happen at will."""


class _Handler(BaseHTTPRequestHandler):
    """One GET, and then the connection ends."""

    timeout = REQUEST_SECONDS_MAX
    server_version = "qbft"
    sys_version = ""

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        assert isinstance(server, _Server)  # noqa: S101 - the one that makes it
        self._pages = server.pages
        self._watchers = server.watchers
        self._stopping = server.stopping
        self._names = server.names
        self._deadline: threading.Timer | None = None
        super().__init__(request, client_address, server)

    def setup(self) -> None:
        """Begin to read; a byte now and then keeps no place for longer than a request may take."""
        super().setup()
        self._set_deadline()

    def finish(self) -> None:
        """End."""
        self._end_deadline()
        super().finish()

    def _set_deadline(self) -> None:
        """Hang up on whoever has not sent, or read, all of it by then."""

        def hang_up() -> None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        self._deadline = threading.Timer(REQUEST_SECONDS_MAX, hang_up)
        self._deadline.daemon = True
        self._deadline.start()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def do_GET(self) -> None:
        """Answer with a page, or with the stream of overviews."""
        self._end_deadline()
        if not _is_ours(self.headers.get("Host", ""), self._names):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "no name of this node: use its address")
            return
        if self.path == "/events":
            self._watch()
            return
        try:
            content_type, content = self._pages.page(
                self.path,
                self.headers.get("Accept", ""),
                self.headers.get("Authorization", ""),
            )
        except _Refused as refused:
            self.send_error(refused.status, str(refused))
            return
        self._set_deadline()
        self._send_head(content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_head(self, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")

    def _watch(self) -> None:
        """Send an overview every second, as server-sent events, until the viewer has gone."""
        if not self._watchers.acquire(blocking=False):
            self._pages.bites.note(NodeBound.ADMIN_WATCHERS_MAX)
            self.send_error(HTTPStatus.TOO_MANY_REQUESTS)
            return
        try:
            self._send_head("text/event-stream")
            self.end_headers()
            while True:
                self.wfile.write(b"data: " + self._pages.overview() + b"\n\n")
                if self._stopping.wait(WATCH_SECONDS):
                    return
        except _Refused:
            return
        finally:
            self._watchers.release()

    def log_message(self, *_: object) -> None:
        """Log nothing: whoever reaches the port could fill the log."""


def _is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is an address, or a name that this node may have.

    A page of somebody else's may have its own name lead here (DNS rebinding), and would be shown
    all that a browser beside this node is. Names that anybody can have lead somewhere have a dot.
    """
    name = host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()
    if "." not in name or name in names:
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
