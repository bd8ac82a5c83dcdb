"""What f liars say beside an honest node is told as nobody's word (SCENARIOS, group G)."""

from __future__ import annotations

import grpc
import pytest
from client_parts import INSTANCE
from pretend_cluster import TOPIC, PretendCluster, Tell, has_none, is_silent, says

from qbft.client import BelowMark, Conflict, Refused
from qbft.client.errors import refused_by
from qbft.wire.v1 import decision_pb2 as pb


def _conflict(byte: str) -> Tell:
    return says(grpc.StatusCode.ALREADY_EXISTS, "first", qbft_first_digest=byte * 32)


DENIES = says(grpc.StatusCode.PERMISSION_DENIED, "not your prefix")


@pytest.mark.parametrize("liar", [0, 1])
async def test_a_liar_makes_up_no_conflict(liar: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """f+1 refuse, so an honest node does; why it does, and any digest, is not the liar's to say."""
    pretend = PretendCluster(4)
    for node in pretend.nodes:
        node.proposed = DENIES
    pretend.order(INSTANCE)[liar].proposed = _conflict("ab")
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        with pytest.raises(Refused, match="PERMISSION_DENIED: not your prefix") as told:
            await client.propose(TOPIC, 17, b"x")
    assert not isinstance(told.value, Conflict)
    assert (told.value.code, told.value.node) == ("UNKNOWN", None)
    assert "ALREADY_EXISTS: first" in str(told.value)


@pytest.mark.parametrize("digests", [("ab", "ab"), ("ab", "cd")])
async def test_a_conflict_is_f_plus_one_nodes_word(
    digests: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCENARIOS G4: f+1 nodes say so; what was first is told when they name the same digest."""
    pretend = PretendCluster(4)
    for node, digest in zip(pretend.order(INSTANCE), digests, strict=False):
        node.proposed = _conflict(digest)
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        with pytest.raises(Conflict, match="first") as told:
            await client.propose(TOPIC, 17, b"x")
    assert told.value.code == "ALREADY_EXISTS"
    assert told.value.first_digest == (b"\xab" * 32 if len(set(digests)) == 1 else b"")


def test_one_refusal_is_told_as_it_is() -> None:
    """Who asked one node by its number is told what that node says."""
    conflict = Conflict("first", code="ALREADY_EXISTS", node=2, first_digest=bytes(32))
    assert refused_by([conflict]) is conflict


@pytest.mark.parametrize("honest_is_silent", [False, True])
async def test_a_liar_raises_no_mark(
    honest_is_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCENARIOS G9: a reader that goes on from an invented mark would skip what there is.

    f+1 nodes tell marks; the lowest is no higher than an honest node's.
    """
    pretend = PretendCluster(7)
    liars, honest = pretend.order(INSTANCE)[:2], pretend.order(INSTANCE)[2:]
    for node in liars:
        node.read = has_none(pb.DECISION_STATE_BELOW_MARK, mark=1_000_000)
    for node in honest:
        node.read = has_none(pb.DECISION_STATE_BELOW_MARK, mark=20)
    if honest_is_silent:
        honest[0].read = is_silent
    async with pretend.client_on_virtual_clock(monkeypatch) as client:
        with pytest.raises(BelowMark) as told:
            await client.get(TOPIC, 17, quorum=True)
    assert told.value.mark == 20
