"""The seal of an epoch in a replica: who PREPAREs it, and who is held to it (issue 6, epochs)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from replica_builders import (
    PP,
    PREPARE,
    Rig,
    carry,
    carry_until_decided,
    certificate,
    instance,
    link_all,
    own_section,
    proposal,
    round_change,
    signed_by,
    vote,
    votes,
)

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.crypto.seal import SEAL_TOPIC, Seal, decode_seal, seal_instance
from qbft.errors import Busy, InvariantViolation, OtherEpoch, QbftError
from qbft.records import MarkRecord, ProposalRecord, QuarantineRecord
from qbft.replica.epoch import SEALS_MAX, Epoch, EpochGuard
from qbft.replica.policy import TopicPolicy

OPERATOR = b"k" * 32
EPOCH = Epoch(is_sealable=True)
FIRST = 8
"""The first height of topic "t" that the successor decides."""


def seal_proposal(first: int = FIRST, default: int = 0, operator: bytes = OPERATOR) -> Proposal:
    """An operator's proposal to end epoch 0."""
    seal = Seal(bytes(range(32)), default, (("t", first),))
    return Proposal(seal_instance(0), seal.encode(), operator, b"s" * 64)


S = seal_proposal()


def policies(topic: str) -> TopicPolicy:
    """Seals are the operator's; all else is open."""
    return TopicPolicy(proposers=frozenset({OPERATOR} if topic == SEAL_TOPIC else ()))


def rig(index: int = 2, **changes: object) -> Rig:
    """A node of an epoch that can be sealed."""
    settings = {"epoch": EPOCH, "policies": policies, **changes}
    return Rig(index, **settings)  # type: ignore[arg-type]


def votes_in(node: Rig, topic: str = "t") -> list[tuple[str, int, int]]:
    """(type, height, round) of the node's votes in a topic."""
    own = [v for v in signed_by(node.turns) if isinstance(v.instance, InstanceId)]
    return [(v.type.name, v.instance.height, v.round) for v in own if v.instance.topic == topic]


def lead(node: Rig, what: Proposal, **parts: object) -> None:
    """Let the leader of round 1 propose this, value and all."""
    leader = what.instance.height % 4
    node.receive(leader, own_section(vote(PP, leader, what), proposals=(what,)))


def test_a_node_that_prepares_a_seal_votes_no_more_where_the_successor_does() -> None:
    """Issue 6, epochs: from then on it signs none there; below it goes on."""
    node = rig()
    lead(node, S)
    assert votes_in(node, SEAL_TOPIC) == [("PREPARE", 0, 1)]
    for height in (FIRST - 1, FIRST, FIRST + 1):
        lead(node, proposal(b"v", height))
    lead(node, proposal(b"v", 0, "other"))
    assert votes_in(node) == [("PREPARE", FIRST - 1, 1)]
    assert votes_in(node, "other") == []


@pytest.mark.parametrize("height", [FIRST, FIRST + 7])
def test_a_node_that_has_voted_there_does_not_prepare_it(height: int) -> None:
    """Issue 6, epochs: only if it has signed no vote at or above these heights."""
    node = rig()
    lead(node, proposal(b"v", height))
    lead(node, S)
    assert votes_in(node, SEAL_TOPIC) == []
    assert ("seal_too_low", 2) in node.rejected
    lead(node, proposal(b"w", FIRST))
    assert len(votes_in(node)) == 2 - (height == FIRST), "it is not held to what it refused"


def test_what_is_below_is_no_reason() -> None:
    """Lower instances finish in the old epoch."""
    node = rig()
    lead(node, proposal(b"v", FIRST - 1))
    lead(node, S)
    assert votes_in(node, SEAL_TOPIC) == [("PREPARE", 0, 1)]


def test_a_decision_a_mark_or_a_lost_vote_there_is_a_reason_as_well() -> None:
    """What this node has voted on is known to it by votes, decisions and marks together."""
    decided = rig()
    known = proposal(b"v", FIRST)
    decided.receive(0, certificates=(certificate(known),), proposals=(known,))
    marked = rig()
    marked.disk._keep_records([MarkRecord("t", FIRST + 1)])
    given_up = rig()
    given_up.disk._keep_records([QuarantineRecord(instance(FIRST), "a bug")])
    given_up = given_up.restart(epoch=EPOCH, policies=policies)
    for node in (decided, marked, given_up):
        lead(node, S)
        assert votes_in(node, SEAL_TOPIC) == []


def test_a_quorum_of_prepares_stands_for_the_check() -> None:
    """DESIGN, validity: else a prepared seal could stall for ever.

    The nodes of that quorum hold themselves to it, and so nothing is decided there any more.
    """
    node = rig(3)
    lead(node, proposal(b"v", FIRST))
    lead(node, S)
    changes = [round_change(s, 2, prepared=S, prepares=(0, 1, 2)) for s in (0, 1, 2)]
    carried = [c.stripped() for c in changes] + list(votes(PREPARE, (0, 1, 2), S))
    node.receive(1, own_section(vote(PP, 1, S, 2, justification=carried)))
    assert votes_in(node, SEAL_TOPIC) == [("PREPARE", 0, 2)]


def test_the_seal_is_journaled_before_it_is_voted_for_and_holds_after_a_restart() -> None:
    """Issue 6, epochs: journaled, in the guard, and so again after restart and resume."""
    node = rig()
    lead(node, S)
    kept = [type(record) for record in node.turns[0].records]
    assert kept[0] is ProposalRecord
    node.turns.clear()
    again = node.restart(epoch=EPOCH, policies=policies)
    lead(again, proposal(b"v", FIRST))
    lead(again, proposal(b"v", FIRST - 1))
    assert votes_in(again) == [("PREPARE", FIRST - 1, 1)]


def test_a_node_is_held_to_a_seal_that_is_its_input() -> None:
    """A later leader would PREPARE its own PRE-PREPARE at once: it is held to it from the start."""
    node = rig()
    node.receive(3, proposals=(S,))
    assert votes_in(node, SEAL_TOPIC) == []
    lead(node, proposal(b"v", FIRST))
    again = node.restart(epoch=EPOCH, policies=policies)
    lead(again, proposal(b"v", FIRST))
    assert votes_in(node) == votes_in(again) == []


def test_what_is_open_there_without_a_vote_is_closed() -> None:
    """It cannot be voted on any more; its client is told to come back."""
    node = rig()
    node.receive(3, proposals=(proposal(b"v", FIRST),))
    assert node.replica.is_open(instance(FIRST))
    lead(node, S)
    assert not node.replica.is_open(instance(FIRST))
    node.wait(5_000)
    assert votes_in(node) == []


async def test_clients_are_told_to_wait_and_then_to_go_on_elsewhere() -> None:
    """Issue 6, epochs: a client learns which cluster decides."""
    node = rig()
    waiting = node.replica.propose(proposal(b"v", FIRST), 0)
    lead(node, S)
    with pytest.raises(Busy):
        await waiting
    with pytest.raises(Busy):
        node.replica.propose(proposal(b"v", FIRST), 0)
    node.receive(0, certificates=(certificate(S, (0, 1, 3)),))
    with pytest.raises(OtherEpoch, match="next epoch, cluster id 0001"):
        node.replica.propose(proposal(b"v", FIRST), 0)
    node.replica.propose(proposal(b"v", FIRST - 1), 0)


async def test_a_decided_seal_ends_what_was_voted_on_there() -> None:
    """Nothing there can be decided any more: it holds no mark back, after a restart either."""
    node = rig()
    waiting = node.replica.propose(proposal(b"v", 10), 0)  # which this node leads
    node.turn()
    assert votes_in(node) == [("PRE_PREPARE", 10, 1), ("PREPARE", 10, 1)]
    node.receive(0, certificates=(certificate(S, (0, 1, 3)),), proposals=(S,))
    with pytest.raises(OtherEpoch):
        await waiting
    records = node.turn().records
    assert QuarantineRecord(instance(10), "the next epoch decides it", abandoned=True) in records
    again = node.restart(epoch=EPOCH, policies=policies)
    lead(again, proposal(b"v", FIRST + 4))
    lead(again, proposal(b"v", FIRST - 1))
    assert votes_in(again) == [("PREPARE", FIRST - 1, 1)]


def test_another_seal_that_is_decided_gives_back_what_only_this_one_claimed() -> None:
    """One instance decides the seal of an epoch: what lost there claims nothing."""
    node = rig()
    lead(node, S)
    higher = seal_proposal(FIRST + 1)
    node.receive(0, certificates=(certificate(higher, (0, 1, 3), 2),), proposals=(higher,))
    for height in (FIRST, FIRST + 1):
        lead(node, proposal(b"v", height))
    assert votes_in(node) == [("PREPARE", FIRST, 1)]


def test_the_next_epoch_votes_only_from_these_heights_on() -> None:
    """Issue 6, epochs: the new one votes only from these heights on."""
    begins = Seal(bytes(32), 3, (("t", FIRST),))
    node = rig(epoch=Epoch(1, begins, is_sealable=True))
    for height in (FIRST - 1, FIRST):
        lead(node, proposal(b"v", height))
    for height in (1, 3):
        lead(node, proposal(b"v", height, "other"))
    assert votes_in(node) == [("PREPARE", FIRST, 1)]
    assert votes_in(node, "other") == [("PREPARE", 3, 1)]


@pytest.mark.parametrize(
    "what",
    [
        Proposal(seal_instance(0), b"no seal", OPERATOR, b"s" * 64),
        Proposal(seal_instance(1), S.value, OPERATOR, b"s" * 64),
        seal_proposal(operator=b"x" * 32),
        seal_proposal(operator=b""),
    ],
    ids=["no seal", "another epoch's", "of no operator", "unsigned"],
)
def test_only_operators_propose_only_seals(what: Proposal) -> None:
    """Issue 6, epochs: the reserved topic is guarded; nothing else opens an instance of it."""
    node = rig()
    node.receive(3, proposals=(what,))
    assert not node.replica.is_open(what.instance)
    with pytest.raises(QbftError):
        node.replica.propose(what, 0)


def test_no_seal_reaches_below_its_own_epoch() -> None:
    """DESIGN, validity: deterministic in (instance, value)."""
    guard = EpochGuard(Epoch(0, Seal(bytes(32), 1, (("t", FIRST + 1),)), is_sealable=True))
    assert guard.read(S) is None
    assert guard.read(seal_proposal(FIRST + 1, 1)) is not None


def test_without_operators_there_is_no_seal() -> None:
    """A cluster file that names none leaves the reserved topic closed, not open."""
    node = Rig(1)
    node.receive(3, proposals=(S,))
    assert not node.replica.is_open(S.instance)


def test_the_guard_stops_what_should_not_come_so_far() -> None:
    """DESIGN, errors: in the guard a contradiction is a bug, and stops the node."""
    guard = EpochGuard(EPOCH)
    guard.accept(S.digest, Seal(bytes(32), 0, (("t", FIRST),)))
    guard.admit(instance(FIRST - 1))
    with pytest.raises(InvariantViolation):
        guard.admit(instance(FIRST))


class Obliging:
    """An application that finds every value valid, and says what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[InstanceId] = []

    async def check_value(self, which: InstanceId, value: bytes, proposer: int) -> bool:
        """Accept."""
        self.asked.append(which)
        return True


def test_no_application_judges_seals() -> None:
    """Its yes would stand for a check that only this node can make."""
    application = Obliging()
    node = rig(application=application)
    node.receive(3, proposals=tuple(seal_proposal(first) for first in range(9, 9 + SEALS_MAX)))
    lead(node, S)
    assert [turn.work for turn in node.turns if turn.work] == []
    assert votes_in(node, SEAL_TOPIC) == []


def test_seals_are_bounded() -> None:
    """DESIGN, bounds: even an operator's."""
    node = rig()
    for first in range(100, 100 + SEALS_MAX + 3):
        node.receive(3, proposals=(seal_proposal(first),))
    assert len(node.replica._sealing._answers) == SEALS_MAX


def test_a_node_that_may_have_lost_its_vote_for_a_seal_votes_nowhere() -> None:
    """HARDENING W7: it cannot know what the seal claims, until that is decided."""
    node = rig()
    node.disk._keep_records([QuarantineRecord(S.instance, "votes here may be lost")])
    node = node.restart(epoch=EPOCH, policies=policies)
    lead(node, proposal(b"v", 0))
    assert votes_in(node) == []
    node.receive(0, certificates=(certificate(S, (0, 1, 3)),), proposals=(S,))
    for height in (1, FIRST):
        lead(node, proposal(b"v", height))
    assert [height for _, height, _ in votes_in(node)] == [1]


def four() -> list[Rig]:
    """Four nodes whose links are up."""
    rigs = [rig(index) for index in range(4)]
    link_all(rigs)
    return rigs


async def test_a_seal_that_was_too_low_is_followed_by_a_higher_one() -> None:
    """It stays undecided; the operator proposes another for the same instance, by round changes."""
    rigs = four()
    for node in rigs[2:]:
        lead(node, proposal(b"v", FIRST + 1))  # two of four have voted: no quorum for S
    rigs[0].replica.propose(S, 0)
    for _ in range(8):
        carry(rigs, 50)
    assert rigs[0].replica.is_open(S.instance)
    higher = seal_proposal(FIRST + 2)
    with pytest.raises(QbftError, match="has voted"):
        rigs[3].replica.propose(S, rigs[3].now)
    rigs[3].replica.propose(higher, rigs[3].now)
    carry_until_decided(rigs, S.instance)
    assert {node.disk.get(S.instance).value for node in rigs} == {higher.value}


def test_nothing_that_a_decided_seal_gives_away_is_decided_in_its_epoch() -> None:
    """Issue 6, epochs: whatever the order of messages, losses and restarts.

    Load runs across the first heights of three seals, which are proposed one after the other.
    """
    seals = {low: seal_proposal(low, low) for low in (4, 7, 20)}
    won = set()
    for seed in range(12):
        draw = random.Random(seed)
        rigs = four()
        when = dict(zip((draw.randrange(2, 7), draw.randrange(7, 11), 20), seals, strict=True))
        for step in range(60):
            if step < 10:
                give(rigs, draw, [proposal(b"v", step)])
            if step in when:
                give(rigs, draw, [seals[when[step]]])
            if draw.random() < 0.05:
                place = draw.randrange(4)
                rigs[place] = rigs[place].restart(epoch=EPOCH, policies=policies)
                link_all(rigs)
            carry(rigs, draw.choice((1, 5, 600)), lambda draw=draw: draw.random() < 0.7)
        link_all(rigs)
        carry_until_decided(rigs, S.instance)
        (value,) = {node.disk.get(S.instance).value for node in rigs}
        first = decode_seal(value).default
        decided = {height for height in range(10) for node in rigs if is_decided(node, height)}
        assert not [h for h in decided if h >= first], f"seed {seed}: {decided} and {first}"
        for height in range(min(first, 10)):
            give(rigs, draw, [proposal(b"v", height)])
            carry_until_decided(rigs, instance(height))
        won.add(first)
    assert won == set(seals), "one of the seals never came through"


def is_decided(node: Rig, height: int) -> bool:
    """Whether the node has a decision at that height."""
    return node.disk.get(instance(height)) is not None


def give(rigs: list[Rig], draw: random.Random, what: Iterable[Proposal]) -> None:
    """Hand proposals to all nodes in any order."""
    for node in draw.sample(rigs, len(rigs)):
        node.receive((node.index + 1) % 4, proposals=tuple(what))


async def test_refused_seals_keep_out_none_that_comes_later() -> None:
    """An operator may have to try often, and a refusal can be found out again: a no is for good."""
    node = rig()
    lead(node, proposal(b"v", FIRST + 1))
    refused = [seal_proposal(FIRST, number) for number in range(2 * SEALS_MAX)]
    for low in refused:
        node.receive(3, proposals=(low,))
    assert len(node.replica._sealing._answers) == SEALS_MAX
    lead(node, refused[0])
    assert votes_in(node, SEAL_TOPIC) == [], "forgotten, and refused once more"
    other = rig()
    lead(other, proposal(b"v", FIRST + 1))
    for low in refused:
        other.receive(3, proposals=(low,))
    lead(other, seal_proposal(FIRST + 2))
    assert votes_in(other, SEAL_TOPIC) == [("PREPARE", 0, 1)]
