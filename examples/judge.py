"""An application: a price must be a number. `python judge.py unix:/tmp/judge.sock`."""

import asyncio
import re
import sys

from grpc import aio

from qbft.wire.v1 import application_pb2 as pb
from qbft.wire.v1 import application_pb2_grpc as pb_grpc


class Judge(pb_grpc.ApplicationServiceServicer):
    """Finds valid what reads as a decimal number, and tells what was decided."""

    async def CheckValue(self, request, context):  # noqa: N802, D102
        return pb.CheckValueReply(valid=is_price(request.value))

    async def Decided(self, request, context):  # noqa: N802, D102
        decision = request.decision
        value = decision.value.decode(errors="replace")  # what fails here is told again and again
        print(f"{decision.instance.topic}/{decision.instance.height} = {value}")
        return pb.DecidedReply()


def is_price(value: bytes) -> bool:
    """Deterministic: it looks at nothing but the value."""
    return re.fullmatch(rb"[0-9]{1,12}(\.[0-9]{1,8})?", value) is not None


async def main(address: str) -> None:
    """Serve until interrupted."""
    server = aio.server()
    pb_grpc.add_ApplicationServiceServicer_to_server(Judge(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
