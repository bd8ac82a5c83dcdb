"""How a turn's votes are cut into sections, each under one signature and in one frame."""

from __future__ import annotations

from replica_builders import PREPARE, SimAuthenticator, new_disk, proposal, vote, votes

from qbft.core import Message, MessageType, OwnVote
from qbft.replica.budget import cost_of
from qbft.replica.limits import ReplicaLimits
from qbft.replica.own_votes import CastVote
from qbft.replica.voice import Voice

V = proposal(b"v")


def prepared_round_change(height: int) -> Message:
    """A ROUND-CHANGE of validator 0 that shows a quorum of PREPAREs."""
    return Message(
        MessageType.ROUND_CHANGE,
        vote(PREPARE, 0, proposal(b"v", height)).instance,
        0,
        2,
        None,
        1,
        V.digest,
        votes(PREPARE, (1, 2, 3), V),
    )


def test_a_turn_above_the_limit_of_a_frame_becomes_several_sections() -> None:
    """DESIGN, signatures: 256 timers that expire together must not make a frame that is lost."""
    limits = ReplicaLimits(section_bytes_max=10 * 4 * 1_024)
    voice = Voice(SimAuthenticator(0, 4), new_disk(), limits)
    cast = [prepared_round_change(height) for height in range(25)]
    voice._votes = [CastVote(OwnVote(each), 0) for each in cast]
    _, frames = voice.speak()
    assert [len(frame.votes) for frame in frames] == [10, 10, 5]
    assert [each for frame in frames for each in frame.votes] == cast
    assert [frame.batch.sequence for frame in frames if frame.batch] == [1, 11, 21]
    assert all(sum(map(cost_of, frame.votes)) <= limits.section_bytes_max for frame in frames)
