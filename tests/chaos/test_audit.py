"""The audit of journals: with made-up votes, made-up journals, and some that nodes have written."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from chaos.made_up_disks import (
    COMMIT,
    PRE_PREPARE,
    PREPARE,
    ROUND_CHANGE,
    Disks,
    certificate,
    signed,
    vote,
)

from qbft.client import Client
from qbft.core import InstanceId, Message, MessageType
from qbft.crypto.evidence import Evidence
from qbft.records import EvidenceRecord, Record, VoteRecord
from qbft_server.chaos.audit import contradictions, read_accounts
from qbft_server.local import LocalCluster
from qbft_server.store.store import JOURNAL_DIRECTORY, NodeStore


def test_votes_that_agree_pass() -> None:
    """COMMIT before PREPARE, other rounds and instances, and copies, however late, are fine."""
    votes = [
        vote(COMMIT, 1),
        vote(PREPARE, 1),
        vote(ROUND_CHANGE, 2, prepared=1),
        vote(PRE_PREPARE, 2, "w"),
        vote(PREPARE, 1, "w", height=1),
        vote(PREPARE, 2, "w"),
        vote(PREPARE, 1),
        vote(COMMIT, 2, "w"),
        vote(ROUND_CHANGE, 2, prepared=1),
    ]
    assert list(contradictions(votes)) == []


@pytest.mark.parametrize("kind", [PRE_PREPARE, PREPARE, COMMIT, ROUND_CHANGE])
def test_two_contents_in_one_place_are_found(kind: MessageType) -> None:
    """I5: one content for an instance, a type and a round, whatever lives lie between."""
    found = list(contradictions([vote(kind, 2, "v"), vote(kind, 2, "w")]))
    assert found == [f"{kind.name} of t/0 in round 2 was signed twice, with different contents"]


@pytest.mark.parametrize("kind", [PRE_PREPARE, PREPARE, COMMIT])
def test_a_vote_in_a_round_that_was_left_is_found(kind: MessageType) -> None:
    """I6: none but a ROUND-CHANGE below the highest ROUND-CHANGE."""
    found = list(contradictions([vote(ROUND_CHANGE, 3, None), vote(kind, 2)]))
    assert found == [f"{kind.name} of t/0 in round 2 was signed after the node had left that round"]


def test_a_round_change_that_hides_a_commit_is_found() -> None:
    """I7: it carries the highest round in which the node signed a COMMIT, or a higher one."""
    votes = [vote(COMMIT, 2), vote(ROUND_CHANGE, 3, prepared=1)]
    assert list(contradictions(votes)) == ["ROUND_CHANGE of t/0 in round 3 hides an earlier COMMIT"]


def flaws(disks: Disks) -> list[str]:
    """What is found of node 1; of the others nothing is."""
    accounts = read_accounts(disks.lives, disks.cluster)
    assert not any(list(accounts[node].flaws()) for node in (0, 2, 3))
    return list(accounts[1].flaws())


def nested(said: Message, kind: str, by: Message) -> Record:
    """A record of another node that keeps this vote, beside a vote of its own."""
    match kind:
        case "prepares":
            return VoteRecord(by, (said,))
        case "justification":
            return VoteRecord(replace(by, justification=(said,)))
        case "certificate":
            return certificate(said)
        case _:
            return EvidenceRecord(Evidence(said, said))


KEPT_IN = ("prepares", "justification", "certificate", "evidence")


@pytest.mark.real_clock
@pytest.mark.parametrize("kind", KEPT_IN)
async def test_what_a_peer_holds_of_a_whole_journal_is_found_there(
    tmp_path: Path, kind: str
) -> None:
    """Nothing to tell: the vote is in its node's own journal, under the number it has."""
    disks = Disks(tmp_path)
    mine = signed(vote(COMMIT, 1), await disks.store_id(1), 1)
    other = signed(replace(vote(COMMIT, 1, height=9), source=2), await disks.store_id(2), 1)
    await disks.write(1, VoteRecord(mine))
    await disks.write(2, VoteRecord(other), nested(mine, kind, other))
    assert flaws(disks) == []
    assert len(read_accounts(disks.lives, disks.cluster)[1].votes) == 1


@pytest.mark.real_clock
@pytest.mark.parametrize("kind", KEPT_IN)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_vote_that_was_sent_and_not_journaled_is_found_with_a_peer(
    tmp_path: Path, kind: str, before: int
) -> None:
    """W1: sent before it was committed; only a peer's record shows it.

    Nothing else of its node contradicts it, whether its journal ends before or is empty.
    """
    disks = Disks(tmp_path)
    store_id = await disks.store_id(1)
    sent = signed(vote(COMMIT, 1), store_id, before + 1)
    other = signed(replace(vote(COMMIT, 1, height=9), source=2), await disks.store_id(2), 1)
    await disks.write(1, *[VoteRecord(signed(vote(PREPARE, 1), store_id, 1))] * before)
    await disks.write(2, VoteRecord(other), nested(sent, kind, other))
    assert flaws(disks) == [
        f"COMMIT of t/0 in round 1, its vote number {before + 1}, is on node 2's disk, "
        "and its own journal lacks it"
    ]


@pytest.mark.real_clock
async def test_another_vote_under_the_same_number_is_found(tmp_path: Path) -> None:
    """W1: sent, lost with the tail of the journal, and the number given out again."""
    disks = Disks(tmp_path)
    store_id = await disks.store_id(1)
    other = signed(replace(vote(COMMIT, 1), source=2), await disks.store_id(2), 1)
    await disks.write(1, VoteRecord(signed(vote(PREPARE, 1, height=5), store_id, 1)))
    await disks.write(2, VoteRecord(other, (signed(vote(PREPARE, 1), store_id, 1),)))
    assert flaws(disks) == [
        "PREPARE of t/0 in round 1, its vote number 1, is on node 2's disk, "
        "and its own journal has another vote under that number"
    ]


@pytest.mark.real_clock
async def test_a_vote_of_no_store_that_its_node_had_is_found(tmp_path: Path) -> None:
    """W7: all that it ever had are at hand."""
    disks = Disks(tmp_path)
    other = signed(replace(vote(COMMIT, 1), source=2), await disks.store_id(2), 1)
    await disks.write(2, VoteRecord(other, (signed(vote(PREPARE, 1), bytes(16), 1),)))
    assert flaws(disks) == [
        "PREPARE of t/0 in round 1, its vote number 1, is on node 2's disk, "
        "and was signed for a store that it never had"
    ]


@pytest.mark.real_clock
async def test_a_vote_in_the_journal_of_a_disk_that_was_lost_is_there(tmp_path: Path) -> None:
    """Its number is of that store, and no gap in the next one."""
    disks = Disks(tmp_path)
    mine = signed(vote(PREPARE, 1), await disks.store_id(1), 1)
    await disks.write(1, VoteRecord(mine))
    disks.lose(1)
    again = signed(vote(PREPARE, 1, height=1), await disks.store_id(1), 1)
    await disks.write(1, VoteRecord(again))
    other = signed(replace(vote(COMMIT, 1), source=2), await disks.store_id(2), 1)
    await disks.write(2, VoteRecord(other, (mine, again)))
    assert flaws(disks) == []


@pytest.mark.real_clock
async def test_what_is_held_elsewhere_is_held_against_what_is_journaled(tmp_path: Path) -> None:
    """I5, I7: across lives, and in the order in which the votes were signed."""
    disks = Disks(tmp_path)
    lost = await disks.store_id(1)
    disks.lose(1)
    store_id = await disks.store_id(1)
    await disks.write(
        1,
        VoteRecord(signed(vote(PREPARE, 1, "w"), store_id, 1)),
        VoteRecord(signed(vote(ROUND_CHANGE, 2, None), store_id, 2)),
    )
    held = [signed(vote(kind, 1), lost, number) for number, kind in ((1, PREPARE), (2, COMMIT))]
    other = signed(replace(vote(COMMIT, 1), source=2), await disks.store_id(2), 1)
    await disks.write(2, VoteRecord(other, tuple(held)))
    assert flaws(disks)[:2] == [
        "PREPARE of t/0 in round 1 was signed twice, with different contents",
        "ROUND_CHANGE of t/0 in round 2 hides an earlier COMMIT",
    ]


@pytest.mark.real_clock
async def test_of_votes_that_were_let_go_nothing_is_said(tmp_path: Path) -> None:
    """Their segments are deleted; but what stays is whole, and two contents are two contents."""
    disks = Disks(tmp_path, segment_bytes_max=1)
    store_id = await disks.store_id(1)
    votes = [signed(vote(COMMIT, 1, height=height), store_id, 1 + height) for height in range(3)]
    for commit in votes:
        await disks.write(1, VoteRecord(commit), certificate(commit))
    segments = disks.lives[1][0] / JOURNAL_DIRECTORY
    assert min(segments.glob("*.segment")).stem > "000000000001"
    other = signed(replace(vote(COMMIT, 1), source=2), await disks.store_id(2), 1)
    let_go = signed(vote(PREPARE, 1, "other"), store_id, 1)
    await disks.write(2, VoteRecord(other, (*votes, let_go)))
    assert flaws(disks) == []
    lacking = signed(vote(PREPARE, 1), store_id, 4)
    await disks.write(2, VoteRecord(replace(other, round=2), (lacking,)))
    assert flaws(disks) == [
        "PREPARE of t/0 in round 1 was signed twice, with different contents",
        "PREPARE of t/0 in round 1, its vote number 4, is on node 2's disk, "
        "and its own journal lacks it",
    ]


@pytest.mark.e2e
async def test_a_nodes_journal_is_read_over_its_lives(tmp_path: Path) -> None:
    """Two decisions, a kill between them: both times the node's votes are there, each once."""
    async with LocalCluster.create(tmp_path / "cluster", nodes=1) as cluster:
        for height in (0, 1):
            await cluster.start()
            await cluster.wait_until_ready()
            async with Client(cluster.cluster) as client:
                await client.propose("t", height, b"v")
            await cluster.kill(0)
        (account,) = read_accounts([[cluster.data(0)]], cluster.cluster)
    votes = account.votes
    assert sorted((v.instance, v.type) for v in votes if isinstance(v.instance, InstanceId)) == [
        (InstanceId("t", height), kind)
        for height in (0, 1)
        for kind in (PRE_PREPARE, PREPARE, COMMIT)
    ]
    assert list(account.flaws()) == []


@pytest.mark.e2e
async def test_a_node_that_forgot_is_found_out_by_the_journal_it_lost(tmp_path: Path) -> None:
    """W7, broken behind the node's back: what it signs then contradicts what it cannot know of.

    Its last journal alone shows nothing.
    """
    async with LocalCluster.create(tmp_path / "cluster", nodes=1) as cluster:
        lost = cluster.data(0).with_name("data.lost-1")
        for value in (b"v", b"w"):
            await cluster.start()
            await cluster.wait_until_ready()
            async with Client(cluster.cluster) as client:
                await client.propose("t", 0, value)
            await cluster.kill(0)
            if not lost.exists():
                cluster.data(0).rename(lost)
                NodeStore.create(cluster.data(0), cluster.cluster.roster.cluster_id, 0)
        (last,) = read_accounts([[cluster.data(0)]], cluster.cluster)
        (all_,) = read_accounts([[lost, cluster.data(0)]], cluster.cluster)
    assert list(last.flaws()) == []
    assert [what.partition(" of ")[0] for what in all_.flaws()] == [
        "PRE_PREPARE",
        "PREPARE",
        "COMMIT",
    ]


@pytest.mark.e2e
async def test_a_journal_that_lost_its_tail_is_found_out_by_its_peers(tmp_path: Path) -> None:
    """W1: four nodes decide, and nothing is missing; cut one journal short, and its votes are."""
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        async with Client(cluster.cluster) as client:
            for height in range(5):
                await client.propose("t", height, b"v")
        await asyncio.gather(*(cluster.stop(node) for node in range(4)))
        lives = [[cluster.data(node)] for node in range(4)]
        whole = read_accounts(lives, cluster.cluster)
        assert [list(account.flaws()) for account in whole] == [[]] * 4
        newest = max((cluster.data(1) / JOURNAL_DIRECTORY).glob("*.segment"))
        os.truncate(newest, newest.stat().st_size // 2)
        cut = read_accounts(lives, cluster.cluster)
    assert [bool(list(account.flaws())) for account in cut] == [False, True, False, False]
    assert all(what.endswith("and its own journal lacks it") for what in cut[1].flaws())
