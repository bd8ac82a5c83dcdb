"""One PySyncObj process, with a small gRPC door for the clients of the benchmark.

    python raft_in_python_node.py DOOR_PORT OWN_PORT PEER_PORT PEER_PORT ...

Its settings are PySyncObj's own defaults: the log lives in memory, links are plain TCP. A call of
the door is answered when its command is replicated and applied, as PySyncObj's `sync=True` does it,
but by its callback: a blocked thread for each call would only cost it time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from typing import Any

import grpc
import uvloop
from grpc import aio

SERVICE = "side_by_side.Log"
KEY_LENGTH_BYTES = 2


class CountedSocket(socket.socket):
    """Counts what this process writes to its peers; gRPC's sockets are not Python's."""

    sent_bytes = 0

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send and count."""
        sent = super().send(data, flags)
        CountedSocket.sent_bytes += sent
        return sent


socket.socket = CountedSocket  # type: ignore[misc]

from pysyncobj import FAIL_REASON, SyncObj, replicated  # noqa: E402 - its sockets are the counted ones
from pysyncobj.transport import TCPTransport  # noqa: E402


class CountedTransport(TCPTransport):  # type: ignore[misc]
    """Counts the messages that are sent to other members."""

    sent_frames = 0

    def send(self, node: Any, message: Any) -> Any:
        """Send and count."""
        CountedTransport.sent_frames += 1
        return super().send(node, message)


class ReplicatedTable(SyncObj):  # type: ignore[misc]
    """Values by key, the same in every process."""

    def __init__(self, own: str, others: list[str]) -> None:
        super().__init__(own, others, transportClass=CountedTransport)
        self._values: dict[bytes, bytes] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value."""
        self._values[key] = value

    @property
    def is_leading(self) -> bool:
        """Whether this process is the leader, and ready."""
        return bool(self.isReady() and self._isLeader())


class Door:
    """What clients call."""

    def __init__(self, table: ReplicatedTable) -> None:
        self._table = table
        self._loop = asyncio.get_running_loop()

    async def put(self, request: bytes, context: Any) -> bytes:
        """Have a value replicated; the request is the key's length, the key and the value."""
        end = KEY_LENGTH_BYTES + int.from_bytes(request[:KEY_LENGTH_BYTES], "big")
        applied: asyncio.Future[int] = self._loop.create_future()

        def told(_: object, failure: int) -> None:
            self._loop.call_soon_threadsafe(applied.set_result, failure)

        self._table.put(request[KEY_LENGTH_BYTES:end], request[end:], callback=told)
        failure = await applied
        if failure != FAIL_REASON.SUCCESS:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"not replicated: reason {failure}")
        return b""

    async def status(self, _request: bytes, _context: Any) -> bytes:
        """Tell how it is."""
        status = {
            "is_leading": self._table.is_leading,
            "frames": CountedTransport.sent_frames,
            "wire_bytes": CountedSocket.sent_bytes,
        }
        return json.dumps(status).encode()


async def main(door_port: int, own_port: int, peer_ports: list[int]) -> None:
    """Serve until told to stop."""
    own, *others = (f"127.0.0.1:{port}" for port in (own_port, *peer_ports))
    table = ReplicatedTable(own, others)
    door = Door(table)
    server = aio.server()
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(method)
        for name, method in (("Put", door.put), ("Status", door.status))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{door_port}")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop(0)
    table.destroy()


if __name__ == "__main__":
    door, own, *peers = map(int, sys.argv[1:])
    uvloop.run(main(door, own, peers))
