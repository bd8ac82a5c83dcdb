"""A gRPC server that gives back what it gets: `python echo_node.py PORT`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import grpc
import uvloop
from grpc import aio

SERVICE, METHOD = "side_by_side.Echo", "Call"


async def echo(request: bytes, _context: Any) -> bytes:
    """Answer."""
    return request


async def main(port: int) -> None:
    """Serve until told to stop."""
    server = aio.server()
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
