"""The oracle itself: I1 to I12 can fail, each (SCENARIOS, section 0); what a disk's loss does.

I5 to I8 of whole clusters, and forks, are among the negative controls of `test_worlds.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from plans import plan

from qbft.core import InstanceId, Message, MessageType
from qbft.core.instance import Instance
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal, value_digest
from qbft.decision import Decision
from qbft.replica.held import HeldVotes
from qbft.replica.limits import ReplicaLimits
from qbft.replica.openings import Openings
from qbft.replica.replica import Replica
from qbft.sim.network import Network
from qbft.sim.node import Node
from qbft.sim.oracle import Oracle, Violation
from qbft.sim.plan import Crash, Cut, DiskLost, Liar, Partition
from qbft.sim.world import World
from qbft.transport import Frame

INSTANCE, LATER = InstanceId("t", 0), InstanceId("t", 1)
CHANGE = Message(MessageType.ROUND_CHANGE, INSTANCE, 2, 2)
PREPARE = Message(MessageType.PREPARE, INSTANCE, 2, 1, b"v")


CARRIER = Message(MessageType.PRE_PREPARE, INSTANCE, 3, 3, b"v", justification=(CHANGE,))


def oracle(*heard: tuple[Message, int]) -> Oracle:
    """One that saw validator 2 leave round 1, and lose its disk; these votes had been heard."""
    seeing = Oracle(4, range(4))
    seeing.signed(CHANGE)
    for vote, by in heard:
        seeing.heard(vote, by)
    seeing.loses_disk(2)
    return seeing


@pytest.mark.parametrize("vote", [CHANGE, CARRIER])
def test_a_vote_that_f_plus_1_remember_binds_a_node_that_has_lost_it(vote: Message) -> None:
    """W7: of n-F that answer one is among them and tells; nested votes were heard too."""
    with pytest.raises(Violation, match="I6"):
        oracle((CHANGE, 0), (vote, 1)).signed(PREPARE)


def test_a_vote_that_it_may_not_be_told_of_binds_nobody() -> None:
    """Nobody heard it, or one that need not be among those that answer, or itself."""
    oracle().signed(PREPARE)
    oracle((CHANGE, 0), (CHANGE, 0), (CHANGE, 2)).signed(PREPARE)


def test_a_vote_that_was_heard_and_forgotten_binds_nobody() -> None:
    """A hearer that loses power before it can tell knows nothing; before or after the loss."""
    seeing = oracle((CHANGE, 0), (CHANGE, 1))
    seeing.loses_power(1)
    seeing.signed(PREPARE)
    seeing = Oracle(4, range(4))
    seeing.signed(CHANGE)
    for by in (0, 1):
        seeing.heard(CHANGE, by)
        seeing.loses_power(by)
    seeing.loses_disk(2)
    seeing.signed(PREPARE)


def test_what_it_says_afterwards_binds_it_whoever_heard_it() -> None:
    """It is in its new journal; the same vote as before the loss too."""
    seeing = oracle((CHANGE, 0), (CHANGE, 1))
    seeing.signed(CHANGE)
    seeing.loses_power(1)
    with pytest.raises(Violation, match="I6"):
        seeing.signed(PREPARE)


def test_votes_of_others_are_not_forgotten() -> None:
    """Only the one that lost its disk has forgotten."""
    seeing = Oracle(4, range(4))
    seeing.signed(CHANGE)
    seeing.loses_disk(1)
    with pytest.raises(Violation, match="I6"):
        seeing.signed(PREPARE)


def test_a_lock_ends_with_the_commits_that_nobody_heard() -> None:
    """I8 is about Q-f honest COMMITs that exist; one that is gone for good locks nothing."""
    seeing = Oracle(4, range(4))
    for source in (1, 2):
        seeing.signed(Message(MessageType.COMMIT, INSTANCE, source, 1, b"v"))
    later = Message(MessageType.PREPARE, INSTANCE, 3, 2, b"w")
    seeing.loses_disk(2)
    seeing.signed(later)


# --- each property can fail -----------------------------------------------------------------------


def vote(type_: MessageType, round_: int, value: bytes | None = None, source: int = 1) -> Message:
    """A vote without more to it."""
    return Message(type_, INSTANCE, source, round_, value)


def decision(
    value: bytes,
    sources: tuple[int, ...] = (0, 1, 2),
    round_: int = 1,
    *,
    commits_of: int | None = None,
    instance: InstanceId = INSTANCE,
) -> Decision:
    """A decision of this round with the COMMITs of these, which may be of another round."""
    digest = value_digest(value)
    commits = tuple(
        replace(vote(MessageType.COMMIT, commits_of or round_, digest, source), instance=instance)
        for source in sources
    )
    return Decision(value, Certificate(instance, round_, digest, commits))


def cast(oracle: Oracle, decided: Decision) -> None:
    """Let the oracle see the COMMITs of a decision."""
    for commit in decided.certificate.commits:
        oracle.signed(commit)


def watching(*proposed: bytes) -> Oracle:
    """One that watches four honest nodes, to whom this was proposed."""
    oracle = Oracle(4, range(4), lambda value: not value.startswith(b"bad"))
    for value in proposed:
        for instance in (INSTANCE, LATER):
            oracle.proposed(instance, value)
    return oracle


def test_a_sound_history_is_let_pass() -> None:
    """Else the tests below would show nothing: votes round by round, and all decide once."""
    oracle = watching(b"w")
    for source in range(4):
        for kind in (MessageType.PREPARE, MessageType.COMMIT):
            oracle.signed(vote(kind, 1, b"v", source))
        change = Message(
            MessageType.ROUND_CHANGE, INSTANCE, source, 2, prepared_round=1, prepared_value=b"v"
        )
        oracle.signed(change)
        oracle.signed(vote(MessageType.PREPARE, 2, b"v", source))
    cast(oracle, decision(b"w", instance=LATER))
    for node in range(4):
        oracle.concluded(node, decision(b"w", instance=LATER))


@pytest.mark.parametrize(
    ("name", "history"),
    [
        ("I1", [decision(b"v"), decision(b"w", round_=2)]),
        ("I2", [decision(b"nobody's")]),
        ("I2", [decision(b"bad")]),
        ("I4", [decision(b"v", (0, 1))]),
        ("I4", [decision(b"v", (0, 1, 1))]),
        ("I4", [decision(b"v", (0, 1, 4))]),
        ("I4", [decision(b"v", commits_of=2)]),
        ("I4", [replace(decision(b"v"), value=b"w")]),
        ("I5", [vote(MessageType.PREPARE, 1, b"v"), vote(MessageType.PREPARE, 1, b"w")]),
        ("I6", [vote(MessageType.ROUND_CHANGE, 3), vote(MessageType.COMMIT, 2, b"v")]),
        ("I7", [vote(MessageType.COMMIT, 1, b"v"), vote(MessageType.ROUND_CHANGE, 2)]),
        (
            "I8",
            [
                vote(MessageType.COMMIT, 1, b"v", 0),
                vote(MessageType.COMMIT, 1, b"v", 1),
                vote(MessageType.PREPARE, 2, b"w", 3),
            ],
        ),
        (
            "I8",
            [
                vote(MessageType.PREPARE, 2, b"w", 3),
                vote(MessageType.COMMIT, 1, b"v", 0),
                vote(MessageType.COMMIT, 1, b"v", 1),
            ],
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_votes_and_decisions_must_not_be(name: str, history: list[Decision | Message]) -> None:
    """I1 to I8, each broken by its shortest history; the property is named."""
    oracle = watching(b"v", b"w", b"bad")
    with pytest.raises(Violation, match=rf"^{name}:"):
        show(oracle, history)


def show(oracle: Oracle, history: list[Decision | Message]) -> None:
    """Let the oracle see it, step by step; each decision is another node's."""
    for node, step in enumerate(history):
        if isinstance(step, Decision):
            cast(oracle, step)
            oracle.concluded(node, step)
        else:
            oracle.signed(step)


def test_a_node_decides_once() -> None:
    """I3: what is durable is not decided again, but by a node that has lost its disk."""
    oracle = watching(b"v")
    cast(oracle, decision(b"v"))
    oracle.concluded(1, decision(b"v"))
    with pytest.raises(Violation, match=r"^I3:"):
        oracle.concluded(1, decision(b"v"))
    oracle.loses_disk(1)
    oracle.concluded(1, decision(b"v"))


def test_a_certificate_holds_what_was_cast() -> None:
    """I4: each COMMIT of an honest node is one that it cast, for that value; a liar's may be any.

    One that was cast and then lost with its node's disk proves what it did before.
    """
    decided = decision(b"v")
    oracle = watching(b"v")
    for commit in decided.certificate.commits[:2]:
        oracle.signed(commit)
    with pytest.raises(Violation, match=r"^I4: COMMIT .* was never cast"):
        oracle.concluded(1, decided)
    oracle = Oracle(4, (0, 1, 3))
    oracle.proposed(INSTANCE, b"v")
    for commit in decided.certificate.commits[:2]:
        oracle.signed(commit)
    oracle.loses_disk(0)
    oracle.concluded(1, decided)


CALM = plan(faults_ms=500)


def test_a_run_that_does_not_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: a partition that healing does not end leaves nodes undecided beyond the bound."""
    monkeypatch.setattr(Network, "heal", lambda network: None)
    with pytest.raises(Violation, match=r"^I9: undecided"):
        World(plan(Partition(((0, 1), (2, 3)), 0, 1_000_000))).run()


def test_a_queue_without_bound_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: looked at after every turn, so that one turn beyond the bounds is enough."""
    count_of, looks = HeldVotes.count_of, 0

    def swollen_once(held: HeldVotes, sender: int) -> int:
        nonlocal looks
        looks += 1
        return 1_000_000 if looks == 7 else count_of(held, sender)

    monkeypatch.setattr(HeldVotes, "count_of", swollen_once)
    with pytest.raises(Violation, match=r"^I10:"):
        World(CALM).run()


@pytest.mark.parametrize("spent", [1, -1])
def test_what_is_kept_of_no_open_instance_is_seen(
    spent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: when everything is decided, nothing of what peers sent is kept, and none is owed it."""
    turn_done = Replica.turn_done

    def leaky(replica: Replica, now_ms: int) -> None:
        turn_done(replica, now_ms)
        if not replica._open:
            next(iter(replica._accounts.values())).spent = spent

    monkeypatch.setattr(Replica, "turn_done", leaky)
    with pytest.raises(Violation, match=r"^I10: node \d keeps"):
        World(CALM).run()


CROWDED = replace(
    plan(
        Liar(3, "PhantomOpener"),
        Partition(((0, 1), (2, 3)), 0, 5_000),
        instances=12,
        faults_ms=5_000,
    ),
    small_limits=True,
)
"""A liar floods, own clients have many instances open, and nothing is decided."""


def peers_have_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers may open what they like."""
    monkeypatch.setattr(Openings, "has_place_in", lambda openings, peer, way: True)


def clients_have_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own clients too: it forgets what they opened."""
    propose = Replica.propose

    def forgetful(replica: Replica, proposal: Proposal, now_ms: int) -> object:
        replica._openings._counts[replica._validator] = 0
        return propose(replica, proposal, now_ms)

    monkeypatch.setattr(Replica, "propose", forgetful)


def votes_have_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes of unknown instances are held, however many."""
    make = HeldVotes.__init__
    monkeypatch.setattr(
        HeldVotes, "__init__", lambda held, quorum, *_: make(held, quorum, ReplicaLimits())
    )


@pytest.mark.parametrize("unbound", [peers_have_places, clients_have_places, votes_have_places])
def test_a_replica_without_one_of_its_bounds_is_seen(
    unbound: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: each peer has its own places, in open instances and among the votes that wait."""
    World(CROWDED).run()
    unbound(monkeypatch)
    with pytest.raises(Violation, match=r"^I10:"):
        World(CROWDED).run()


def test_a_node_that_stops_voting_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """I11: a node that lost nothing votes, in its first life and in every other."""
    recover = Replica.recover

    def wary(replica: Replica, now_ms: int) -> None:
        recover(replica, now_ms)
        if now_ms:
            replica.stop_voting()

    monkeypatch.setattr(Replica, "recover", wary)
    with pytest.raises(Violation, match=r"^I11: node 3 has stopped voting"):
        World(plan(Crash(3, at_ms=50, down_ms=100), faults_ms=1_000)).run()


def test_a_bug_that_ends_an_instance_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """I11: the node lives on, but a correct engine does not fail; what it journals tells."""

    def broken(engine: Instance, input_: object) -> object:
        raise KeyError("broken")

    monkeypatch.setattr(Instance, "step", broken)
    with pytest.raises(Violation, match=r"^I11: node . met a bug of its engine: KeyError"):
        World(CALM).run()


def test_what_a_node_sends_again_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """I5, I11: what is relayed is checked as well, one's own votes among it."""

    async def say_otherwise(node: Node, frame: Frame, to: int | None = None) -> None:
        other = tuple(replace(v, value=b"x" * 32) for v in frame.votes if v.type is PREPARE.type)
        await SEND(node, replace(frame, relayed=(*frame.relayed, *other)), to)

    monkeypatch.setattr(Node, "send", say_otherwise)
    with pytest.raises(Violation, match=r"^I5:"):
        World(CALM).run()


def test_a_node_without_its_disk_decides_too() -> None:
    """I9: it need not vote where it had voted, but what the others decided reaches it."""
    deaf = Cut((0, 1, 2), (3,), 0, 2_000)
    which = plan(DiskLost(3, at_ms=700, down_ms=100), deaf, faults_ms=2_000)
    assert {d.place for d in World(which).run().decisions} == {0, 1, 2, 3}


def broken_receive(replica: Replica, peer: int, frame: Frame, now_ms: int) -> None:
    """Raise, as code with a bug does."""
    raise KeyError("broken")


async def send_misshapen(node: Node, frame: Frame, to: int | None = None) -> None:
    """Send a vote of no round."""
    odd = Message(MessageType.PREPARE, INSTANCE, node.validator, 0, b"v")
    await SEND(node, replace(frame, votes=(odd,)), to)


SEND = Node.send


@pytest.mark.parametrize(
    ("owner", "name", "instead", "says"),
    [
        (Replica, "receive", broken_receive, "^I11: KeyError"),
        (Node, "send", send_misshapen, "^I11: a correct node sends"),
    ],
)
def test_a_node_that_raises_or_sends_nonsense_is_seen(
    owner: type,
    name: str,
    instead: Callable[..., object],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I11: whatever arrives, no exception, and nothing that a peer's gate would refuse."""
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(Violation, match=says):
        World(CALM).run()


def test_chance_from_elsewhere_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: a run that draws from anything but its seed has another digest the second time."""
    monkeypatch.setattr(World, "_random", lambda world, component: Random())
    assert World(CALM, traced=True).run().digest != World(CALM, traced=True).run().digest


def test_the_oracle_sees_every_vote_before_anybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every step: no vote leaves an honest node that the oracle has not judged."""
    judged: set[tuple[object, ...]] = set()
    signed, carry = Oracle.signed, Network.carry

    def note(oracle: Oracle, vote: Message) -> None:
        signed(oracle, vote)
        judged.add((vote.type, vote.source, vote.round, vote.value))

    def check(network: Network, source: int, peer: int, frame: Frame, *given: int) -> None:
        assert all((v.type, v.source, v.round, v.value) in judged for v in frame.votes)
        carry(network, source, peer, frame, *given)

    monkeypatch.setattr(Oracle, "signed", note)
    monkeypatch.setattr(Network, "carry", check)
    World(plan(Crash(3, at_ms=50, down_ms=100), faults_ms=1_000)).run()
    assert {kind for kind, *_ in judged} >= {MessageType.PREPARE, MessageType.COMMIT}
