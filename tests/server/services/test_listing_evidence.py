"""What a node tells of the evidence it holds: all of it, a page at a time (SCENARIOS B16)."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from calling import Called

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.evidence import Evidence
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.wire.evidence import evidence_from_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.config import ClientSettings, LimitSettings
from qbft_server.services.accounts import LIST_EVIDENCE_MAX
from qbft_server.telemetry.metrics import Metrics

PROOF = Proof(VoteSignature(BatchHeader(b"s" * 16, 1, b"g" * 64), 1, 0, ()))


def record(height: int, topic: str = "t") -> Evidence:
    """Two PREPAREs of one validator."""
    first, second = (
        Message(MessageType.PREPARE, InstanceId(topic, height), 2, 1, value * 32, proof=PROOF)
        for value in (b"a", b"b")
    )
    return Evidence(first, second)


class Aborted(Exception):  # noqa: N818 - what happened to a call
    """A call was ended with a status."""


class Call:
    """A call; `token` is what it shows, if anything."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What the client sent with it."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def auth_context(self) -> dict[str, list[bytes]]:
        """No certificate was shown."""
        return {}

    def peer(self) -> str:
        """Whose connection it is."""
        return "ipv4:127.0.0.1:1"

    async def abort(self, code: grpc.StatusCode, *_: object) -> None:
        """End it, as gRPC does, by an exception."""
        raise Aborted(code.name)

    def add_done_callback(self, callback: object) -> None:
        """As gRPC's own."""


def grant(name: str, token: str, **permissions: list[str]) -> dict[str, object]:
    """What a client with this token may do."""
    return {"name": name, "token_sha256": sha256(token.encode()).hexdigest(), **permissions}


def service(kept: list[Evidence], *grants: dict[str, object]) -> Called:
    """A service of a node that holds these."""
    clients = ClientSettings.model_validate({"grants": grants})
    parts = SimpleNamespace(
        config=SimpleNamespace(clients=clients, limits=LimitSettings()),
        cluster=None,
        replica=SimpleNamespace(misconduct=SimpleNamespace(evidence=kept)),
        driver=None,
        store=None,
        links=None,
        metrics=Metrics(),
        traces=None,
    )
    return Called(parts)


@pytest.mark.parametrize("count", [0, 1, LIST_EVIDENCE_MAX, 2 * LIST_EVIDENCE_MAX + 1])
async def test_all_of_it_is_given_page_by_page(count: int) -> None:
    """Pages are bounded, and the last one says that it is the last; beyond the end is nothing."""
    kept = [record(height) for height in range(count)]
    holder = service(kept)
    found: list[Evidence] = []
    sizes = []
    request = pb.ListEvidenceRequest()
    while True:
        reply = await holder.ListEvidence(request, cast("Any", Call()))
        found += map(evidence_from_pb, reply.evidence)
        sizes.append(len(reply.evidence))
        if not reply.HasField("next"):
            break
        request.after = reply.next
    assert found == kept
    assert max(sizes) <= LIST_EVIDENCE_MAX
    request.after = 2**32 - 1
    beyond = await holder.ListEvidence(request, cast("Any", Call()))
    assert (len(beyond.evidence), beyond.HasField("next")) == (0, False)


async def test_records_of_topics_that_a_client_may_not_read_are_left_out() -> None:
    """Issue 6, access: a grant by prefix; without any, the call is refused and tells nothing."""
    reader, proposer = "reader-has-this-token", "proposer-has-this-token"
    holder = service(
        [record(1, "mine/a"), record(2, "theirs/a"), record(3, "mine/b")],
        grant("reader", reader, read=["mine/"]),
        grant("proposer", proposer, propose=["mine/"]),
    )
    reply = await holder.ListEvidence(pb.ListEvidenceRequest(), cast("Any", Call(reader)))
    assert [each.first.vote.instance.height for each in reply.evidence] == [1, 3]
    with pytest.raises(Aborted, match="PERMISSION_DENIED"):
        await holder.ListEvidence(pb.ListEvidenceRequest(), cast("Any", Call(proposer)))
