"""Validity before `step` (SCENARIOS B14; DESIGN, validity)."""

from __future__ import annotations

import asyncio

import pytest
from replica_builders import (
    PP,
    PREPARE,
    Rig,
    certificate,
    instance,
    kinds,
    own_section,
    proposal,
    round_change,
    signed_by,
    vote,
    votes,
    work,
)

from qbft.core import InstanceId, Message
from qbft.crypto.proposal import Proposal
from qbft.replica.limits import ReplicaLimits

V, W = proposal(b"v"), proposal(b"w")


class Judge:
    """An application that says what it is told to, or nothing, and remembers what it was asked."""

    def __init__(self, **answers: bool) -> None:
        self.answers: dict[bytes, bool] = {k.encode(): v for k, v in answers.items()}
        self.asked: list[tuple[InstanceId, bytes, int]] = []
        self.running = 0
        self.most = 0

    async def check_value(self, which: InstanceId, value: bytes, proposer: int) -> bool:
        """Answer, fail, or never answer."""
        self.asked.append((which, value, proposer))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if value == b"raises":
                raise RuntimeError("the application has a bug")
            if value not in self.answers:
                await asyncio.Event().wait()
            return self.answers[value]
        finally:
            self.running -= 1


def proposing(what: Proposal) -> Message:
    """The PRE-PREPARE of validator 0, the leader of round 1."""
    return vote(PP, 0, what)


async def test_a_valid_value_is_prepared() -> None:
    """The application is asked once, with the leader that sent it; nothing is voted before."""
    judge = Judge(v=True)
    rig = Rig(1, application=judge)
    rig.receive(0, own_section(proposing(V), proposals=(V,)))
    rig.receive(2, relayed=(proposing(V),))
    assert kinds(rig.turns) == []
    await work(rig)
    assert kinds(rig.turns) == [("PREPARE", 1)]
    assert judge.asked == [(instance(), b"v", 0)]


async def test_an_invalid_value_is_not_prepared_and_the_round_changes() -> None:
    """SCENARIOS B14: no honest PREPARE; the next leader's value may win."""
    rig = Rig(1, application=Judge(v=False))
    rig.receive(0, own_section(proposing(V), proposals=(V,)))
    await work(rig)
    rig.receive(0, own_section(proposing(V)))
    assert [turn.work for turn in rig.turns if turn.work] == []
    rig.wait(1_000)
    assert kinds(rig.turns) == [("ROUND_CHANGE", 2)]
    assert rig.rejected == [("invalid_value", 0)]


async def test_what_the_application_refuses_is_not_adopted() -> None:
    """SCENARIOS B14: else no leader had anything that the others do not refuse, for ever."""
    rig = Rig(1, application=Judge(v=False, w=True))
    rig.receive(0, own_section(proposing(V), proposals=(V,)))
    await work(rig)
    rig.propose(W)
    rig.wait(1_000)
    for source in (2, 3):
        rig.receive(source, own_section(round_change(source, 2)))
    assert [v.value for v in signed_by(rig.turns) if v.type is PP] == [W.digest]


async def test_a_forward_is_adopted_once_the_application_has_found_it_valid() -> None:
    """DESIGN, validity: one question for it as an input, none for it as the leader's value."""
    judge = Judge(v=True)
    rig = Rig(0, application=judge)
    rig.receive(2, proposals=(V,))
    assert kinds(rig.turns) == []
    await work(rig)
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]
    assert judge.asked == [(instance(), b"v", 2)]


async def test_no_value_is_asked_for_while_one_may_be_adopted() -> None:
    """ProvideValue is for an instance for which nothing has come (docs/APPLICATIONS.md)."""

    class Source:
        asked = 0

        async def provide_value(self, which: InstanceId) -> Proposal:
            self.asked += 1
            return Proposal(which, b"w")

    source = Source()
    rig = Rig(0, application=Judge(v=False), source=source)
    rig.receive(2, proposals=(V,))
    assert sum(len(turn.work) for turn in rig.turns) == 1
    await work(rig)
    assert source.asked == 0
    await work(rig)
    assert source.asked == 1
    assert {v.value for v in signed_by(rig.turns)} == {W.digest}


async def test_a_second_forward_is_adopted_where_the_first_is_refused() -> None:
    """Whoever is first does not keep others out by what nobody accepts."""
    rig = Rig(0, application=Judge(v=False, w=True))
    rig.receive(2, proposals=(V,))
    rig.receive(3, proposals=(W,))
    await work(rig)
    assert {v.value for v in signed_by(rig.turns)} == {W.digest}


@pytest.mark.parametrize("value", [b"silent", b"raises"])
async def test_no_answer_holds_it_and_asks_again(value: bytes) -> None:
    """DESIGN: asynchronously and with a deadline; no answer: it is held."""
    judge = Judge()
    rig = Rig(1, application=judge)
    what = proposal(value)
    rig.receive(0, own_section(proposing(what), proposals=(what,)))
    began = asyncio.get_running_loop().time()
    await work(rig)
    assert (asyncio.get_running_loop().time() - began) == (2 if value == b"silent" else 0)
    assert kinds(rig.turns) == []
    assert rig.rejected == [("application_gave_no_answer", 1)], "of this node, not of its leader"
    judge.answers[value] = True
    if value == b"raises":
        return
    rig.wait(500)
    await work(rig)
    assert kinds(rig.turns)[-1][0] == "PREPARE"


async def test_an_application_that_fails_at_once_is_asked_at_a_pace() -> None:
    """Whatever makes it fail may be a liar's value: it must not be asked without end."""
    judge = Judge()
    rig = Rig(1, application=judge)
    what = proposal(b"raises")
    rig.receive(0, own_section(proposing(what), proposals=(what,)))
    for _ in range(10):
        await work(rig)
    assert len(judge.asked) == 1
    for _ in range(3):
        rig.wait(500)
        await work(rig)
    assert len(judge.asked) == 4


async def test_a_locked_value_skips_the_check() -> None:
    """One justified by J2: f+1 correct nodes have passed it, and it could stall for ever else."""
    judge = Judge(v=False)
    rig = Rig(2, application=judge)
    changes = [round_change(s, 2, prepared=V, prepares=(0, 1, 3)).stripped() for s in (0, 1, 3)]
    locked = vote(PP, 1, V, 2, justification=[*changes, *votes(PREPARE, (0, 1, 3), V)])
    rig.receive(1, own_section(locked, proposals=(V,)))
    assert ("PREPARE", 2) in kinds(rig.turns)
    await work(rig)
    assert judge.asked == [(instance(), b"v", 1)]  # whether to adopt it
    assert rig.replica._open[instance()].input is None


@pytest.mark.parametrize(
    "prepares",
    [
        votes(PREPARE, (0, 1), V),
        (*votes(PREPARE, (0, 1), V), vote(PREPARE, 1, V)),
        (*votes(PREPARE, (0, 1), V), vote(PREPARE, 3, V, 2)),
        votes(PREPARE, (0, 1, 3), W),
        votes(PREPARE, (0, 1, 3), V, 2),
    ],
    ids=["no quorum", "one twice", "two rounds", "another value", "not an earlier round"],
)
async def test_nothing_less_than_a_lock_skips_the_check(prepares: tuple[Message, ...]) -> None:
    """A quorum of PREPAREs, of one earlier round, for this very value."""
    judge = Judge(v=False)
    rig = Rig(2, application=judge)
    changes = [round_change(source, 2) for source in (0, 1, 3)]
    loose = vote(PP, 1, V, 2, justification=[*changes, *prepares])
    rig.receive(1, own_section(loose, proposals=(V,)))
    await work(rig)
    assert judge.asked == [(instance(), b"v", 1)]
    assert ("PREPARE", 2) not in kinds(rig.turns)


async def test_own_values_are_not_judged() -> None:
    """What this node proposes itself came through its own client's door."""
    judge = Judge()
    rig = Rig(0, application=judge)
    rig.propose(V)
    assert kinds(rig.turns) == [("PRE_PREPARE", 1), ("PREPARE", 1)]
    assert judge.asked == []


@pytest.mark.bites("checks_per_proposer_max")
async def test_a_liars_values_do_not_take_the_application_from_others() -> None:
    """Bounds: so many of one leader's values are looked at, the others wait their turn."""
    judge = Judge(v=True)
    rig = Rig(1, application=judge, limits=ReplicaLimits(checks_per_proposer_max=2))
    for height in (0, 4, 8, 12):
        slow = proposal(b"slow", height)
        rig.receive(0, own_section(vote(PP, 0, slow), proposals=(slow,)))
    other = proposal(b"v", 3)
    rig.receive(3, own_section(vote(PP, 3, other), proposals=(other,)))
    assert sum(len(turn.work) for turn in rig.turns) == 3
    await work(rig)
    assert kinds(rig.turns) == [("PREPARE", 1)]
    assert judge.most == 3
    assert judge.running == 0
    rig.wait(500)
    assert sum(len(turn.work) for turn in rig.turns) == 2


async def test_an_answer_after_the_decision_changes_nothing() -> None:
    """The instance is gone, and its place among the running checks is free again."""
    rig = Rig(1, application=Judge(v=True))
    rig.receive(0, own_section(proposing(V), proposals=(V,)))
    rig.receive(3, certificates=(certificate(V, (0, 2, 3)),))
    assert rig.disk.get(instance()).value == b"v"
    await work(rig)
    assert kinds(rig.turns) == []
    assert rig.replica._questions._checking[0] == 0
