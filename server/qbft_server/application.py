"""The operator's own program beside the node: asked over gRPC, told what was decided.

Whatever it does, slow, gone or wrong, only instances of its topics wait for it: a value without an
answer is not voted for, and the node asks again; nothing else stops (DESIGN, validity).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from grpc import aio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from qbft.client.pinned import DIALLING
from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import QbftError
from qbft.replica.telling import tell_decisions
from qbft.wire.build import fill_instance
from qbft.wire.decisions import fill_decision
from qbft.wire.parse import proposal_of
from qbft.wire.v1 import application_pb2 as pb
from qbft.wire.v1 import application_pb2_grpc as pb_grpc
from qbft_server.config import ApplicationSettings
from qbft_server.store.store import NodeStore
from qbft_server.store.threads import in_thread

log = structlog.get_logger()

CURSOR_FILE = "application.json"
CURSOR_SECONDS = 0.5
"""How often the place is kept; after a crash so much is told again."""

TELL_SECONDS = 30.0
"""How long the program may take over one decision before it is told again."""

RETRY_SECONDS_MAX = 5.0
"""Between two attempts to tell the program of a decision: at random up to a span that doubles."""

TROUBLE_SECONDS = 60.0
"""How often the log says at most that it cannot be told: what fails it may be a client's value."""


class RemoteApplication:
    """A program at an address as `Application`, `ValueSource` and `DecisionListener`.

    `told_position` is how far it has been told, `failures` how often it could not be.
    """

    def __init__(
        self, settings: ApplicationSettings, channel: aio.Channel, value_bytes_max: int
    ) -> None:
        self._settings = settings
        self._stub = pb_grpc.ApplicationServiceStub(channel)  # type: ignore[no-untyped-call]
        self._value_bytes_max = value_bytes_max
        self.told_position: int | None = None
        self.failures = 0
        self._next_trouble_s = 0.0

    def concerns(self, topic: str) -> bool:
        """Whether the program has a say in this topic."""
        prefixes = self._settings.prefixes
        return not prefixes or topic.startswith(prefixes)

    async def check_value(self, instance: InstanceId, value: bytes, proposer: int) -> bool:
        """Ask whether a value is valid; one of a topic that is not its own is.

        Waits while the program is away: how long, the caller decides.

        Raises:
            AioRpcError: it failed.
        """
        if not self._settings.checks or not self.concerns(instance.topic):
            return True
        request = pb.CheckValueRequest(value=value, proposer=proposer)
        fill_instance(request.instance, instance)
        reply = await self._stub.CheckValue(request, wait_for_ready=True)
        return bool(reply.valid)

    async def provide_value(self, instance: InstanceId) -> Proposal | None:
        """Ask what to propose.

        Raises:
            AioRpcError: it failed.
            Refused: its answer is no proposal.
        """
        if not self._settings.provides or not self.concerns(instance.topic):
            return None
        request = pb.ProvideValueRequest()
        fill_instance(request.instance, instance)
        reply = await self._stub.ProvideValue(request, wait_for_ready=True)
        if not reply.HasField("proposal"):
            return None
        return proposal_of(reply.proposal, self._value_bytes_max)

    async def tell(self, store: NodeStore, directory: Path) -> None:
        """Tell of each decision in this node's order, at least once, until cancelled.

        What cannot be read is tried again, for nothing else may end for it.
        """
        if not self._settings.decided:
            return
        cursor = Cursor(directory / CURSOR_FILE, store.store_id)

        async def note(position: int) -> None:
            self.told_position = position
            await cursor.note(position)

        async for attempt in _patiently(QbftError, self._note_failure):
            with attempt:
                self.told_position = after = await cursor.read()
                try:
                    await tell_decisions(
                        store, self, after=after, note=note, concerns=self._is_concerned
                    )
                finally:
                    cursor.keep()

    async def decided(self, decision: Decision, position: int) -> None:
        """Tell of a decision until it acknowledges: the next comes after this one."""
        request = pb.DecidedRequest(position=position)
        fill_decision(request.decision, decision)
        async for attempt in _patiently(aio.AioRpcError, self._note_failure):
            with attempt:
                await self._stub.Decided(request, wait_for_ready=True, timeout=TELL_SECONDS)

    def _is_concerned(self, instance: InstanceId) -> bool:
        return self.concerns(instance.topic)

    def _note_failure(self, state: RetryCallState) -> None:
        """Count that it could not be told, and say so now and then."""
        self.failures += 1
        if time.monotonic() < self._next_trouble_s:
            return
        self._next_trouble_s = time.monotonic() + TROUBLE_SECONDS
        error = state.outcome.exception() if state.outcome is not None else None
        why = error.code().name if isinstance(error, aio.AioRpcError) else str(error)
        log.warning(
            "the application is not told what was decided, nor what follows; it is tried again",
            told=self.told_position,
            why=why,
        )


def _patiently(failure: type[Exception], note: Callable[[RetryCallState], None]) -> AsyncRetrying:
    """Attempts without end; `note` is told of each that failed so."""
    return AsyncRetrying(
        retry=retry_if_exception_type(failure),
        wait=wait_random_exponential(max=RETRY_SECONDS_MAX),
        before_sleep=note,
    )


class Cursor:
    """How far the program has been told, in a file of the data directory.

    Of another store, or unreadable, it counts for nothing: all is told again.
    """

    def __init__(self, path: Path, store_id: bytes) -> None:
        self._path = path
        self._store = store_id.hex()
        self._position = self._kept = 0
        self._next_s = 0.0

    async def read(self) -> int:
        """The position of the last decision that was acknowledged; 0 for none."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._path.read_text())
            if said["store"] == self._store:
                self._position = self._kept = max(0, int(said["position"]))
        return self._kept

    async def note(self, position: int) -> None:
        """Take a position that was dealt with; keep it if the last time is a while ago."""
        self._position = position
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + CURSOR_SECONDS
        if await in_thread(self.keep):
            raise asyncio.CancelledError

    def keep(self) -> None:
        """Keep the last position; where the disk refuses, more is told again after a restart."""
        position = self._position
        if position == self._kept:
            return
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps({"store": self._store, "position": position}))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("the application's place is not kept", error=error.strerror)
        else:
            self._kept = position


@contextlib.asynccontextmanager
async def connect(
    settings: ApplicationSettings | None, *, value_bytes_max: int, message_bytes_max: int
) -> AsyncIterator[RemoteApplication | None]:
    """The program at the configured address, if there is one; it need not be up."""
    if settings is None:
        yield None
        return
    options = [*DIALLING, ("grpc.max_receive_message_length", message_bytes_max)]
    async with aio.insecure_channel(settings.address, options) as channel:
        yield RemoteApplication(settings, channel, value_bytes_max)
