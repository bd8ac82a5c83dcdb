"""Values that the application gives where no client has (issue 7, applications)."""

from __future__ import annotations

import pytest
from replica_builders import Rig, instance, kinds, proposal, records_of, round_change, work

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.replica.protocols import ProposalRecord

V, W = proposal(), proposal(b"w")


class Source:
    """Gives what it is told to give, or fails, and remembers what it was asked."""

    def __init__(self, *gives: Proposal | Exception | None) -> None:
        self.gives = list(gives)
        self.asked: list[InstanceId] = []

    async def provide_value(self, which: InstanceId) -> Proposal | None:
        """Give the next."""
        self.asked.append(which)
        given = self.gives.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


def own_only(topic: str) -> TopicPolicy:
    """A node proposes only what its own clients, or its application, gave it."""
    return TopicPolicy(adopts=False)


def opened(source: Source, **changes: object) -> Rig:
    """Validator 1, which leads round 2 of an instance that two peers' ROUND-CHANGEs have opened."""
    rig = Rig(1, source=source, policies=own_only, **changes)  # type: ignore[arg-type]
    rig.receive(2, relayed=(round_change(2, 2), round_change(3, 2)))
    return rig


async def test_a_leader_without_an_input_proposes_what_its_application_gives() -> None:
    """DESIGN, `own`: asked once an instance is open; journaled as the input, and forwarded."""
    source = Source(V)
    rig = opened(source)
    assert ("PRE_PREPARE", 2) not in kinds(rig.turns)
    await work(rig)
    assert source.asked == [instance()]
    assert ("PRE_PREPARE", 2) in kinds(rig.turns)
    (record,) = records_of(rig.turns, lambda record: isinstance(record, ProposalRecord))
    assert record == ProposalRecord(V, is_input=True)
    assert any(V in frame.proposals for turn in rig.turns for _, frame in turn.frames)


async def test_what_a_client_gave_needs_no_application() -> None:
    """An own client's proposal is the input; also one that comes while the application thinks."""
    source = Source(W)
    rig = Rig(1, source=source, policies=own_only)
    rig.propose(V)
    assert source.asked == []
    late = opened(source)
    late.propose(V)
    await work(late)
    assert source.asked == [instance()]
    given = [r.proposal for r in records_of(late.turns, lambda r: isinstance(r, ProposalRecord))]
    assert given == [V]


async def test_nothing_and_a_failure_are_asked_again_in_the_next_round() -> None:
    """Slow, crashed or empty-handed: the instance goes on, and each round is another chance."""
    source = Source(None, RuntimeError("a bug of its own"), V)
    rig = opened(source)
    await work(rig)
    rig.turn()
    assert len(source.asked) == 1
    rig.wait(2_000)
    rig.receive(2, relayed=(round_change(2, 3), round_change(3, 3)))
    await work(rig)
    assert rig.rejected == [("application_gave_no_answer", 1)]
    rig.receive(2, relayed=(round_change(2, 4), round_change(3, 4)))
    await work(rig)
    assert len(source.asked) == 3
    assert records_of(rig.turns, lambda record: isinstance(record, ProposalRecord))


async def test_a_proposal_for_something_else_is_refused() -> None:
    """What the application says is checked like anybody's word: the instance, the proposer."""
    rig = opened(Source(proposal(height=9)))
    await work(rig)
    assert rig.rejected == [("application_gave_bad_proposal", 1)]
    assert not records_of(rig.turns, lambda record: isinstance(record, ProposalRecord))


@pytest.mark.bites("provided_values_max")
async def test_only_so_many_are_asked_for_at_once() -> None:
    """DESIGN, bounds: the others when they are looked at again."""
    source = Source(None, None)
    rig = opened(source, limits=ReplicaLimits(provided_values_max=1))
    other = instance(4)
    rig.receive(2, relayed=(round_change(2, 2, other), round_change(3, 2, other)))
    await work(rig)
    assert source.asked == [instance()]
    rig.receive(2, relayed=(round_change(2, 3, other), round_change(3, 3, other)))
    await work(rig)
    assert source.asked == [instance(), other]
