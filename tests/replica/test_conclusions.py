"""From a client's proposal to its decision (SCENARIOS G2 to G7, K13, K14), at the replica."""

from __future__ import annotations

import asyncio

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    run_now,
    sent_to,
    vote,
)

from qbft.errors import JournalError, ProposalConflict

V, W = proposal(b"v"), proposal(b"w")


def decide(rig: Rig) -> None:
    """Let validator 1 decide v, the value of the leader."""
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V), proposals=(V,)))
    rig.receive(2, own_section(vote(PREPARE, 2, V), vote(COMMIT, 2, V)))
    rig.receive(0, own_section(vote(COMMIT, 0, V)))


async def test_the_client_is_told_only_when_the_decision_is_durable() -> None:
    """W4: certificate and value durable, then reply (SCENARIOS K13, K14)."""
    rig = Rig(1)
    future = rig.replica.propose(V, 0)
    rig.receive(0, own_section(vote(PP, 0, V), vote(PREPARE, 0, V)))
    rig.receive(2, own_section(vote(PREPARE, 2, V), vote(COMMIT, 2, V)))
    rig.replica.receive(0, own_section(vote(COMMIT, 0, V)), 0)
    turn = rig.replica.end_turn(0)
    assert not future.done()
    assert rig.replica.is_open(instance())
    run_now(rig.disk.commit(turn.records))
    assert not future.done()
    rig.replica.turn_done(0)
    assert (await future).own
    assert not rig.replica.is_open(instance())


async def test_a_proposal_after_the_decision_gets_it() -> None:
    """SCENARIOS G2, G3: the decided value, and whether it is one's own."""
    rig = Rig(1)
    decide(rig)
    assert (await rig.replica.propose(V, 0)).own
    decision = await rig.replica.propose(W, 0)
    assert (decision.value, decision.own) == (b"v", False)


async def test_the_same_proposal_twice_waits_for_the_same_decision() -> None:
    """SCENARIOS G3."""
    rig = Rig(1)
    futures = [rig.replica.propose(V, 0) for _ in range(3)]
    decide(rig)
    assert [(await future).value for future in futures] == [b"v"] * 3
    assert len([p for turn in rig.turns for _, f in turn.frames for p in f.proposals]) == 1


async def test_another_own_value_is_a_conflict_naming_the_first() -> None:
    """SCENARIOS G4."""
    rig = Rig(1)
    rig.replica.propose(V, 0)
    with pytest.raises(ProposalConflict) as caught:
        rig.replica.propose(W, 0)
    assert caught.value.first_digest == V.digest


async def test_another_value_than_an_adopted_one_waits() -> None:
    """SCENARIOS G4: against an adopted value only, it waits and gets the decision, not its own."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    future = rig.replica.propose(W, 0)
    decide(rig)
    decision = await future
    assert (decision.value, decision.own) == (b"v", False)


@pytest.mark.parametrize("adopted_first", [True, False])
async def test_the_conflict_outlives_a_restart(*, adopted_first: bool) -> None:
    """SCENARIOS G4, W1: own proposals are told from adopted ones after a restart too."""
    rig = Rig(1)
    if adopted_first:
        rig.receive(2, proposals=(V,))
    rig.propose(W)
    again = rig.restart()
    with pytest.raises(ProposalConflict) as caught:
        again.replica.propose(V, 0)
    assert caught.value.first_digest == W.digest
    future = again.replica.propose(W, 0)
    decide(again)
    assert (await future).own is False


async def test_an_adopted_value_alone_is_no_conflict_after_a_restart() -> None:
    """SCENARIOS G4: what others proposed binds no own client."""
    rig = Rig(1)
    rig.receive(2, proposals=(V,))
    again = rig.restart()
    future = again.replica.propose(W, 0)
    decide(again)
    assert (await future).value == b"v"


async def test_the_conflict_outlives_the_client() -> None:
    """SCENARIOS G6, G7: a client that went away changes nothing; the instance continues."""
    rig = Rig(1)
    rig.replica.propose(V, 0).cancel()
    await asyncio.sleep(0)
    assert rig.replica._conclusions._waiters == {}
    with pytest.raises(ProposalConflict):
        rig.replica.propose(W, 0)
    decide(rig)
    assert rig.disk.get(instance()).value == b"v"


async def test_nothing_is_remembered_of_clients_after_the_decision() -> None:
    """Bounds: waiting clients and first values are gone with the instance."""
    rig = Rig(1)
    rig.replica.propose(V, 0).cancel()
    rig.replica.propose(V, 0)
    decide(rig)
    await asyncio.sleep(0)
    assert rig.replica._conclusions._waiters == {}
    assert rig.replica._conclusions._first_own == {}


async def test_a_client_that_comes_while_the_bytes_are_missing_waits() -> None:
    """The decision is known, and told when its bytes are there."""
    rig = Rig(1)
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    future = rig.replica.propose(W, 0)
    rig.turn()
    assert not future.done()
    assert rig.replica.status().open_instances == 0
    rig.receive(3, proposals=(V,))
    assert (await future).value == b"v"


async def test_a_client_is_told_when_the_node_stops_voting() -> None:
    """SCENARIOS K23: nobody waits for what will not come; reads go on."""
    rig = Rig(1)
    decided = proposal(b"v", 8)
    rig.receive(3, certificates=(certificate(decided, (0, 2, 3)),), proposals=(decided,))
    future = rig.replica.propose(V, 0)
    rig.replica.stop_voting()
    with pytest.raises(JournalError, match="stopped voting"):
        await future
    with pytest.raises(JournalError):
        rig.replica.propose(W, 0)
    assert (await rig.replica.propose(decided, 0)).value == b"v"
    assert not rig.replica.status().voting


async def test_four_different_proposals_give_one_decision() -> None:
    """SCENARIOS G5, at one node: the leader's, whatever was proposed here."""
    rig = Rig(1)
    future = rig.replica.propose(W, 0)
    for peer in (2, 3):
        rig.receive(peer, proposals=(proposal(b"x%d" % peer),))
    decide(rig)
    assert ((await future).value, (await future).own) == (b"v", False)
    assert kinds(rig.turns) == [("PREPARE", 1), ("COMMIT", 1)]
    assert sent_to(rig.turns, 2, "certificates") == []
