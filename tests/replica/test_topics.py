"""Topics per prefix are limited (DESIGN, retention; docs/adr/009)."""

from __future__ import annotations

import pytest
from replica_builders import (
    PP,
    Rig,
    certificate,
    instance,
    own_section,
    proposal,
    records_of,
    round_change,
    run_now,
    sent_to,
    vote,
)

from qbft.crypto.proposal import Proposal
from qbft.errors import TooManyTopics
from qbft.replica.limits import ReplicaLimits
from qbft.replica.policy import TopicPolicy
from qbft.replica.protocols import MarkRecord, ProposalRecord


def two_of_a(topic: str) -> TopicPolicy:
    """Two topics that begin with a, and as many others as nobody needs."""
    return TopicPolicy(prefix="a", topics_max=2) if topic.startswith("a") else TopicPolicy()


def of(topic: str, height: int = 0) -> Proposal:
    """A proposal for a topic."""
    return proposal(b"v", height, topic)


def full_rig(nodes: int = 4) -> Rig:
    """Validator 0, whose own clients have proposed for the two topics that they may have."""
    rig = Rig(0, nodes, policies=two_of_a)
    for topic in ("a1", "a2"):
        rig.propose(of(topic))
    return rig


@pytest.mark.bites("topics_max")
async def test_a_client_is_refused_a_new_topic_beyond_the_limit() -> None:
    """It is told what to do; topics that there are go on, and so do other prefixes."""
    rig = full_rig()
    with pytest.raises(TooManyTopics, match=r"'a3'.*'a'.*topics_max = 2.*cluster file"):
        rig.propose(of("a3"))
    assert rig.rejected == [("topic_budget", 0)]
    rig.propose(of("a1", 1))
    rig.propose(of("b"))
    assert rig.replica.status().topics == 3
    assert rig.replica.status().open_instances == 4


async def test_peers_have_room_where_own_clients_have_none() -> None:
    """Each node draws the line for its own clients; what another has let in must go on here."""
    rig = full_rig()
    for number in range(3, 9):
        rig.receive(2, proposals=(of(f"a{number}"),))
    assert rig.rejected == []
    assert rig.replica.status().topics == 8
    rig.receive(2, proposals=(of("a9"), of("a8", 1), of("b")))
    assert rig.rejected == [("topic_budget", 2)]
    rig.wait(ReplicaLimits().opening_place_ms)
    assert not rig.replica.is_open(instance(0, "a9"))
    assert rig.replica.is_open(instance(1, "a8"))
    assert rig.replica.is_open(instance(0, "b"))


def crowded_rig() -> Rig:
    """Validator 0, at which no peer alone may open another topic that begins with a."""
    rig = Rig(0, policies=two_of_a)
    rig.receive(1, proposals=tuple(of(f"a{number}") for number in range(8)))
    return rig


def test_what_is_refused_for_its_topic_is_not_asked_for() -> None:
    """Neither the bytes of a PRE-PREPARE nor a decision: asked for again it would come to this."""
    rig = crowded_rig()
    late = of("a8", 1)
    rig.receive(1, own_section(vote(PP, 1, late)))
    rig.receive(2, proposals=(late,))
    turns = [*rig.turns, *rig.wait(5_000)]
    assert rig.rejected == [("topic_budget", 1), ("topic_budget", 2)]
    for peer in (1, 2, 3):
        assert (late.instance, late.digest) not in sent_to(turns, peer, "wanted_values")
        assert late.instance not in sent_to(turns, peer, "wanted_decisions")


def test_what_an_honest_node_is_in_is_opened_all_the_same() -> None:
    """ROUND-CHANGEs of F+1 sources: one of them is honest, and had room for it (liveness)."""
    rig = crowded_rig()
    late = instance(1, "a8")
    rig.receive(2, own_section(round_change(2, 2, late)))
    assert not rig.replica.is_open(late)
    rig.receive(3, own_section(round_change(3, 2, late)))
    assert rig.replica.is_open(late)
    assert rig.replica.status().topics == 9
    assert rig.rejected == []


def test_what_is_decided_is_taken_whatever_its_topic() -> None:
    """A certificate is no wish but a fact; its topic counts from then on."""
    rig = crowded_rig()
    late = of("a8", 1)
    rig.receive(2, certificates=(certificate(late),), proposals=(late,))
    assert rig.disk.get(late.instance).value == b"v"
    assert rig.replica.status().topics == 9


async def test_topics_count_after_a_restart() -> None:
    """Those of decisions, of low-water marks, and of what is undecided."""
    rig = Rig(0, policies=two_of_a)
    rig.receive(1, certificates=(certificate(of("a1")),), proposals=(of("a1"),))
    run_now(rig.disk.commit([MarkRecord("b", 7)]))
    rig.receive(1, proposals=(of("a2"),))
    assert records_of(rig.turns, lambda record: isinstance(record, ProposalRecord))
    again = rig.restart(policies=two_of_a)
    assert again.replica.status().topics == 3
    with pytest.raises(TooManyTopics):
        again.propose(of("a3"))
