"""Who calls: what a client shows over gRPC, and what it may do with that."""

from __future__ import annotations

from typing import Any

import grpc
from grpc import aio

from qbft_server.access import EVERYTHING_BUT_ADMIN, Gate, Permissions, bearer_token, common_name_of
from qbft_server.services.refusal import Refusal

Context = aio.ServicerContext[Any, Any]


def admitted(gate: Gate, context: Context) -> Permissions:
    """What the caller may do; what it shows is its token and its certificate.

    Raises:
        Refusal: it is nobody that is let in; which part is wrong is not told.
    """
    if gate.is_open:
        return EVERYTHING_BUT_ADMIN
    metadata = dict(context.invocation_metadata() or ())
    token = bearer_token(metadata.get("authorization", b""))
    certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
    name = None if certificate is None else common_name_of(bytes(certificate))
    permissions = gate.permissions(token, name)
    if permissions is None:
        raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "valid credentials are needed")
    return permissions
