"""A node without its votes (HARDENING W7, W8; SCENARIOS K24 to K27; DESIGN, votes survive)."""

from __future__ import annotations

from typing import Any

import pytest
from replica_builders import (
    COMMIT,
    PP,
    PREPARE,
    Rig,
    carry,
    certificate,
    instance,
    kinds,
    link_all,
    lost_rig,
    own_section,
    proposal,
    records_of,
    round_change,
    sent_to,
    vote,
    votes,
)

from qbft.core import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.errors import JournalError
from qbft.records import QuarantineRecord, Standing, StandingRecord
from qbft.replica.limits import ReplicaLimits
from qbft.replica.lost_votes import (
    BEYOND_HELP,
    STOP_ALL_BUT_ONE,
    TWO_OF_ONE_KEY,
    VOTES_AGAIN,
    WITHOUT_VOTES,
)
from qbft.replica.policy import TopicPolicy
from qbft.replica.recollection import PAGE_ASKS_MAX
from qbft.sim.authenticator import SimSignature
from qbft.sim.disk import SimDisk
from qbft.transport import FeedPage, Frame, Memory
from qbft.wire import encode_frame

V, W = proposal(b"v"), proposal(b"w", 4)


class UnvotedDisk(SimDisk):
    """A disk of `qbft init`: empty, and it does not replace another."""

    @property
    def standing(self) -> Standing:
        """Unvoted until there is a vote."""
        found = super().standing
        if found is Standing.COMPLETE and self.next_sequence == 1:
            return Standing.UNVOTED
        return found


def unvoted_disk(index: int) -> UnvotedDisk:
    """Such a disk."""
    return UnvotedDisk(bytes([index]) * 16, lambda label, records: None)


def page(after: int = 0, next_: int = 0, **changes: Any) -> Memory:
    """The only page of a peer that has nothing open."""
    return Memory(
        **{"after": after, "next": next_, "is_last": True, "lost": False, "feed_end": 0} | changes
    )


def answer_all(rig: Rig, *peers: int, **parts: Any) -> None:
    """Let these peers tell everything in one page."""
    for peer in peers:
        rig.receive(peer, Frame(memory=page(), **parts))


def is_voting(rig: Rig) -> bool:
    """Whether it votes, as it says."""
    return rig.replica.status().voting


def test_a_node_without_votes_asks_everybody_and_does_not_vote() -> None:
    """K24: no vote, whatever comes; it says so loudly, and refuses its clients."""
    rig = lost_rig()
    assert not is_voting(rig)
    assert rig.told == [WITHOUT_VOTES]
    for peer in (0, 2, 3):
        assert [f.memory_wanted for t in rig.turns for to, f in t.frames if to == peer] == [0]
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    for source in (2, 3):
        rig.receive(source, own_section(vote(PREPARE, source, V), round_change(source, 2)))
    rig.wait(5_000)
    assert kinds(rig.turns) == []
    with pytest.raises(JournalError, match="does not vote yet"):
        rig.replica.propose(V, rig.now)


def test_it_asks_again_until_it_is_answered() -> None:
    """An answer may get lost, and a link may come up later."""
    rig = lost_rig()
    turns = rig.wait(1_200)
    asked = [f.memory_wanted for t in turns for to, f in t.frames if to == 2]
    assert asked.count(0) >= 2


def test_with_n_minus_f_answers_it_votes_again() -> None:
    """DESIGN, votes survive: itself included; what came meanwhile is asked for again."""
    rig = lost_rig()
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    answer_all(rig, 0)
    assert not is_voting(rig)
    answer_all(rig, 2)
    assert is_voting(rig)
    assert rig.told[-1] == VOTES_AGAIN
    assert rig.disk.standing is Standing.COMPLETE
    assert instance() in sent_to(rig.wait(600), 0, "wanted_decisions")
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    assert kinds(rig.turns) == [("PREPARE", 1)]


def test_it_never_votes_in_what_it_was_told_of() -> None:
    """There it runs no engine, after a restart neither, and takes a quorum of COMMITs."""
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(), proposals=(V,)))
    rig.receive(2, Frame(memory=page(), relayed=(vote(PREPARE, 1, W),)))
    assert is_voting(rig)
    kept_out = [
        r.instance for r in records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord))
    ]
    assert sorted(kept_out) == [V.instance, W.instance]
    for life in (rig, rig.restart()):
        life.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
        life.receive(0, own_section(vote(PP, 0, W), proposals=(W,)))
        life.wait(3_000)
        assert kinds(life.turns) == []
        assert is_voting(life)
    for source in (0, 2, 3):
        life.receive(source, own_section(vote(COMMIT, source, V)))
    life.receive(2, proposals=(V,))
    assert life.disk.get(V.instance).value == b"v"


def test_it_asks_how_it_was_decided_where_it_does_not_vote() -> None:
    """K24: its peers may decide with its lost vote, and then think that it needs no certificate.

    Found by the swarm (seed 2256: I9). Each of them is asked in turn, until it is decided.
    """
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(), proposals=(V,)))
    rig.receive(2, Frame(memory=page()))
    assert is_voting(rig)
    for life in (rig, rig.restart()):
        asked = life.wait(10_000)
        assert all(V.instance in sent_to(asked, peer, "wanted_decisions") for peer in (0, 2, 3))
    life.receive(0, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    life.wait(2_000)
    assert life.disk.get(V.instance).value == b"v"
    later = life.wait(10_000)
    assert not any(sent_to(later, peer, "wanted_decisions") for peer in (0, 2, 3))


def test_it_says_in_how_many_undecided_instances_it_keeps_out() -> None:
    """Issue 4: before that is 0 no other node may be replaced, or they are decided nowhere."""
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(), proposals=(V, W)))
    assert rig.replica.status().kept_out == 0, "it does not vote anywhere yet"
    rig.receive(2, Frame(memory=page()))
    assert rig.replica.status().kept_out == 2
    for life in (rig, rig.restart()):
        assert life.replica.status().kept_out == 2
    life.receive(0, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    assert life.replica.status().kept_out == 1
    later = life.restart()
    later.wait(3_000)
    assert later.replica.status().kept_out == 1


def test_it_first_pulls_what_the_others_had_decided() -> None:
    """DESIGN: a decision of an instance that it has not heard of would be contradicted."""
    rig = lost_rig()
    for peer in (0, 2):
        rig.receive(peer, Frame(memory=page(feed_end=1), feed_page=None))
        rig.receive(peer, feed_page=FeedPage(1, 1, (V.instance,)))
    assert not is_voting(rig)
    rig.receive(2, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    rig.wait(600)
    assert is_voting(rig)


def test_a_reason_is_needed_for_each_instance() -> None:
    """A liar cannot keep it out of instances of a guarded prefix, nor by one vote of its own."""
    guarded = TopicPolicy(proposers=frozenset({b"p" * 32}))
    rig = lost_rig(policies=lambda topic: guarded)
    rig.receive(3, Frame(memory=page(), proposals=(V,), relayed=(vote(PREPARE, 3, W),)))
    answer_all(rig, 0)
    assert is_voting(rig)
    assert records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord)) == []


def test_votes_of_f_plus_1_are_a_reason() -> None:
    """An instance that ROUND-CHANGEs opened has no proposal to show."""
    rig = lost_rig()
    changes = tuple(round_change(source, 2) for source in (2, 3))
    rig.receive(3, Frame(memory=page(), relayed=changes))
    answer_all(rig, 0)
    (kept_out,) = records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord))
    assert kept_out.instance == instance()


@pytest.mark.bites("memory_instances_per_peer_max")
def test_an_endless_list_is_no_answer() -> None:
    """Bounds: a liar is asked page after page, and others end the asking."""
    rig = lost_rig(limits=ReplicaLimits(memory_instances_per_peer_max=8))
    for start in range(20):
        listed = (proposal(b"x", 100 + start),)
        rig.receive(3, Frame(memory=page(start, start + 1, is_last=False), proposals=listed))
    answer_all(rig, 0)
    assert not is_voting(rig)
    answer_all(rig, 2)
    assert is_voting(rig)


def test_votes_that_are_no_reason_fill_no_memory_either() -> None:
    """Bounds: a liar's own votes for ever new instances; what is noted of them is bounded."""
    rig = lost_rig(limits=ReplicaLimits(memory_instances_per_peer_max=8))
    for start in range(50):
        made_up = (vote(PREPARE, 3, proposal(b"x", 100 + start)),)
        rig.receive(3, Frame(memory=page(start, start + 1, is_last=False), relayed=made_up))
    assert len(rig.replica._lost_votes._recollection._answers[3].named) <= 9


def test_pages_come_in_order() -> None:
    """A page that was not asked for next tells nothing."""
    rig = lost_rig()
    for peer in (0, 2):
        rig.receive(peer, Frame(memory=page(64, 65)))
    assert not is_voting(rig)
    for peer in (0, 2):
        turn = rig.receive(peer, Frame(memory=page(0, 64, is_last=False)))
        assert [f.memory_wanted for to, f in turn.frames if to == peer] == [64]
        rig.receive(peer, Frame(memory=page(64, 65)))
    assert is_voting(rig)


def test_more_lost_nodes_than_may_be_faulty_do_not_vote() -> None:
    """K25: an alarm, and no silent voting; each of two that lost their disks sees the other."""
    rig = lost_rig()
    answer_all(rig, 0, 2)
    assert is_voting(rig)
    rig = lost_rig()
    rig.receive(3, Frame(memory=page(lost=True)))
    answer_all(rig, 0, 2)
    rig.wait(2_000)
    assert not is_voting(rig)
    assert BEYOND_HELP in rig.told
    assert ("beyond_help", 1) in rig.rejected


def voted_rig() -> Rig:
    """Validator 1, which has PREPAREd v."""
    rig = Rig(1)
    rig.receive(0, own_section(vote(PP, 0, V), proposals=(V,)))
    assert kinds(rig.turns) == [("PREPARE", 1)]
    return rig


def test_a_vote_from_beyond_the_journal_shows_that_it_is_an_old_copy() -> None:
    """K26: restored from a backup; the peer's hello proves it. It stops at once, and asks."""
    rig = voted_rig()
    proof = vote(COMMIT, 1, W, sequence=50)
    rig.replica.hear_hello(2, bytes(16), 0, proof, rig.now)
    turns = [rig.turn()]
    assert not is_voting(rig)
    assert rig.told == [WITHOUT_VOTES]
    (standing,) = records_of(turns, lambda r: isinstance(r, StandingRecord))
    assert standing.lost
    assert rig.replica.status().open_instances == 0
    rig.wait(3_000)
    assert kinds(rig.turns) == [("PREPARE", 1)]
    again = rig.restart()
    assert not is_voting(again)
    for life in (rig, again):
        answer_all(life, 0, 2)
        assert is_voting(life)


def test_what_it_had_voted_on_when_votes_were_lost_is_left_alone() -> None:
    """K26: there may be later votes in these very instances."""
    rig = voted_rig()
    rig.receive(2, relayed=(vote(PREPARE, 1, W, sequence=50),))
    assert not is_voting(rig)
    answer_all(rig, 0, 2)
    kept_out = [
        r.instance for r in records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord))
    ]
    assert kept_out == [V.instance]
    rig.wait(3_000)
    assert kinds(rig.turns) == [("PREPARE", 1)]


def test_proof_that_is_known_proves_nothing_new() -> None:
    """Liars must not mute a node for ever by replaying its lost votes."""
    rig = lost_rig()
    old = vote(COMMIT, 1, W, sequence=50)
    rig.replica.hear_hello(2, bytes(16), 0, old, rig.now)
    answer_all(rig, 0, 2)
    assert is_voting(rig)
    rig.replica.hear_hello(2, bytes(16), 0, old, rig.now)
    rig.receive(3, relayed=(old,))
    assert is_voting(rig)
    again = rig.restart()
    again.receive(3, relayed=(old,))
    assert is_voting(again)


def test_a_forged_proof_proves_nothing() -> None:
    """Only a vote with this node's own signature counts."""
    rig = voted_rig()
    forged = vote(COMMIT, 1, W, sequence=50)
    forged.proof.signature = vote(COMMIT, 3, W).proof.signature
    rig.replica.hear_hello(2, bytes(16), 0, forged, rig.now)
    rig.receive(3, relayed=(forged,))
    assert is_voting(rig)
    assert ("bad_vote_signature", 2) in rig.rejected


def test_own_votes_that_are_known_prove_nothing() -> None:
    """What peers remember of it is as a rule what its journal holds."""
    rig = voted_rig()
    rig.replica.hear_hello(2, bytes(16), 0, vote(PREPARE, 1, V, sequence=1), rig.now)
    rig.receive(2, relayed=(vote(PREPARE, 1, V),))
    assert is_voting(rig)


def test_two_processes_with_one_key() -> None:
    """K27, W8: asking once may cure a restored disk; if it happens again, another process votes."""
    rig = voted_rig()
    rig.receive(2, relayed=(vote(PREPARE, 1, W, sequence=50),))
    answer_all(rig, 0, 2)
    assert is_voting(rig)
    rig.receive(2, relayed=(vote(PREPARE, 1, proposal(b"x", 8), sequence=51),))
    assert not is_voting(rig)
    assert rig.told[-1] == rig.replica.status().why_not_voting == STOP_ALL_BUT_ONE
    answer_all(rig, 0, 2, 3)
    rig.wait(2_000)
    assert not is_voting(rig)
    rig.receive(2, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    assert rig.disk.get(V.instance) is not None


def stopped_for_good() -> Rig:
    """It has asked once, and then met another vote that it has not cast."""
    rig = voted_rig()
    rig.receive(2, relayed=(vote(PREPARE, 1, W, sequence=50),))
    answer_all(rig, 0, 2)
    rig.receive(2, relayed=(vote(PREPARE, 1, proposal(b"x", 8), sequence=51),))
    return rig


def test_that_another_process_votes_with_its_key_outlives_restarts() -> None:
    """Docs/adr/020: a supervisor that starts it again lets it vote no more than it did before.

    Nobody has to tell it of the other one; it asks nobody, says what its operator has to do, takes
    what others decide, and writes nothing more.
    """
    rig = stopped_for_good()
    for _ in range(2):
        rig = rig.restart()
        rig.receive(0, own_section(vote(PP, 0, W), proposals=(W,)))
        answer_all(rig, 0, 2, 3)
        rig.wait(2_000)
        rig.receive(2, relayed=(vote(PREPARE, 1, proposal(b"y", 9), sequence=60),))
        assert not is_voting(rig)
        assert rig.told == [STOP_ALL_BUT_ONE]
        assert rig.replica.status().standing is Standing.SHARED
        assert kinds(rig.turns) == []
        assert records_of(rig.turns, lambda r: isinstance(r, StandingRecord)) == []
        assert [f for t in rig.turns for _, f in t.frames if f.memory_wanted is not None] == []
        with pytest.raises(JournalError, match=TWO_OF_ONE_KEY):
            rig.replica.propose(proposal(b"z", 11), rig.now)
    rig.receive(2, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    assert rig.disk.get(V.instance) is not None


def test_a_replaced_journal_ends_it_that_two_processes_had_its_key() -> None:
    """Docs/adr/020: `init --replace` is how an operator says that the other one is stopped."""
    rig = stopped_for_good()
    rig.disk.replace(bytes(15) + b"x")
    rig = rig.restart()
    assert rig.told == [WITHOUT_VOTES]
    answer_all(rig, 0, 2)
    assert is_voting(rig)


def test_numbers_of_lost_votes_are_not_given_out_again() -> None:
    """Every vote has its own number in its journal (DESIGN, signatures)."""
    rig = voted_rig()
    rig.receive(2, relayed=(vote(COMMIT, 1, W, sequence=50),))
    answer_all(rig, 0, 2)
    rig.receive(3, own_section(vote(PP, 3, proposal(b"y", 3)), proposals=(proposal(b"y", 3),)))
    assert rig.disk.next_sequence == 52


# --- a new cluster --------------------------------------------------------------------------------


def new_cluster() -> list[Rig]:
    """Four nodes that never voted, and are linked."""
    rigs = [Rig(index, disk=unvoted_disk(index)) for index in range(4)]
    for rig in rigs:
        rig.replica.recover(rig.now)
    link_all(rigs)
    return rigs


def test_a_new_cluster_asks_and_goes_on() -> None:
    """W7: a journal without votes may be an older copy, so that its node asks before it votes."""
    rigs = new_cluster()
    assert not any(map(is_voting, rigs))
    for _ in range(3):
        carry(rigs, 10)
    assert all(map(is_voting, rigs))
    rigs[2].receive(0, proposals=(V,))
    for _ in range(20):
        carry(rigs, 100)
    assert {rig.disk.get(V.instance).value for rig in rigs} == {b"v"}


def test_a_new_cluster_that_is_killed_in_its_first_instance_goes_on() -> None:
    """K15: one had voted, the others not yet; nobody is kept out of the instance."""
    rigs = new_cluster()
    for _ in range(3):
        carry(rigs, 10)
    leader = rigs[0]
    leader.receive(2, proposals=(V,))
    assert ("PRE_PREPARE", 1) in kinds(leader.turns)
    rigs = [rig.restart() for rig in rigs]
    link_all(rigs)
    for _ in range(40):
        carry(rigs, 100)
    assert {rig.disk.get(V.instance).value for rig in rigs} == {b"v"}


def test_a_copy_from_before_the_first_vote_is_found_out() -> None:
    """K26: the folder as `init` made it, restored; a peer holds a vote of the one that is lost."""
    rig = Rig(1, disk=unvoted_disk(1))
    rig.replica.recover(0)
    rig.receive(2, Frame(memory=page(), relayed=(vote(PREPARE, 1, W),)))
    assert rig.told == [WITHOUT_VOTES]
    assert rig.replica.status().standing is Standing.LOST
    answer_all(rig, 0, 3)
    assert is_voting(rig)


# --- what a peer tells ----------------------------------------------------------------------------


def memories(rig: Rig, peer: int) -> list[Frame]:
    """The pages that were sent to a peer."""
    return [f for turn in rig.turns for to, f in turn.frames if to == peer and f.memory is not None]


def test_a_witness_lists_what_is_open_and_what_it_holds_of_the_asker() -> None:
    """Each with a reason: the asker's own vote, else the proposal, else ROUND-CHANGEs."""
    rig = Rig(1)
    rig.receive(0, proposals=(V, W))
    rig.receive(3, own_section(vote(PREPARE, 3, W)))
    rig.receive(3, own_section(vote(PREPARE, 3, proposal(b"h", 9))))
    changed = InstanceId("t", 12)
    for source in (0, 2):
        rig.receive(source, own_section(round_change(source, 2, changed)))
    rig.receive(3, memory_wanted=0)
    (frame,) = memories(rig, 3)
    assert frame.memory == Memory(0, 4, True, False, 0)
    assert frame.proposals == (V,)
    by_instance = {(m.instance.height, m.source) for m in frame.relayed}
    assert by_instance == {(4, 3), (9, 3), (12, 0), (12, 2)}


def test_a_witness_tells_page_by_page_at_a_pace() -> None:
    """Bounds: a page is small, and asking all the time gets no more."""
    rig = Rig(
        1,
        limits=ReplicaLimits(memory_page_max=2, pull_bytes_burst_max=1 << 20, pull_bytes_per_ms=1),
    )
    rig.receive(0, proposals=tuple(proposal(b"v", height) for height in range(5)))
    position = 0
    for _ in range(3):
        rig.receive(3, memory_wanted=position)
        position = memories(rig, 3)[-1].memory.next
    assert [f.memory.is_last for f in memories(rig, 3)] == [False, False, True]
    for _ in range(100):
        rig.receive(3, memory_wanted=2)
    assert len(memories(rig, 3)) <= 8


@pytest.mark.bites("memory_lists_burst_max")
def test_a_witness_makes_few_lists_for_one_peer() -> None:
    """HARDENING U7: one takes as long as hundreds of checks, and a liar asks for it all the time.

    What is left unanswered is the ask for a new list.
    """
    limits = ReplicaLimits()
    rig = Rig(1, limits=limits)
    rig.receive(0, proposals=tuple(proposal(b"v", height) for height in range(5)))
    for _ in range(50):
        rig.receive(3, memory_wanted=0)
    assert len(memories(rig, 3)) == limits.memory_lists_burst_max
    rig.receive(2, memory_wanted=0)
    assert len(memories(rig, 2)) == 1
    rig.now += limits.memory_list_every_ms
    for _ in range(50):
        rig.receive(3, memory_wanted=0)
    assert len(memories(rig, 3)) == limits.memory_lists_burst_max + 1


def test_a_list_is_read_to_its_end_before_there_is_another() -> None:
    """W7: who asks twice for the first page, for it came late, reads the pages of one list.

    Of two, the second page of the later would leave out what has moved to its first; and where the
    later is shorter there would be no second page.
    """
    rig = Rig(1, limits=ReplicaLimits(memory_page_max=2))
    rig.receive(0, proposals=tuple(proposal(b"v", height) for height in range(5)))
    rig.receive(3, memory_wanted=0)
    for height in range(4):
        for source in (0, 2, 3):
            rig.receive(source, own_section(vote(COMMIT, source, proposal(b"v", height))))
    for position in (0, 2, 4):
        rig.receive(3, memory_wanted=position)
    told = [(f.memory.after, f.memory.next, f.memory.is_last) for f in memories(rig, 3)]
    assert told == [(0, 2, False), (0, 2, False), (2, 4, False), (4, 5, True)]
    rig.receive(3, memory_wanted=0)
    assert memories(rig, 3)[-1].memory == Memory(0, 1, True, False, 4)


def test_a_new_link_begins_a_new_list() -> None:
    """The asker may have voted in its life before."""
    rig = Rig(1, limits=ReplicaLimits(memory_page_max=2))
    rig.receive(0, proposals=tuple(proposal(b"v", height) for height in range(3)))
    rig.receive(3, memory_wanted=0)
    rig.receive(0, proposals=(proposal(b"v", 3),))
    rig.replica.link_up(3, rig.now)
    for position in (0, 2):
        rig.receive(3, memory_wanted=position)
    assert memories(rig, 3)[-1].memory.next == 4


def test_a_feed_that_was_read_to_its_end_is_read_on() -> None:
    """W7: a list may come long after the feed, and say that there is more of that by now."""
    rig = lost_rig()
    for peer in (0, 2):
        rig.replica.link_up(peer, rig.now)
        rig.receive(peer, feed_page=FeedPage(0, 0, ()))
    rig.wait(2 * rig.replica._limits.resend_ms)
    rig.turns.clear()
    for peer in (0, 2):
        rig.receive(peer, Frame(memory=page(feed_end=1)))
    rig.wait(2 * rig.replica._limits.resend_ms)
    for peer in (0, 2):
        asked = [f.feed_request for turn in rig.turns for to, f in turn.frames if to == peer]
        assert any(request is not None and request.after == 0 for request in asked)
        rig.receive(peer, feed_page=FeedPage(1, 1, (V.instance,)))
    assert not is_voting(rig)
    rig.receive(0, certificates=(certificate(V),), proposals=(V,))
    rig.wait(rig.replica._limits.resend_ms)
    assert is_voting(rig)


def test_a_feed_is_read_on_though_its_peer_said_that_there_is_no_more() -> None:
    """W7: of its list and of a page of its feed that came after it the longer counts, again."""
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(feed_end=1)))
    for _ in range(3):
        rig.replica.link_up(0, rig.now)
        rig.receive(0, feed_page=FeedPage(0, 0, ()))
        rig.turns.clear()
        rig.wait(2 * rig.replica._limits.resend_ms)
        asked = [f.feed_request for turn in rig.turns for to, f in turn.frames if to == 0]
        assert any(request is not None and request.after == 0 for request in asked)


def test_whether_a_feed_was_read_is_only_asked() -> None:
    """A question changes nothing: what is not read on of its own accord is not read for it."""
    rig = Rig(1)
    reading = rig.replica._catch_up
    assert not reading.has_read(0, 1)
    assert not reading.is_behind()
    reading.read_to(0, 1)
    assert reading.is_behind()


def test_a_list_that_is_no_more_is_begun_anew() -> None:
    """W7: a page that does not come for long is asked for no longer, but the first of its list."""
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(0, 64, is_last=False)))
    rig.turns.clear()
    for _ in range(PAGE_ASKS_MAX):
        rig.wait(rig.replica._limits.resend_ms)
    wanted = [f.memory_wanted for turn in rig.turns for to, f in turn.frames if to == 0]
    assert 64 in wanted
    assert 0 not in wanted
    rig.wait(rig.replica._limits.resend_ms)
    assert [f.memory_wanted for t in rig.turns for to, f in t.frames if to == 0][-1] == 0
    answer_all(rig, 0, 2)
    assert is_voting(rig)


def test_whoever_asks_too_often_hears_everything_all_the_same() -> None:
    """W7: a node that lost its disk, and many answers, asks on until it has its list, a new one."""
    limits = ReplicaLimits(memory_lists_burst_max=1)
    witness = Rig(1, limits=limits)
    witness.receive(3, memory_wanted=0)
    witness.receive(0, proposals=(V,))
    for _ in range(1 + limits.memory_list_every_ms // limits.resend_ms):
        assert len(memories(witness, 3)) == 1
        witness.now += limits.resend_ms
        witness.receive(3, memory_wanted=0)
        if len(memories(witness, 3)) > 1:
            break
    assert memories(witness, 3)[-1].proposals == (V,)


@pytest.mark.parametrize(("source", "is_saturated"), [(3, True), (2, False)])
def test_a_list_costs_what_is_in_it(source: int, is_saturated: bool) -> None:
    """HARDENING U7: thousands of votes are held; those that are not in the list cost nothing."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=8, memory_entries_per_work=4))
    for height in range(40):
        rig.receive(source, own_section(vote(PREPARE, source, proposal(b"x", height))))
        rig.settle()
    rig.replica.receive(3, Frame(memory_wanted=0), rig.now)
    assert rig.replica.is_saturated is is_saturated


def test_a_node_remembers_its_peers_from_certificates() -> None:
    """W7: after a restart too it can prove to a peer how far that one's journal was."""
    rig = Rig(1)
    rig.receive(0, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    assert rig.replica.known_of(2) == (0, None)
    newest = vote(PREPARE, 2, W, sequence=9)
    rig.receive(2, own_section(newest))
    assert rig.replica.known_of(2) == (0, newest)
    again = rig.restart()
    assert again.replica.known_of(2)[1] == vote(COMMIT, 2, V)


def test_a_hello_says_what_was_received() -> None:
    """DESIGN 4, hello: so that a link that comes up again repeats nothing that is known."""
    rig = voted_rig()
    rig.replica.hear_hello(3, bytes(16), 1, None, rig.now)
    rig.replica.link_up(3, rig.now)
    assert sent_to(rig.turn(), 3, "relayed") == []
    rig.receive(0, relayed=votes(PREPARE, (0,), V), covers=7)
    assert rig.replica.known_of(0)[0] == 7
    rig.replica.hear_hello(0, b"other store 0123", 0, None, rig.now)
    assert rig.replica.known_of(0)[0] == 0


# --- what the review of issue 4 found -------------------------------------------------------------


def of_store(what: Proposal, sequence: int, store_id: bytes) -> Message:
    """A COMMIT of validator 1 that is in another journal of its key."""
    message = vote(COMMIT, 1, what, sequence=sequence)
    assert message.proof is not None
    message.proof.signature = SimSignature(1, sequence, store_id)
    return message


def hello(rig: Rig, peer: int, remembered: Message) -> None:
    """A peer's stream begins anew, and it remembers this vote."""
    rig.replica.hear_hello(peer, bytes([peer]) * 16, 0, remembered, rig.now)
    rig.turn()


@pytest.mark.parametrize("unvoted", [False, True])
def test_pages_that_lead_nowhere_are_not_followed(unvoted: bool) -> None:
    """I11, F1: what is asked next always fits the wire, whatever a liar answers."""
    if unvoted:
        rig = Rig(1, disk=unvoted_disk(1))
        rig.replica.recover(0)
    else:
        rig = lost_rig()
    top = 2**32 - 1
    for after, next_ in ((0, top), (top, top), (top, 0)):
        turn = rig.receive(3, Frame(memory=page(after, next_, is_last=False)))
        for _, frame in turn.frames:
            assert encode_frame(frame)


def test_a_peer_that_restarts_is_asked_from_the_beginning() -> None:
    """W7: the rest of a list of an earlier life is not the rest of the next one."""
    rig = lost_rig()
    rig.receive(0, Frame(memory=page(0, 64, is_last=False), proposals=(V,)))
    rig.replica.link_up(0, rig.now)
    assert [frame.memory_wanted for to, frame in rig.turn().frames if to == 0] == [0]
    witness = Rig(1)
    witness.receive(0, proposals=(V,))
    witness.receive(3, memory_wanted=64)
    assert memories(witness, 3) == []


def test_another_vote_of_a_store_that_is_replaced_shows_no_second_process() -> None:
    """W7: only a store that is not yet journaled as replaced, or this one, proves anything new.

    A peer that was away while this node asked remembers a later vote than those that answered.
    """
    rig = lost_rig()
    old = bytes(range(16))
    for peer in (0, 2):
        hello(rig, peer, of_store(W, 50, old))
    answer_all(rig, 0, 2)
    assert is_voting(rig)
    late = proposal(b"late", 6)
    rig.receive(0, proposals=(late,))
    hello(rig, 3, of_store(late, 51, old))
    assert is_voting(rig)
    assert TWO_OF_ONE_KEY not in rig.told
    assert not rig.replica.is_open(late.instance)
    kept = records_of(rig.turns, lambda r: isinstance(r, QuarantineRecord))
    assert [r.instance for r in kept if isinstance(r, QuarantineRecord)] == [late.instance]
    said = records_of(rig.turns, lambda r: isinstance(r, StandingRecord))[-1]
    assert isinstance(said, StandingRecord)
    assert (said.lost, dict(said.replaced)[old]) == (False, 51)


def test_a_few_new_votes_do_not_hide_a_few_lost_ones() -> None:
    """W7, K26: a restored journal has given out the numbers of lost votes before a peer greets it.

    Its own votes under these numbers are other ones; what it has cast itself proves nothing.
    """
    rig = voted_rig()
    hello(rig, 2, vote(PREPARE, 1, V, sequence=1))
    assert is_voting(rig)
    hello(rig, 2, vote(PREPARE, 1, W, sequence=1))
    assert not is_voting(rig)
    assert WITHOUT_VOTES in rig.told


def test_a_certificate_shows_a_lost_vote_too() -> None:
    """W7: nobody hands a node its own votes as a rule, but a certificate may hold one."""
    rig = voted_rig()
    proof = Certificate(W.instance, 1, W.digest, votes(COMMIT, (0, 1, 2), W))
    rig.receive(2, certificates=(proof,), proposals=(W,))
    assert not is_voting(rig), "its COMMIT there has the number of its PREPARE"
    assert rig.disk.get(W.instance) is not None
    answer_all(rig, 0, 2)
    assert is_voting(rig)


def test_an_old_vote_out_of_a_certificate_mutes_nobody() -> None:
    """W7: what is public must not look like a second process, whoever shows it, and how often.

    The node was replaced twice, and its peers remember the last of the lost journals only.
    """
    rig = lost_rig()
    last, first = bytes(range(16)), bytes(range(1, 17))
    for peer in (0, 2):
        hello(rig, peer, of_store(W, 50, last))
    rig.receive(0, certificates=(certificate(V, (0, 2, 3)),), proposals=(V,))
    answer_all(rig, 0, 2)
    assert is_voting(rig)
    hello(rig, 3, of_store(V, 7, first))
    assert is_voting(rig)
    assert TWO_OF_ONE_KEY not in rig.told
    fresh = proposal(b"fresh", 12)
    hello(rig, 3, of_store(fresh, 9, bytes(range(2, 18))))
    assert not is_voting(rig), "one of an instance that is not over is no old one"
