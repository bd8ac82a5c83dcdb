"""Who calls: what a client shows over gRPC, who that is, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from qbft_server.access import Gate, Permissions, bearer_token, common_name_of
from qbft_server.services.refusal import Refusal

Context = aio.ServicerContext[Any, Any]


@dataclass(slots=True, eq=False)
class Caller:
    """A call, and the client whose it is.

    Budgets go by its `name`: that of a grant, a token or the name in a certificate, and where
    clients show nothing, the connection.
    """

    context: Context
    name: str
    permissions: Permissions


def admitted(gate: Gate, context: Context) -> Caller:
    """Who calls; what it shows is its token and its certificate.

    Raises:
        Refusal: it is nobody that is let in; which part is wrong is not told.
    """
    metadata = dict(context.invocation_metadata() or ())
    token = bearer_token(metadata.get("authorization", b""))
    certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    name = None if certificate is None else common_name_of(bytes(certificate))
    known = gate.known(token, name)
    if known is None:
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "valid credentials are needed")
    return Caller(context, known.name or context.peer(), known.permissions)
