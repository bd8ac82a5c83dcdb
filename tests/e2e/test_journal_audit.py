"""The audit of journals itself, with journals that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chaos.made_up_disks import COMMIT, PREPARE, Disks, certificate, signed, vote
from e2e.journal_audit import copies

from qbft.core import Message
from qbft.records import StandingRecord, VoteRecord

pytestmark = pytest.mark.real_clock


async def a_peer_holds(disks: Disks, *votes: Message) -> None:
    """Node 2 has these votes of node 1 beside one of its own."""
    own = signed(replace(vote(COMMIT, 1, height=9), source=2), await disks.store_id(2), 1)
    await disks.write(2, VoteRecord(own, votes))


def found(disks: Disks, *, is_lost: bool = False) -> int:
    """How many votes of node 1 its peers hold, and its journal has."""
    return len(copies(disks.directory, disks.cluster, 1, is_lost=is_lost))


async def test_what_a_peer_holds_is_in_its_nodes_journal(tmp_path: Path) -> None:
    """One is, one is not: that was sent and never journaled (W1)."""
    disks = Disks(tmp_path)
    store_id = await disks.store_id(1)
    mine, sent = signed(vote(PREPARE, 1), store_id, 1), signed(vote(COMMIT, 1), store_id, 2)
    await disks.write(1, VoteRecord(mine))
    await a_peer_holds(disks, mine)
    assert found(disks) == 1
    await a_peer_holds(disks, sent)
    with pytest.raises(AssertionError, match="W1: node 1 has sent"):
        copies(disks.directory, disks.cluster, 1)
    with pytest.raises(AssertionError, match="W1: node 1 has sent"):
        copies(disks.directory, disks.cluster, 1, is_lost=True)


async def test_of_a_lost_journal_only_what_it_cannot_know_may_lack(tmp_path: Path) -> None:
    """Votes of the store before it; and of its own where it says that these are lost."""
    disks = Disks(tmp_path)
    before = signed(vote(PREPARE, 1), await disks.store_id(1), 1)
    disks.lose(1)
    await a_peer_holds(disks, before)
    assert found(disks, is_lost=True) == 0
    with pytest.raises(AssertionError, match="W1"):
        found(disks)
    store_id = await disks.store_id(1)
    await a_peer_holds(disks, signed(vote(COMMIT, 1), store_id, 1))
    with pytest.raises(AssertionError, match="W1"):
        found(disks, is_lost=True)
    await disks.write(1, StandingRecord(lost=False, replaced=((store_id, 1),), next_sequence=2))
    assert found(disks, is_lost=True) == 0


async def test_what_was_let_go_may_lack(tmp_path: Path) -> None:
    """Its segment is deleted; what was signed later has to be there."""
    disks = Disks(tmp_path, segment_bytes_max=1)
    store_id = await disks.store_id(1)
    votes = [signed(vote(COMMIT, 1, height=height), store_id, 1 + height) for height in range(3)]
    for commit in votes:
        await disks.write(1, VoteRecord(commit), certificate(commit))
    await a_peer_holds(disks, *votes)
    assert found(disks) < 3
    await a_peer_holds(disks, signed(vote(PREPARE, 1), store_id, 4))
    with pytest.raises(AssertionError, match="W1"):
        found(disks)
