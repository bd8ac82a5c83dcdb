"""What all calls of clients share: who calls, a place among all calls, and how each ended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from qbft_server.access import Gate
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Admission, Caller, Context
from qbft_server.services.arrivals import ARRIVALS_MAX, Arrivals
from qbft_server.services.budgets import Budgets
from qbft_server.services.refusal import Refusal, refusal_of
from qbft_server.store.decisions import DecisionsError

_CALLER_HAS_LEFT = (aio.UsageError, aio.InternalError)
"""What a write raises where nobody reads any more."""


class Door(Protocol):
    """Lets calls of some kind in."""

    arrivals: Arrivals
    """Reads their requests."""

    def call(self, method: str, context: Context) -> contextlib.AbstractAsyncContextManager[Caller]:
        """Around a call, from when its headers are there, to say who calls and how it ended."""


class Calls:
    """The calls that run at one node.

    Raises:
        ClusterError: a client's token cannot be read.
    """

    def __init__(self, parts: NodeParts, budgets: Budgets) -> None:
        self.admission = Admission(Gate(parts.config.clients))
        self.arrivals = Arrivals(ARRIVALS_MAX, parts.metrics.bites)
        self._budgets = budgets
        self._metrics = parts.metrics
        self._traces = parts.traces

    @contextlib.asynccontextmanager
    async def call(self, method: str, context: Context) -> AsyncIterator[Caller]:
        """Around every call: gives who calls; a refusal within becomes the status of its end.

        It has its place until gRPC is done with it: a reply that is not taken keeps it.
        """
        code = grpc.StatusCode.CANCELLED
        try:
            with self.admission.admitted(context) as client:
                self._budgets.shares.demand(client.name, self._budgets.calls)
                context.add_done_callback(functools.partial(self._done, client.name))  # type: ignore[arg-type]
                with self._traced(context):
                    yield client
            code = grpc.StatusCode.OK
        except Refusal as refusal:
            code = refusal.code
            await context.abort(refusal.code, refusal.message, tuple(refusal.trailers))
        except DecisionsError as error:
            told = refusal_of(error)
            code = told.code
            await context.abort(told.code, told.message)
        finally:
            self._metrics.call_ended(method, code.name)

    def _done(self, client: str, _: object) -> None:
        """A call's place is free."""
        self._budgets.shares.give_back(client, self._budgets.calls)

    def _traced(self, context: Context) -> contextlib.AbstractContextManager[None]:
        """Let what the call opens be part of its trace, where there are traces."""
        if self._traces is None:
            return contextlib.nullcontext()
        return self._traces.continued(context.invocation_metadata())


def serve(server: aio.Server, service: ServiceDescriptor, servicer: object, door: Door) -> None:
    """Have a server answer the calls of a service by the methods of that name.

    To gRPC each request is a stream, which on the wire is the same: else it would keep a call to
    itself, with all that has come of it, for as long as its request is on its way.
    """
    handlers = {
        method.name: _handler(method, getattr(servicer, method.name), door)
        for method in service.methods
    }
    generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))
    server.add_registered_method_handlers(service.full_name, handlers)  # type: ignore[attr-defined]


def _handler(
    method: MethodDescriptor, answer: Callable[[Any, Caller], Awaitable[Any]], door: Door
) -> grpc.RpcMethodHandler[Any, Any]:
    """Answers the calls of one method."""
    name, arrivals = method.name, door.arrivals

    async def one(_: object, context: Context) -> Any:
        with _callers_may_leave():
            async with door.call(name, context) as caller:
                return await answer(await arrivals.read(caller), caller)

    async def many(requests: object, context: Context) -> None:
        with _callers_may_leave():
            async with door.call(name, context) as caller:
                await answer(requests, caller)

    replies = (
        grpc.stream_stream_rpc_method_handler
        if method.server_streaming
        else grpc.stream_unary_rpc_method_handler
    )
    return replies(
        many if method.client_streaming else one,
        request_deserializer=functools.partial(_parse, GetMessageClass(method.input_type)),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


@contextlib.contextmanager
def _callers_may_leave() -> Iterator[None]:
    """A call whose caller has gone is over, and no failure that gRPC had to tell anybody of."""
    try:
        yield
    except _CALLER_HAS_LEFT as left:
        raise asyncio.CancelledError from left
    except BaseExceptionGroup as group:
        if group.split((asyncio.CancelledError, *_CALLER_HAS_LEFT))[1] is not None:
            raise
        raise asyncio.CancelledError from group


def _parse(kind: Any, data: bytes) -> Any:
    """A message of that kind; None where it is none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None
