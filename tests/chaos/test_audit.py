"""The audit of journals, with made-up votes and with a journal that a node has written."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbft.client import Client
from qbft.core import InstanceId, Message, MessageType
from qbft_server.chaos.audit import contradictions, read_votes
from qbft_server.local import LocalCluster
from qbft_server.store.store import NodeStore

PRE_PREPARE, PREPARE = MessageType.PRE_PREPARE, MessageType.PREPARE
COMMIT, ROUND_CHANGE = MessageType.COMMIT, MessageType.ROUND_CHANGE


def vote(
    kind: MessageType, round_: int, value: str | None = "v", prepared: int = 0, height: int = 0
) -> Message:
    """A vote of node 1."""
    if kind is ROUND_CHANGE:
        return Message(kind, InstanceId("t", height), 1, round_, None, prepared, value)
    return Message(kind, InstanceId("t", height), 1, round_, value)


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
        votes = read_votes([cluster.data(0)], cluster.cluster, 0)
    assert sorted((v.instance, v.type) for v in votes if isinstance(v.instance, InstanceId)) == [
        (InstanceId("t", height), kind)
        for height in (0, 1)
        for kind in (PRE_PREPARE, PREPARE, COMMIT)
    ]
    assert list(contradictions(votes)) == []


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
        last = read_votes([cluster.data(0)], cluster.cluster, 0)
        all_ = read_votes([lost, cluster.data(0)], cluster.cluster, 0)
    assert list(contradictions(last)) == []
    assert [what.partition(" of ")[0] for what in contradictions(all_)] == [
        "PRE_PREPARE",
        "PREPARE",
        "COMMIT",
    ]
