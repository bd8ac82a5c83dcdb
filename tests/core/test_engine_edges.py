"""What the traces do not show: around the decision, without validators, identities.

A failing broadcast, which ends a run (REFERENCE rule 6), is the driver's: see the tests of `run()`.
"""

from __future__ import annotations

import pytest
from engine_builders import (
    INSTANCE,
    A,
    B,
    change,
    changes,
    commit,
    commits,
    decided,
    definition,
    feed,
    fired,
    is_failed,
    leader,
    new,
    prepare,
    prepares,
    propose,
    sent,
)

from qbft.core import (
    Broadcast,
    Compared,
    Decide,
    Definition,
    InputValue,
    Instance,
    InstanceId,
    Message,
    MessageType,
    Proof,
    Start,
    StopTimer,
    TimerExpired,
    UponRule,
)


def test_an_input_after_the_decision_goes_out_only_where_a_proof_was_kept() -> None:
    """REFERENCE rule 8, D25: noise of the reference's, which a retired engine cannot make."""
    kept = new(1, round_=2)
    feed(kept, *changes(sources=(0, 2, 3)), *commits(A, 2))
    assert sent(kept.step(InputValue(B))) == [propose(B, 2, changes(sources=(0, 2, 3)))]

    moved = new(1, round_=2)
    feed(moved, *changes(sources=(0, 2, 3)), decided(0, A, 1, commits()))
    assert moved.step(InputValue(B)) == (), "deciding in another round voids the proof"

    follower = new(3)
    feed(follower, *commits())
    assert follower.step(InputValue(B)) == ()


def test_timeouts_after_the_decision_do_nothing() -> None:
    """A late tick of the stopped timer changes nothing (REFERENCE rule 11; SCENARIOS A15)."""
    engine = new(round_=3)
    feed(engine, decided(0, A, 1, commits()))
    assert feed(engine, TimerExpired(), TimerExpired()) == ()
    assert engine.round == 1


def test_a_second_input_is_ignored_whatever_it_is() -> None:
    """REFERENCE rules 6 and 8: the channel is read once; later no value is no failure."""
    leads = new(1, input_=A)
    assert feed(leads, InputValue(B), InputValue(None)) == ()
    feed(leads, TimerExpired())
    assert [m.value for m in sent(feed(leads, *changes()))] == [A]


def test_without_validators_nothing_is_needed_and_nothing_kept() -> None:
    """REFERENCE rule 2: n=0 gives Q=0 and F=-1; with FIFO limit 0 every message acts alone."""
    engine = Instance(definition(0, fifo=0), INSTANCE, 3)
    engine.step(Start())
    assert sent(feed(engine, propose(A), propose(B))) == [prepare(3)]
    assert sent(engine.step(prepare(0, A))) == [commit(3)]
    assert engine.prepared_justification == ()
    assert engine.step(change(0, 2)) == (), "there is nobody to follow"
    assert sent(engine.step(propose(B, 2))) == [prepare(3, B, 2)]
    assert feed(engine, commit(0, A, 2))[-2:] == (StopTimer(), Decide(A, 2, ()))

    engine = Instance(definition(0, fifo=1), INSTANCE, 3)
    engine.step(Start())
    assert fired(engine.step(change(0, 2))) == [UponRule.F_PLUS_1_ROUND_CHANGES]
    answers = Instance(definition(0, fifo=0), INSTANCE, 3)
    assert answers.step(decided(0, A, 1))[-1] == Decide(A, 1, ())


def test_a_verdict_that_nobody_asked_for_is_ignored() -> None:
    """REFERENCE rule 32: it may come late, after the timer has ended the comparison."""
    for matches in (True, False):
        assert new().step(Compared(matches=matches)) == ()


def test_a_round_change_for_round_1_at_a_leader_that_waits_is_the_gates_business() -> None:
    """The parity page: there the reference stops with an internal error, and so do we."""
    waiting = new(0)
    assert is_failed(feed(waiting, *changes(1, sources=(1, 2, 3))))
    assert waiting.step(InputValue(A)) == ()


def test_own_messages_share_their_proof_with_what_nests_them() -> None:
    """DESIGN, signatures: filled when the turn is signed, for every copy that is out by then."""
    engine = new()
    [own] = sent(engine.step(propose(A)))
    assert own.proof is not None
    assert own.proof.signature is None
    feed(engine, prepare(0), prepare(1), own)
    [change_] = sent(engine.step(TimerExpired()))
    nested = [m for m in change_.justification if m.source == 3]
    assert nested[0].proof is own.proof
    assert change_.stripped().proof is change_.proof
    assert own.stripped() is own


def test_a_proof_takes_no_part_in_equality_or_hashing() -> None:
    """DESIGN, signatures: nor in parity."""
    bare = prepare(0)
    signed = Message(MessageType.PREPARE, INSTANCE, 0, 1, A, proof=Proof(b"signature"))
    assert bare == signed
    assert hash(bare) == hash(signed)
    assert "signature" not in repr(signed)


def test_a_definition_defaults_to_the_references_limits() -> None:
    """REFERENCE rules 14 and 33: a hundred messages of each source, the comparison off."""
    default = Definition(4, leader)
    assert (default.fifo_messages_max, default.compares) == (100, False)
    assert default.leader(INSTANCE, 1) == 0


def test_the_leaders_broadcast_comes_before_its_timer() -> None:
    """REFERENCE rule 7, and effects are performed in order."""
    engine = Instance(definition(), INSTANCE, 0)
    engine.step(InputValue(A))
    assert isinstance(engine.step(Start())[0], Broadcast)
    assert sent(feed(engine, *prepares())) == [commit(0)]


@pytest.mark.parametrize("text", ["a/0", "prices/btc/17", "0._/-/9", f"{'a' * 128}/{2**63 - 1}"])
def test_an_instance_is_written_topic_slash_height(text: str) -> None:
    """DESIGN, section 4: split at the last slash."""
    parsed = InstanceId.parse(text)
    assert str(parsed) == text
    assert (parsed.topic, str(parsed.height)) == tuple(text.rsplit("/", 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/1",
        "a/",
        "a/-1",
        "a/+1",
        "a/01",
        "a/1 ",
        "a/\u0661",
        "A/1",
        "-a/1",
        "a b/1",
        f"{'a' * 129}/1",
        f"a/{2**63}",
        f"a/{'9' * 400}",
    ],
)
def test_what_is_no_instance_is_refused_by_name(text: str) -> None:
    """DESIGN, section 4."""
    with pytest.raises(ValueError, match=r"^(instance|topic|height) "):
        InstanceId.parse(text)


def test_equal_instances_are_one_key() -> None:
    """However each of them came about; replicas look engines up by them."""
    made, parsed = InstanceId("prices/btc", 17), InstanceId.parse("prices/btc/17")
    assert {made: "engine"}[parsed] == "engine"
    assert len({made, parsed, InstanceId("prices/btc", 18)}) == 2
    assert repr(made) == "InstanceId(topic='prices/btc', height=17)"


def test_instances_order_by_topic_then_height() -> None:
    """By number, not by digits."""
    assert InstanceId("a", 9) < InstanceId("a", 10) < InstanceId("b", 0)
    with pytest.raises(ValueError, match="height -1"):
        InstanceId("a", -1)


def test_the_log_tells_what_it_holds_of_a_source() -> None:
    """DESIGN, votes survive: a peer without its votes is told which of them are known here."""
    engine = new(0)
    feed(engine, prepare(2), prepare(3), commit(2))
    assert engine.heard_from(2) == (prepare(2), commit(2))
    assert engine.heard_from(1) == ()
