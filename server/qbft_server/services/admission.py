"""Who calls: what a client shows over gRPC, who that is, and what it may do as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from qbft_server.access import Gate, Permissions, bearer_token, common_name_of
from qbft_server.services.refusal import Refusal, denied

Context = aio.ServicerContext[Any, Any]
Needs = Callable[[Permissions], bool]
"""Whether what a client may do is enough for a call to go on."""


@dataclass(slots=True, eq=False)
class Caller:
    """A call, and the client whose it is.

    Budgets go by its `name`: that of a grant, a token or the name in a certificate, and where
    clients show nothing, the connection. Its `permissions` are those of now.
    """

    context: Context
    name: str
    permissions: Permissions
    needs: Needs = lambda _: True

    def require(self, needs: Needs) -> None:
        """Let a call that lasts go on for only as long as its client may do so much.

        Raises:
            Refusal: it may not.
        """
        if not needs(self.permissions):
            raise denied()
        self.needs = needs


class _Running:
    """A call that runs, and how to end it from outside."""

    def __init__(self, caller: Caller, shown: tuple[bytes | None, str | None]):
        self._caller = caller
        self._shown = shown
        self._task = asyncio.current_task()
        self.refusal: Refusal | None = None

    def look_again(self, gate: Gate) -> None:
        """See what its client may do now; it ends if that is not enough."""
        known = gate.known(*self._shown)
        if known is None:
            self._end(_unknown())
            return
        self._caller.permissions = known.permissions
        if not self._caller.needs(known.permissions):
            self._end(denied())

    def _end(self, refusal: Refusal) -> None:
        if self.refusal is None and self._task is not None:
            self.refusal = refusal
            self._task.cancel()

    def is_ended_by_us(self) -> bool:
        """Whether a cancellation that has arrived is the one of `look_again`, and no other."""
        return self.refusal is not None and self._task is not None and not self._task.uncancel()


class Admission:
    """Lets clients in, and ends what they do when they may do it no more."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._running: set[_Running] = set()

    def renew(self, gate: Gate) -> None:
        """Let in whom the other gate lets in, from now on, and end the calls of all others."""
        self.gate.renew(gate)
        for call in tuple(self._running):
            call.look_again(self.gate)

    @contextlib.contextmanager
    def admitted(self, context: Context) -> Iterator[Caller]:
        """Who calls; what it shows is its token and its certificate.

        A call goes on for as long as its client is known and has what it needs.

        Raises:
            Refusal: it is nobody that is let in, or is not any more, which part is wrong is not
                told; or it has what the call needs no more.
        """
        shown = _shown(context)
        known = self.gate.known(*shown)
        if known is None:
            raise _unknown()
        caller = Caller(context, known.name or context.peer(), known.permissions)
        running = _Running(caller, shown)
        self._running.add(running)
        try:
            yield caller
        except asyncio.CancelledError:
            if running.is_ended_by_us() and running.refusal is not None:
                raise running.refusal from None
            raise
        finally:
            self._running.discard(running)


def _shown(context: Context) -> tuple[bytes | None, str | None]:
    """A call's token, and the name in its client's certificate."""
    metadata = dict(context.invocation_metadata() or ())
    token = bearer_token(metadata.get("authorization", b""))
    certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    return token, None if certificate is None else common_name_of(bytes(certificate))


def _unknown() -> Refusal:
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, "valid credentials are needed")
