"""The policy of ordered topics: every entry is checked before anything is adopted or voted for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from replica_builders import (
    PP,
    Rig,
    carry_until_decided,
    instance,
    kinds,
    link_all,
    lost_rig,
    own_section,
    signed_by,
    vote,
)

from qbft.core import InstanceId
from qbft.crypto.encoding import unpack
from qbft.crypto.entries import BATCH_ENTRIES_MAX, WINDOW_HEIGHTS, Entry, encode_batch, sign_entry
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal
from qbft.errors import ProposalConflict, UnauthorisedProposal
from qbft.replica.intake import ENTRIES_PER_WORK
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.replica.protocols import ProposalRecord
from qbft.transport import Frame, Memory

CLUSTER = bytes(32)
ALICE = VoteKey(b"a" * 32)
GUARDED = TopicPolicy(proposers=frozenset({ALICE.public}), ordered=True)
OPEN = TopicPolicy(ordered=True)


def rig_of(index: int, policy: TopicPolicy, **options: Any) -> Rig:
    """A replica for which all topics are of that policy."""
    return Rig(index, policies=lambda topic: policy, **options)


def entry(name: int, value: bytes = b"v", height: int = 0) -> Entry:
    """An entry that Alice has signed, for that height alone."""
    name_ = b"%d" % name
    return sign_entry(ALICE, CLUSTER, "t", name_, value, until=height + 1)


def batch(*entries: Entry, height: int = 0) -> Proposal:
    """A proposal of these."""
    return Proposal(instance(height), encode_batch(entries))


FORGED = replace(entry(2), value=b"forged")


@pytest.mark.parametrize(
    ("policy", "bad"),
    [
        (OPEN, Proposal(instance(), b"a value, and no batch")),
        (OPEN, batch(entry(1), FORGED)),
        (GUARDED, batch(entry(1), FORGED)),
        (GUARDED, batch(entry(1), Entry(b"2", b"unsigned"))),
        (GUARDED, batch(entry(1), entry(2, height=WINDOW_HEIGHTS))),
    ],
)
async def test_what_may_not_stand_is_neither_adopted_nor_voted_for(
    policy: TopicPolicy, bad: Proposal
) -> None:
    """Issue 7: forwarded, in a PRE-PREPARE of the leader's, or of an own client."""
    rig = rig_of(1, policy)
    rig.receive(2, proposals=(bad,))
    assert rig.replica.status().open_instances == 0
    rig.receive(0, own_section(vote(PP, 0, bad), proposals=(bad,)))
    assert (kinds(rig.turns), rig.replica.status().open_instances) == ([], 0)
    assert rig.rejected == [("unauthorised_proposal", 2), ("unauthorised_proposal", 0)]
    with pytest.raises(UnauthorisedProposal):
        rig.replica.propose(bad, 0)


@pytest.mark.parametrize("policy", [OPEN, GUARDED])
def test_a_batch_is_adopted_by_whoever_has_nothing(policy: TopicPolicy) -> None:
    """docs/adr/017: a forward is enough; the node that appended need not be the leader."""
    rigs = [rig_of(index, policy) for index in range(3)]
    link_all(rigs)
    good = batch(entry(1), entry(2))
    rigs[1].receive(3, proposals=(good,))
    assert rigs[1].replica.has_input(good.instance)
    assert not rigs[2].replica.has_input(good.instance)
    carry_until_decided(rigs)
    assert {rig.disk.get(instance()).value for rig in rigs} == {good.value}
    assert not rigs[1].replica.has_input(good.instance)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_leader_prefers_its_own(leads: bool) -> None:
    """docs/adr/017: what waits at the leader goes before what is forwarded; nowhere else."""
    height = 1 if leads else 0
    own, others = (
        batch(entry(1, height=height), height=height),
        batch(entry(2, height=height), height=height),
    )
    asked: list[InstanceId] = []

    def own_input(which: InstanceId) -> Proposal:
        asked.append(which)
        return own

    rig = rig_of(1, OPEN, own_input=own_input)
    turn = rig.receive(2, proposals=(others,))
    assert asked == [instance(1)] * leads
    given = [r.proposal for r in turn.records if isinstance(r, ProposalRecord) and r.is_input]
    assert given == [own if leads else others]
    assert {vote.value for vote in signed_by(turn)} == {own.digest for _ in range(leads)}
    if leads:  # whoever appends waits for it, under whatever name
        with pytest.raises(ProposalConflict):
            rig.replica.propose(batch(entry(3, height=height), height=height), 0)


def test_signatures_are_paid_for_by_who_sends_them() -> None:
    """HARDENING U7: a batch costs as many checks as it has signatures, and false ones are waste."""
    limits = ReplicaLimits(turn_work_max=64)
    forged = [replace(entry(n), value=b"forged") for n in range(BATCH_ENTRIES_MAX)]
    rig = rig_of(1, OPEN, limits=limits)
    rig.replica.receive(2, Frame(proposals=(batch(*forged),)), rig.now)
    assert rig.replica.is_saturated
    unsigned = [Entry(b"%d" % n, b"v") for n in range(BATCH_ENTRIES_MAX)]
    other = rig_of(1, OPEN, limits=limits)
    other.replica.receive(2, Frame(proposals=(batch(*unsigned),)), rig.now)
    assert not other.replica.is_saturated
    assert other.replica.has_input(InstanceId("t", 0))


def test_entries_are_paid_for_by_who_sends_them() -> None:
    """HARDENING U7: so are those without signatures, and those of what turns out to be no batch.

    128 of them in 4 KB take as long to read as some twenty signatures to check.
    """
    limits = ReplicaLimits(turn_work_max=BATCH_ENTRIES_MAX // ENTRIES_PER_WORK)
    names = [b"%d" % n for n in range(BATCH_ENTRIES_MAX)]
    good = batch(*(Entry(name, b"v") for name in names)).value
    twice = good.replace(names[-1], names[-2])
    for value in (good, twice):
        rig = rig_of(1, OPEN, limits=limits)
        rig.replica.receive(2, Frame(proposals=(Proposal(instance(), value),)), rig.now)
        assert rig.replica.is_saturated
        assert rig.replica.is_open(instance()) == (value is good)


def test_entries_are_paid_for_by_who_says_they_are_a_reason() -> None:
    """W7, U7: what a peer tells a node that lost its votes is read like any proposal."""
    entries = [Entry(b"%d" % n, b"v") for n in range(BATCH_ENTRIES_MAX)]
    limits = ReplicaLimits(turn_work_max=BATCH_ENTRIES_MAX // ENTRIES_PER_WORK)
    rig = lost_rig(policies=lambda topic: OPEN, limits=limits)
    page = Memory(0, 1, is_last=True, lost=False, feed_end=0)
    rig.replica.receive(2, Frame(memory=page, proposals=(batch(*entries),)), rig.now)
    assert rig.replica.is_saturated


def test_a_batch_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it costs is known by its lengths alone."""
    read: list[bytes] = []

    def watched(value: bytes, fields_max: int) -> list[bytes]:
        read.append(value)
        return unpack(value, fields_max)

    monkeypatch.setattr("qbft.crypto.entries.unpack", watched)
    rig = rig_of(1, OPEN)
    good = batch(entry(1), Entry(b"2", b"unsigned"))
    rig.receive(2, proposals=(good,))
    assert rig.replica.is_open(instance())
    assert read == [good.value]
