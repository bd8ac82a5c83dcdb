"""The decision service, called as the door calls it: for tests that need no socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from google.protobuf.message import Message

from qbft_server.parts import NodeParts
from qbft_server.services.admission import Admission
from qbft_server.services.budgets import Budgets
from qbft_server.services.calls import Calls
from qbft_server.services.decision import DecisionService


class Called:
    """Gives each call a request that has come, and a context of the test's.

    A call that is aborted is done, as it is to gRPC; of others the test says when they are.
    """

    def __init__(self, parts: object) -> None:
        parts_ = cast("NodeParts", parts)
        budgets = Budgets(parts_.config.limits, parts_.metrics.clients, parts_.metrics.bites)
        self._service = DecisionService(parts_, budgets)
        self._calls = Calls(parts_, budgets)

    @property
    def admission(self) -> Admission:
        """Who is let in."""
        return self._calls.admission

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        """The call of that name."""

        async def call(request: Message, context: Any) -> Any:
            try:
                async with self._calls.call(name, context) as client:
                    return await getattr(self._service, name)(request, client)
            except BaseException:
                for callback in getattr(context, "callbacks", ()):
                    callback(context)
                raise

        return call

    def drain(self) -> None:
        """As the service's own."""
        self._service.drain()
