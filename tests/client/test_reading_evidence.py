"""What a client believes of misbehaviour: nothing but both signed votes (SCENARIOS B16)."""

from __future__ import annotations

import pytest
from client_parts import INSTANCE
from pretend_cluster import PretendCluster, pretend_cluster

from qbft.client import Lied, NoNodeLeft, Unavailable
from qbft.core import MessageType
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import value_digest
from qbft.wire.evidence import fill_evidence
from qbft.wire.v1 import decision_pb2 as pb

pytestmark = pytest.mark.real_clock

ONE, TWO = value_digest(b"one"), value_digest(b"two")


def evidence_of(
    pretend: PretendCluster, source: int, round_: int = 1, second: bytes = TWO
) -> Evidence:
    """Two PREPAREs that its key signed."""
    votes = [
        pretend.signed(
            source, INSTANCE, digest, pretend.roster, type=MessageType.PREPARE, round=round_
        )
        for digest in (ONE, second)
    ]
    return Evidence(*votes)


def page(*records: Evidence, next_: int | None = None) -> pb.ListEvidenceReply:
    """A page of these."""
    reply = pb.ListEvidenceReply(next=next_)
    for record in records:
        fill_evidence(reply.evidence.add(), record)
    return reply


async def test_each_node_tells_what_it_holds() -> None:
    """Page by page, verified; a node that is silent or has nothing keeps no other waiting."""
    async with pretend_cluster() as pretend:
        first, second = evidence_of(pretend, 2), evidence_of(pretend, 3)
        pretend.nodes[0].evidence = [page(first, next_=1), page(second)]
        pretend.nodes[1].evidence = [page(second)]
        pretend.nodes[2].evidence = None
        async with pretend.client() as client:
            told = await client.evidence(timeout=2.0)
            assert (told[0], told[1], told[3]) == ([first, second], [second], [])
            assert isinstance(told[2], Unavailable)
            assert pretend.nodes[0].asked_after == [0, 1]
            pretend.nodes[1].evidence = [page(first)]
            assert await client.evidence(node=1) == {1: [first]}
            with pytest.raises(ValueError, match="node = 4"):
                await client.evidence(node=4)
            assert client.liars == {}


async def test_a_node_that_accuses_the_innocent_is_caught() -> None:
    """G11: it is asked no more; no forgery, no honest pair and no garbage is passed on."""
    async with pretend_cluster() as pretend:
        genuine = evidence_of(pretend, 2)
        stolen = Evidence(genuine.first, evidence_of(pretend, 2, round_=2).second)
        by_another = [
            pretend.signed(2, INSTANCE, digest, pretend.roster, type=MessageType.PREPARE, signer=0)
            for digest in (ONE, TWO)
        ]
        pretend.nodes[0].evidence = [page(stolen)]
        pretend.nodes[1].evidence = [page(genuine, Evidence(*by_another))]
        pretend.nodes[2].evidence = [page(evidence_of(pretend, 2, second=ONE))]
        empty = pb.ListEvidenceReply()
        empty.evidence.add()
        pretend.nodes[3].evidence = [empty]
        async with pretend.client() as client:
            told = await client.evidence()
            assert all(isinstance(each, Lied) for each in told.values())
            assert sorted(client.liars) == [0, 1, 2, 3]
            again = await client.evidence()
            assert all(isinstance(each, NoNodeLeft) for each in again.values())


async def test_a_node_that_goes_on_and_on_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without end are read up to a bound, and a page of nothing ends them."""
    monkeypatch.setattr("qbft.client.accounts.EVIDENCE_MAX", 3)
    async with pretend_cluster() as pretend:
        record = evidence_of(pretend, 1)
        pretend.nodes[0].evidence = [page(record, next_=1) for _ in range(9)]
        pretend.nodes[1].evidence = [page(next_=1) for _ in range(9)]
        async with pretend.client() as client:
            assert await client.evidence(node=0) == {0: [record] * 3}
            assert await client.evidence(node=1) == {1: []}
