"""What all calls of clients share: who calls, a place among all calls, and how each ended."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc

from qbft_server.access import Gate
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Admission, Caller, Context, Needs
from qbft_server.services.budgets import Budgets
from qbft_server.services.refusal import Refusal, refusal_of
from qbft_server.store.decisions import DecisionsError


class Calls:
    """The calls that run at one node.

    Raises:
        ClusterError: a client's token cannot be read.
    """

    def __init__(self, parts: NodeParts, budgets: Budgets) -> None:
        self.admission = Admission(Gate(parts.config.clients))
        self._budgets = budgets
        self._metrics = parts.metrics
        self._traces = parts.traces

    @contextlib.asynccontextmanager
    async def call(
        self, method: str, context: Context, needs: Needs = lambda _: True
    ) -> AsyncIterator[Caller]:
        """Around every call: gives who calls; a refusal within becomes the status of its end.

        One that lasts says what it `needs`: it begins for no other client, and ends when its client
        has it no more.
        """
        code = grpc.StatusCode.CANCELLED
        with contextlib.ExitStack() as place:
            try:
                with self.admission.admitted(context, needs) as client:
                    calls = self._budgets.shares.place(client.name, self._budgets.calls)
                    place.enter_context(calls)
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

    def _traced(self, context: Context) -> contextlib.AbstractContextManager[None]:
        """Let what the call opens be part of its trace, where there are traces."""
        if self._traces is None:
            return contextlib.nullcontext()
        return self._traces.continued(context.invocation_metadata())
